package upstream

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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
	r, err := New(Options{Name: "h2", URL: server.URL, Protocol: "v2", CAFile: file})
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
		r, err := New(Options{Name: "x", URL: "http://" + host, Protocol: "v2"})
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

// An upstream may not send us to other services of this machine, or only by allow_networks.
func TestRedirectToThisMachine(t *testing.T) {
	inner := httptest.NewServer(whole("secret", "Content-Type", "text/plain"))
	defer inner.Close()
	server := httptest.NewServer(http.RedirectHandler(inner.URL+"/x", http.StatusFound))
	defer server.Close()
	for want, allow := range map[string][]netip.Prefix{
		"ok": {netip.MustParsePrefix("127.0.0.0/8")},
		"unavailable: points to " + strings.TrimPrefix(inner.URL, "http://") +
			", an address of this machine, which allow_networks does not name": nil,
	} {
		r, err := New(Options{Name: "x", URL: server.URL, Protocol: "v2", AllowNetworks: allow})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		file, err := r.Open(t.Context(), zlibRev(t), "metadata/x.txt")
		if err == nil {
			_, err = readAll(t, file)
		}
		if word(err) != want {
			t.Errorf("got %q, want %q", word(err), want)
		}
	}
}

// A URL that a caller chose leads only to addresses that allow_networks names.
func TestOnlyAllowed(t *testing.T) {
	server := httptest.NewServer(whole("secret", "Content-Type", "text/plain"))
	defer server.Close()
	for want, allow := range map[string][]netip.Prefix{
		"ok": {netip.MustParsePrefix("127.0.0.0/8")},
		"unavailable: points to " + strings.TrimPrefix(server.URL, "http://") +
			", an address of this machine, which allow_networks does not name": nil,
	} {
		r, err := New(Options{Name: "x", URL: server.URL, Protocol: "v2", OnlyAllowed: true, AllowNetworks: allow})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		file, err := r.Open(t.Context(), zlibRev(t), "metadata/x.txt")
		if err == nil {
			_, err = readAll(t, file)
		}
		if word(err) != want {
			t.Errorf("got %q, want %q", word(err), want)
		}
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
	if err != nil || u.String() != "https://conan.test/artifactory/api/conan/center/v1/ping" || r.State() != Closed {
		t.Errorf("%v, %v, %s", u, err, r.State())
	}
}
