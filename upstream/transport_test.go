package upstream

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func TestCAFile(t *testing.T) {
	server := httptest.NewUnstartedServer(jsonBody(`{"results": ["zlib/1.3"]}`))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{Name: "tls", URL: server.URL, Protocol: "v2", CAFile: file})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if refs, err := r.Search(t.Context(), conan.Pattern{}); len(refs) != 1 || err != nil {
		t.Errorf("with ca_file: %v, %v", refs, err)
	}
	r, err = New(Options{Name: "tls", URL: server.URL, Protocol: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Search(t.Context(), conan.Pattern{}); word(err) != "unavailable: its TLS certificate is not trusted" {
		t.Errorf("without ca_file: %q", word(err))
	}
	for _, bad := range []string{empty, filepath.Join(t.TempDir(), "missing.pem")} {
		if _, err := New(Options{Name: "tls", URL: server.URL, CAFile: bad}); err == nil {
			t.Errorf("ca_file %s was accepted", bad)
		}
	}
}

// Over HTTP/2 a cut transfer continues too.
func TestHTTP2(t *testing.T) {
	var protocols []int
	answers := script(cutAfter(7000, archive, "ETag", `"a"`), rest(archive, "ETag", `"a"`))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		protocols = append(protocols, req.ProtoMajor)
		answers(w, req)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{Name: "h2", URL: server.URL, Protocol: "v2", CAFile: file, Rand: func() float64 { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	opened, err := r.Open(t.Context(), zlibRev(t), "conan_sources.tgz")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(t, opened); got != archive || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if diff := cmp.Diff([]int{2, 2}, protocols); diff != "" {
		t.Error(diff)
	}
}

func TestProxyFromEnvironment(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked = append(asked, req.URL.String())
		jsonBody(`{"results": []}`)(w, req)
	}))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "direct.invalid")
	for _, host := range []string{"conan.invalid", "direct.invalid"} {
		r, err := New(Options{Name: "x", URL: "http://" + host, Protocol: "v2", Rand: func() float64 { return 0 }})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, err = r.Search(t.Context(), conan.Pattern{})
		if proxied := err == nil; proxied != (host == "conan.invalid") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if len(asked) != 1 || asked[0] != "http://conan.invalid/v2/conans/search?q=%2A" {
		t.Errorf("the proxy was asked %q", asked)
	}
}

func TestNobodyListens(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	r, err := New(Options{Name: "x", URL: server.URL, Protocol: "v2", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Search(t.Context(), conan.Pattern{}); word(err) != "unavailable: connection refused" {
		t.Errorf("error %q", word(err))
	}
}

// A remote upstream may not send us to this machine.
func TestGuardedDial(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		configured, address string
		guarded             bool
	}{
		"own host":              {"127.0.0.1", u.Host, false},
		"localhost upstream":    {"localhost", u.Host, false},
		"remote, loopback":      {"conan.test", u.Host, true},
		"remote, localhost":     {"conan.test", "localhost:" + u.Port(), true},
		"remote, link-local":    {"conan.test", "169.254.169.254:80", true},
		"remote, v4 in v6":      {"conan.test", "[::ffff:127.0.0.1]:" + u.Port(), true},
		"remote, any interface": {"conan.test", "0.0.0.0:" + u.Port(), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := guardedDial(test.configured)(t.Context(), "tcp", test.address)
			if err == nil {
				conn.Close()
			}
			if errors.Is(err, errGuarded) != test.guarded || !test.guarded && err != nil {
				t.Errorf("got %v, guarded is %v", err, test.guarded)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	tests := map[string]Options{
		"no URL":                      {},
		"no scheme":                   {URL: "conan.test"},
		"ftp":                         {URL: "ftp://conan.test"},
		"no host":                     {URL: "http:///x"},
		"query":                       {URL: "http://conan.test?x"},
		"unknown protocol":            {URL: "http://conan.test", Protocol: "v3"},
		"password without a username": {URL: "http://conan.test", Password: "x"},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			if r, err := New(o); err == nil {
				t.Errorf("accepted as %v", r.base)
			}
		})
	}
	r, err := New(Options{Name: "x", URL: "https://conan.test/artifactory/api/conan/center/"})
	if err != nil {
		t.Fatal(err)
	}
	u, err := r.address("/v1/ping", nil)
	if err != nil || u.String() != "https://conan.test/artifactory/api/conan/center/v1/ping" || r.Name() != "x" || r.State() != Closed {
		t.Errorf("%v, %v, %s, %s", u, err, r.Name(), r.State())
	}
}
