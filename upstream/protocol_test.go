package upstream

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"conanproxy/internal/conan"
)

func TestDetect(t *testing.T) {
	capabilities := func(code int, value string) http.HandlerFunc { return status(code, capabilityHeader, value) }
	tests := map[string]struct {
		ping http.HandlerFunc
		want string // the search that follows, or the error
	}{
		"conan_server":         {capabilities(200, "complex_search,revisions,revisions"), "/v2/conans/search"},
		"blanks":               {capabilities(200, " checksum_deploy , revisions "), "/v2/conans/search"},
		"401 with the header":  {capabilities(401, "revisions"), "/v2/conans/search"},
		"404 with the header":  {capabilities(404, "revisions"), "/v2/conans/search"},
		"other capabilities":   {capabilities(200, "complex_search"), "/v1/conans/search"},
		"similar word":         {capabilities(200, "no_revisions"), "/v1/conans/search"},
		"empty header":         {capabilities(200, ""), "/v1/conans/search"},
		"no header":            {status(200), "/v1/conans/search"},
		"no content":           {status(204), "/v1/conans/search"},
		"web page":             {whole("<html>hello", "Content-Type", "text/html"), "unavailable: answered ping with a web page, so its URL is not a Conan remote; for Artifactory the URL ends in /api/conan/REPOSITORY"},
		"404 without a header": {status(404), "unavailable: its URL is not a Conan remote; for Artifactory the URL ends in /api/conan/REPOSITORY"},
		"401 without a header": {status(401), "unavailable: asks for a login, or refuses the configured one (401)"},
		"403 without a header": {status(403), "unavailable: forbids access (403)"},
		"broken":               {status(502), "unavailable: failed with status 502"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, f := newFake(t, Options{Protocol: "auto"}, func(w http.ResponseWriter, req *http.Request) {
					if req.URL.Path == pingPath {
						test.ping(w, req)
						return
					}
					jsonBody(`{"results": []}`)(w, req)
				})
				got := ""
				if _, err := r.Search(t.Context(), conan.Pattern{}); err != nil {
					got = word(err)
				} else {
					got, _, _ = strings.Cut(strings.TrimPrefix(f.asked()[1], "GET "), "?")
				}
				if got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

func TestDetectBehindLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newFake(t, Options{Protocol: "auto", Username: "me", Password: "s3cret"}, func(w http.ResponseWriter, req *http.Request) {
			switch {
			case req.URL.Path == "/v2/users/authenticate":
				io.WriteString(w, "T")
			case req.Header.Get("Authorization") != "Bearer T":
				w.WriteHeader(http.StatusUnauthorized)
			case req.URL.Path == pingPath:
				w.Header().Set(capabilityHeader, "revisions")
			default:
				jsonBody(`{"results": []}`)(w, req)
			}
		})
		if _, err := r.Search(t.Context(), conan.Pattern{}); err != nil {
			t.Errorf("%v, asked %q", err, f.asked())
		}
		if got := f.header(0).Get("Authorization"); got != "" {
			t.Errorf("the first ping had Authorization %q", got)
		}
	})
}

