package upstream

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"conanproxy/internal/conan"
)

// hop is one question as the servers saw it.
type hop struct{ URL, Authorization string }

// wander serves login, and for files whatever the map says: a redirect target, or content.
func wander(t *testing.T, base string, to map[string]string) (hops *[]hop, err error) {
	hops = &[]hop{}
	r, _ := newFake(t, Options{URL: base, Username: "me", Password: "s3cret"}, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v2/users/authenticate" {
			io.WriteString(w, "T")
			return
		}
		*hops = append(*hops, hop{"http://" + req.Host + req.URL.RequestURI(), req.Header.Get("Authorization")})
		if location, ok := to[req.URL.Path]; ok {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusFound)
			return
		}
		io.WriteString(w, "import os")
	})
	file, err := r.Open(t.Context(), zlibRev(t), "conanfile.py")
	if err == nil {
		_, err = readAll(t, file)
	}
	return hops, err
}

func TestRedirects(t *testing.T) {
	start := zlib + "/revisions/" + rrev + "/files/conanfile.py"
	first := hop{"http://conan.test" + start, "Bearer T"}
	tests := map[string]struct {
		to   map[string]string
		want []hop
		err  string
	}{
		"none":               {nil, []hop{first}, "ok"},
		"same host":          {map[string]string{start: "/store/x"}, []hop{first, {"http://conan.test/store/x", "Bearer T"}}, "ok"},
		"same host, port 80": {map[string]string{start: "http://CONAN.test:80/x"}, []hop{first, {"http://CONAN.test:80/x", "Bearer T"}}, "ok"},
		"other port":         {map[string]string{start: "http://conan.test:8080/x"}, []hop{first, {"http://conan.test:8080/x", ""}}, "ok"},
		"sub-domain":         {map[string]string{start: "http://s3.conan.test/x"}, []hop{first, {"http://s3.conan.test/x", ""}}, "ok"},
		"signed":             {map[string]string{start: "/x?signature=abc"}, []hop{first, {"http://conan.test/x?signature=abc", ""}}, "ok"},
		"object store":       {map[string]string{start: "http://s3.test/x?X-Amz-Signature=abc"}, []hop{first, {"http://s3.test/x?X-Amz-Signature=abc", ""}}, "ok"},
		"there and back":     {map[string]string{start: "http://evil.test/x", "/x": "http://conan.test/y"}, []hop{first, {"http://evil.test/x", ""}, {"http://conan.test/y", ""}}, "ok"},
		"relative":           {map[string]string{start: "other.py"}, []hop{first, {"http://conan.test" + start[:len(start)-len("conanfile.py")] + "other.py", "Bearer T"}}, "ok"},
		"file scheme":        {map[string]string{start: "file:///etc/passwd"}, []hop{first}, `unavailable: points to a URL that is not plain http or https ("file")`},
		"credentials":        {map[string]string{start: "http://u:p@conan.test/x"}, []hop{first}, `unavailable: points to a URL that is not plain http or https ("http")`},
		"no URL":             {map[string]string{start: "http://[::1"}, []hop{first}, "unavailable: redirects to something that is not a URL"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hops, err := wander(t, "http://conan.test", test.to)
				if word(err) != test.err {
					t.Errorf("error %q, want %q", word(err), test.err)
				}
				if diff := cmp.Diff(test.want, *hops); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestRedirectsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := zlib + "/revisions/" + rrev + "/files/conanfile.py"
		hops, err := wander(t, "http://conan.test", map[string]string{start: start})
		if word(err) != "unavailable: redirects more than 5 times" || len(*hops) != 6 {
			t.Errorf("%d hops, %v", len(*hops), err)
		}
	})
}

func TestRedirectKeepsTLS(t *testing.T) {
	from := &url.URL{Scheme: "https", Host: "conan.test", Path: "/x"}
	if _, err := redirect(from, "http://conan.test/y"); err == nil {
		t.Error("a redirect from https to http was accepted")
	}
	if _, err := redirect(&url.URL{Scheme: "http", Host: "conan.test"}, "https://conan.test/y"); err != nil {
		t.Error(err)
	}
}

// A server that redirects itself to https gets the login there, and no password in clear.
func TestUpgrade(t *testing.T) {
	var mu sync.Mutex
	var hops []hop
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		hops = append(hops, hop{"https " + req.URL.Path, req.Header.Get("Authorization")})
		mu.Unlock()
		switch {
		case strings.HasSuffix(req.URL.Path, "/users/authenticate"):
			io.WriteString(w, "T")
		case req.URL.Path == pingPath:
			w.Header().Set(capabilityHeader, "revisions")
		case req.Header.Get("Authorization") != "Bearer T":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			jsonBody(`{"results": ["zlib/1.3"]}`)(w, req)
		}
	}))
	server.StartTLS()
	defer server.Close()
	clear := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		hops = append(hops, hop{"http " + req.URL.Path, req.Header.Get("Authorization")})
		mu.Unlock()
		http.Redirect(w, req, "https://example.com"+req.URL.RequestURI(), http.StatusMovedPermanently)
	}))
	defer clear.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	r, err := New(Options{Name: "x", URL: "http://example.com", Username: "me", Password: "s3cret", CAFile: file, Log: zap.New(core),
		dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			to := map[string]net.Listener{"example.com:80": clear.Listener, "example.com:443": server.Listener}[address]
			return (&net.Dialer{}).DialContext(ctx, network, to.Addr().String())
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		if found, err := r.Search(t.Context(), conan.Pattern{}); len(found) != 1 || err != nil {
			t.Errorf("found %v, %v", found, err)
		}
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
	search := hop{"https /v2/conans/search", "Bearer T"}
	want := []hop{{"http " + pingPath, ""}, {"https " + pingPath, ""}, {"https /v2/users/authenticate", basic}, search, search}
	if diff := cmp.Diff(want, hops); diff != "" {
		t.Error(diff)
	}
	if logs.FilterMessage("upstream redirects to https; configure its URL with https").Len() != 1 || logs.Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
}

func TestIsUpgrade(t *testing.T) {
	tests := map[string]bool{
		"http://h https://h/x":          true,
		"http://h:80 https://H:443":     true,
		"http://h:8080 https://h:8443":  false,
		"http://h https://h:8443":       false,
		"http://h https://other":        false,
		"https://h http://h":            false,
		"https://h https://h":           false,
		"http://h https://h.evil.test/": false,
	}
	for pair, want := range tests {
		from, to, _ := strings.Cut(pair, " ")
		a, _ := url.Parse(from)
		b, _ := url.Parse(to)
		if got := isUpgrade(a, b); got != want {
			t.Errorf("%s: %v", pair, got)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"http://h/a", "http://H:80/b", true},
		{"https://h", "https://h:443", true},
		{"http://h", "https://h", false},
		{"http://h:443", "https://h", false},
		{"http://h", "http://h:8080", false},
		{"http://h", "http://x.h", false},
		{"http://[::1]", "http://[::1]:80", true},
	}
	for _, test := range tests {
		a, _ := url.Parse(test.a)
		b, _ := url.Parse(test.b)
		if got := sameOrigin(a, b); got != test.want {
			t.Errorf("%s and %s: %v", test.a, test.b, got)
		}
	}
}