// One ping serves everybody, also when the first caller leaves, and is remembered until the server
// fails.
func TestDetectOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		down, capability := false, "complex_search"
		set := func(d bool, c string) { mu.Lock(); down, capability = d, c; mu.Unlock() }
		r, f := newFake(t, Options{Protocol: "auto"}, func(w http.ResponseWriter, req *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case down:
				w.WriteHeader(http.StatusBadGateway)
			case req.URL.Path == pingPath:
				w.Header().Set(capabilityHeader, capability)
			default:
				jsonBody(`{"results": []}`)(w, req)
			}
		})
		left, leave := context.WithCancel(t.Context())
		leave()
		r.Search(left, conan.Pattern{})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { r.Search(t.Context(), conan.Pattern{}) })
		}
		wg.Wait()
		pings := func() (n int) {
			for _, asked := range f.asked() {
				if strings.HasSuffix(asked, pingPath) {
					n++
				}
			}
			return n
		}
		if pings() != 1 {
			t.Errorf("%d pings, want 1", pings())
		}
		set(true, "")
		for range breakerFailures {
			r.Search(t.Context(), conan.Pattern{})
		}
		set(false, "revisions")
		time.Sleep(breakerFirst)
		if _, err := r.Search(t.Context(), conan.Pattern{}); err != nil {
			t.Fatal(err)
		}
		asked := f.asked()
		if pings() != 2 || !strings.HasPrefix(asked[len(asked)-1], "GET /v2/") {
			t.Errorf("%d pings, last question %q", pings(), asked[len(asked)-1])
		}
		time.Sleep(48 * time.Hour)
		r.Search(t.Context(), conan.Pattern{})
		if pings() != 2 {
			t.Errorf("%d pings of a server with revisions, want 2", pings())
		}
	})
}

// A server without revisions may learn them.
func TestDetectLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newFake(t, Options{Protocol: "auto"}, jsonBody(`{"results": []}`))
		r.Search(t.Context(), conan.Pattern{})
		time.Sleep(v1Memory)
		r.Search(t.Context(), conan.Pattern{})
		if asked := f.asked(); len(asked) != 4 || asked[2] != "GET "+pingPath {
			t.Errorf("asked %q", asked)
		}
	})
}

// The first "not found" is checked before it is believed, as briefly as that can be done.
func TestCheckDialect(t *testing.T) {
	search := jsonBody(`{"results": []}`)
	tests := map[string]struct {
		capabilities string
		routes       map[string]http.HandlerFunc // of search; others are not found
		want         string
		checks       string // searches for nothing
	}{
		"v2 alone":           {"revisions", map[string]http.HandlerFunc{"/v2/conans/search": search}, "not found", "v1"},
		"v2, v1 is refused":  {"revisions", map[string]http.HandlerFunc{"/v1/conans/search": status(400)}, "not found", "v1"},
		"both":               {"revisions", map[string]http.HandlerFunc{"/v1/conans/search": search, "/v2/conans/search": search}, "not found", "v1 v2"},
		"announced, v1 only": {"revisions", map[string]http.HandlerFunc{"/v1/conans/search": search}, "not found", "v1 v2"},
		"v1":                 {"", map[string]http.HandlerFunc{"/v1/conans/search": search}, "not found", "v1"},
		"v1 without search":  {"complex_search", nil, "not found", "v1"},
		"nothing":            {"", nil, "unavailable: " + errNoConanServer.reason, "v1"},
		"search of another":  {"", map[string]http.HandlerFunc{"/v1/conans/search": jsonBody(`{"hits": 0}`)}, "unavailable: " + errNoConanServer.reason, "v1"},
		"broken":             {"", map[string]http.HandlerFunc{"/v1/conans/search": status(502)}, "unavailable: failed with status 502", "v1 v1 v1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, f := newFake(t, Options{Protocol: "auto"}, func(w http.ResponseWriter, req *http.Request) {
					if req.URL.Path == pingPath {
						w.Header().Set(capabilityHeader, test.capabilities)
						return
					}
					if route := test.routes[req.URL.Path]; route != nil {
						route(w, req)
						return
					}
					notFoundPage(w)
				})
				for range 2 {
					if _, err := r.Latest(t.Context(), conan.Revision{Ref: mustRef(t, "zlib/1.3")}); word(err) != test.want {
						t.Errorf("got %q, want %q", word(err), test.want)
					}
					if name == "broken" {
						break // asked again each time
					}
				}
				var checks []string
				for _, asked := range f.asked() {
					if strings.Contains(asked, "/search?") {
						checks = append(checks, asked[len("GET /"):][:2])
					}
				}
				if got := strings.Join(checks, " "); got != test.checks {
					t.Errorf("checked %q, want %q", got, test.checks)
				}
			})
		})
	}
}
