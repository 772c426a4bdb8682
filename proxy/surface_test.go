package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

func TestFileURLs(t *testing.T) {
	const inner = "/v1/files/hello/1.0/demo/testing/r1/export/conanfile.py"
	fromProxy := func(prefix string) map[string]string { return map[string]string{"X-Forwarded-Prefix": prefix} }
	tests := []struct {
		name    string
		options func(*worldOptions)
		mount   string
		header  map[string]string
		want    string
	}{
		{"root", nil, "", nil, inner},
		{"local", nil, "/local", nil, "/local" + inner},
		{"GitLab instance", nil, "/api/v4/packages/conan", nil, "/api/v4/packages/conan" + inner},
		{"GitLab project", nil, "/projects/local/packages/conan", nil, "/projects/local/packages/conan" + inner},
		{"base path", func(o *worldOptions) { o.BasePath = "/conan/" }, "/conan/local", nil, "/conan/local" + inner},
		{"base path that was cut off", func(o *worldOptions) { o.BasePath = "/conan" }, "/local", nil, "/conan/local" + inner},
		{"public URL", func(o *worldOptions) { o.PublicURL = "https://conan.example.com/" }, "/local", nil, "https://conan.example.com/local" + inner},
		{"public URL and base path", func(o *worldOptions) { o.PublicURL = "https://x.org"; o.BasePath = "/c" }, "/c", nil, "https://x.org/c" + inner},
		{"public URL with the base path", func(o *worldOptions) { o.PublicURL = "https://x.org/c"; o.BasePath = "/c" }, "", nil, "https://x.org/c" + inner},
		{"forwarded prefix", trusting("192.0.2.0/24"), "", fromProxy("/conan"), "/conan" + inner},
		{"forwarded prefix that was not cut off", trusting("192.0.2.0/24"), "/conan/local", fromProxy("/conan"), "/conan/local" + inner},
		{"forwarded prefix of nobody in particular", nil, "", fromProxy("/conan"), inner},
		{"forwarded prefix that is none", trusting("192.0.2.0/24"), "", fromProxy("//evil.example/.."), inner},
		{"other host", nil, "", map[string]string{"Host": "evil.example", "X-Forwarded-Host": "evil.example"}, inner},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			change := tt.options
			if change == nil {
				change = func(*worldOptions) {}
			}
			w := newWorld(t, change)
			w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
			resp := w.do(call{method: "GET", path: tt.mount + helloPath + "/download_urls", header: tt.header})
			got := urlsOf(t, resp)[conan.RecipeFile]
			if got != tt.want {
				t.Fatalf("URL %q, want %q", got, tt.want)
			}
			for _, slash := range []string{"", "/"} { // the rule by which clients resolve URLs
				base, err := url.Parse("http://h/any/where" + slash)
				if err != nil {
					t.Fatal(err)
				}
				resolved, err := base.Parse(got)
				if err != nil || !strings.HasSuffix(tt.want, resolved.Path) {
					t.Errorf("%s resolves to %v", got, resolved)
				}
			}
			fetched, err := url.Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(tt.name, "forwarded") {
				wantStatus(t, w.get(fetched.Path), http.StatusOK)
			}
		})
	}
}

func TestClientAddress(t *testing.T) {
	tests := []struct {
		name, forwarded string
		trusted         bool
		want            string
	}{
		{"direct", "", false, "192.0.2.7"},
		{"header of a stranger", "203.0.113.9", false, "192.0.2.7"},
		{"one hop", "203.0.113.9", true, "203.0.113.9"},
		{"forged first hop", "198.51.100.1, 203.0.113.9", true, "203.0.113.9"},
		{"two proxies", "203.0.113.9, 192.0.2.8", true, "203.0.113.9"},
		{"IPv6", "[2001:db8::1]", true, "2001:db8::1"},
		{"junk", "203.0.113.9, unknown", true, "192.0.2.7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			change := func(*worldOptions) {}
			if tt.trusted {
				change = trusting("192.0.2.0/24")
			}
			w := newWorld(t, change)
			w.do(call{method: "GET", path: "/v1/ping", header: map[string]string{"X-Forwarded-For": tt.forwarded}})
			if got := w.access.All()[0].ContextMap()["remote"]; got != tt.want {
				t.Errorf("remote %v, want %s", got, tt.want)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("hello/1.0: %w", err) }
	tests := []struct {
		err        error
		status     int
		retryAfter time.Duration
	}{
		{wrap(auth.ErrLogin), 401, 0},
		{wrap(conan.ErrDenied), 403, 0},
		{wrap(conan.ErrNotFound), 404, 0},
		{wrap(conan.ErrNotFetched), 404, 0},
		{wrap(conan.ErrInvalid), 400, 0},
		{wrap(conan.ErrIncomplete), 400, 0},
		{wrap(conan.ErrConflict), 409, 0},
		{wrap(conan.ErrNoSpace), 403, 0},
		{wrap(conan.ErrUnavailable), 503, 2 * time.Second},
		{wrap(&conan.UnavailableError{Member: "a", Reason: "b"}), 503, 2 * time.Second},
		{wrap(&conan.UnavailableError{Member: "a", Reason: "b", RetryAfter: 4 * time.Second}), 503, 4 * time.Second},
		{wrap(&conan.UnavailableError{Member: "a", Reason: "b", RetryAfter: time.Hour}), 503, 10 * time.Second},
		{wrap(&conan.UnavailableError{Member: "a", Reason: "b", RetryAfter: time.Hour, Permanent: true}), 424, 0},
		{wrap(&conan.UnavailableError{Member: "a", Reason: "b", Refused: true}), 424, 0},
		{wrap(identity.ErrBusy), 503, time.Second},
		{wrap(context.DeadlineExceeded), 503, 2 * time.Second},
		{wrap(context.Canceled), statusGone, 0},
		{wrap(echo.ErrNotFound), 404, 0},
		{wrap(echo.ErrMethodNotAllowed), 405, 0},
		{wrap(refuse(418, "no")), 418, 0},
		{wrap(io.ErrClosedPipe), 500, 0},
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &request{req: httptest.NewRequestWithContext(ctx, "GET", "/", nil), settings: newWorld(t).server.settings.Load()}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			got := r.classify(tt.err)
			if got.status != tt.status || got.retryAfter != tt.retryAfter {
				t.Errorf("got %d and %s, want %d and %s", got.status, got.retryAfter, tt.status, tt.retryAfter)
			}
			if internal := tt.status == 500 || tt.status == statusGone; internal != (got.text == "") {
				t.Errorf("text %q", got.text)
			}
		})
	}
}

func TestUnavailableNamesTheUpstream(t *testing.T) {
	w := newWorld(t)
	w.upstream.err = &conan.UnavailableError{Member: "conancenter", Reason: "connection refused"}
	for _, path := range []string{helloV2 + "/latest", helloPath, helloPath + "/download_urls", helloV2 + "/revisions/r1/packages/aa/latest", "/upstream/conancenter/v1/conans/search"} {
		resp := w.get(path)
		wantStatus(t, resp, http.StatusServiceUnavailable)
		if resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
		if text := bodyOf(t, resp); !strings.Contains(text, "conancenter") || !strings.Contains(text, "connection refused") {
			t.Errorf("%s: text %q", path, text)
		}
	}
}

func TestInternalErrorsHaveAnID(t *testing.T) {
	w := newWorld(t)
	w.local.err = errors.New("open /var/lib/secret: input/output error")
	resp := w.get("/local" + helloV2 + "/latest")
	wantStatus(t, resp, http.StatusInternalServerError)
	text := bodyOf(t, resp)
	if strings.Contains(text, "secret") {
		t.Errorf("text %q shows the cause", text)
	}
	entries := w.log.FilterMessage("request failed").All()
	if len(entries) != 1 || !strings.Contains(text, entries[0].ContextMap()["id"].(string)) {
		t.Errorf("the id of %q is not in the log", text)
	}
}

// panicking is a Source that has a bug.
type panicking struct{ *memStore }

func (panicking) Snapshot(context.Context, conan.Revision) (conan.Answer[conan.Snapshot], error) {
	panic("boo")
}

func TestPanicIsAnInternalError(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.setViews(w.view("all", "", resolver.Member{Name: "local", Store: panicking{w.local}}))
	resp := w.get(helloV2 + "/revisions/r1/files")
	wantStatus(t, resp, http.StatusInternalServerError)
	if text := bodyOf(t, resp); !strings.HasPrefix(text, "internal error") {
		t.Errorf("text %q", text)
	}
	if w.log.FilterMessage("panic").Len() != 1 || w.access.Len() != 1 {
		t.Error("the panic or the request is not in the log")
	}
	wantStatus(t, w.get("/v1/ping"), http.StatusOK)
}

func TestClientThatLeft(t *testing.T) {
	w := newWorld(t)
	w.local.err = context.Canceled
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := httptest.NewRequestWithContext(ctx, "GET", "/local"+helloV2+"/latest", nil)
	w.server.ServeHTTP(httptest.NewRecorder(), req)
	if got := w.access.All()[0].ContextMap()["status"]; got != int64(statusGone) {
		t.Errorf("status %v in the access log", got)
	}
	if w.log.Len() != 0 {
		t.Error("a client that leaves is no error")
	}
}

func TestAccessLog(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "secret/1.0#r1", recipeFiles)
	urls := urlsOf(t, w.do(call{method: "GET", path: "/v1/conans/secret/1.0/_/_/download_urls", user: "demo"}))
	w.now = w.now.Add(time.Second)
	w.get(urls["conan_export.tgz"])
	w.do(call{method: "GET", path: "/v1/users/authenticate?x=topsecret", header: withBasic("demo", "topsecret")})
	w.get("/nothing?token=topsecret")
	lines := w.access.All()
	got := lines[1].ContextMap()
	if id, ok := got["id"].(string); !ok || id == lines[0].ContextMap()["id"] {
		t.Errorf("id %v", got["id"])
	}
	delete(got, "id")
	want := map[string]any{
		"method": "GET", "route": "/v1/files/:name/:version/:user/:channel/:rrev/export/:file",
		"path": "/v1/files/secret/1.0/_/_/r1/export/conan_export.tgz", "view": "all", "status": int64(200),
		"bytes": int64(len(recipeFiles["conan_export.tgz"])), "duration": time.Duration(0), "remote": "192.0.2.7",
		"member": "local", "cache": "local", "user": "demo",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if len(lines) != 4 {
		t.Errorf("%d lines for 4 requests", len(lines))
	}
	for _, line := range lines {
		for name, value := range line.ContextMap() {
			if text := fmt.Sprint(value); strings.Contains(text, "signature=") || strings.Contains(text, "topsecret") || strings.Contains(text, "eyJ") {
				t.Errorf("field %s has a secret: %s", name, text)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.get(helloV2 + "/latest")
	w.get("/some/where")
	w.do(call{method: "BREW", path: "/x"})
	w.do(call{method: "PUT", path: helloV2 + "/revisions/r1/files/conanfile.py", body: "12345"})
	resp := w.get("/metrics")
	wantStatus(t, resp, http.StatusOK)
	text := bodyOf(t, resp)
	for _, line := range []string{
		`conanproxy_http_requests_total{method="GET",route="/v2/conans/:name/:version/:user/:channel/latest",status="200"} 1`,
		`conanproxy_http_requests_total{method="GET",route="none",status="404"} 1`,
		`conanproxy_http_requests_total{method="other",route="none",status="404"} 1`,
		`conanproxy_http_request_duration_seconds_count{method="GET",route="/v2/conans/:name/:version/:user/:channel/latest"} 1`,
		`conanproxy_http_requests_in_flight 1`,
		`conanproxy_http_announced_upload_bytes_total 5`,
		`conanproxy_http_answers_total{cache="local",view="all"} 1`,
		`conanproxy_http_sent_bytes_total{route="/v2/conans/:name/:version/:user/:channel/latest"} `,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(text, "hello") || strings.Contains(text, "/some") {
		t.Error("a path became a label")
	}
}

func TestHealth(t *testing.T) {
	var broken error
	w := newWorld(t, func(o *worldOptions) {
		o.Ready = func(context.Context) error { return broken }
		o.BasePath = "/conan"
	})
	for _, base := range []string{"", "/conan"} {
		wantStatus(t, w.get(base+"/healthz"), http.StatusOK)
		wantStatus(t, w.get(base+"/readyz"), http.StatusOK)
	}
	broken = errors.New("disk /data is full")
	resp := w.get("/readyz")
	wantStatus(t, resp, http.StatusServiceUnavailable)
	if strings.Contains(bodyOf(t, resp), "/data") {
		t.Error("the cause is shown to everybody")
	}
	wantStatus(t, w.get("/healthz"), http.StatusOK)
	version := w.get("/version")
	if body := bodyOf(t, version); !strings.Contains(body, `"version":"1.2.3"`) {
		t.Errorf("version %s", body)
	}
}

func TestPage(t *testing.T) {
	w := newWorld(t, trusting("192.0.2.0/24"))
	tests := []struct {
		name, path string
		header     map[string]string
		want       []string
	}{
		{"root", "/", nil, []string{"conan remote add conanproxy http://example.com --index 0", "conan remote add conanproxy http://example.com --insert 0", "http://example.com/local", "http://example.com/upstream/conancenter"}},
		{"view", "/local/", nil, []string{"conan remote add conanproxy-local http://example.com/local\n"}},
		{"behind a proxy", "/", map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "c.org", "X-Forwarded-Prefix": "/conan"}, []string{"https://c.org/conan --index 0"}},
		{"hostile host", "/", map[string]string{"X-Forwarded-Host": "<script>alert(1)</script>"}, []string{"http://example.com"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := w.do(call{method: "GET", path: tt.path, header: tt.header})
			wantStatus(t, resp, http.StatusOK)
			body := bodyOf(t, resp)
			for _, text := range tt.want {
				if !strings.Contains(body, text) {
					t.Errorf("the page lacks %q", text)
				}
			}
			if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(body, "<script") {
				t.Errorf("policy %q", policy)
			}
		})
	}
	wantStatus(t, w.get("/upstream/nope"), http.StatusFailedDependency)
	wantStatus(t, w.do(call{method: "POST", path: "/"}), http.StatusMethodNotAllowed)
}

// What the page advises is right for each view, and for a server on which nothing can be published.
func TestPageOfEachView(t *testing.T) {
	w := newWorld(t)
	page := func(path string) string { t.Helper(); return bodyOf(t, w.get(path)) }
	const disable, upload, noUsers = "conan remote disable conancenter", "conan upload", "no users are configured"
	tests := []struct {
		name, path string
		set        func()
		has, lacks []string
	}{
		{"all", "/", func() {}, []string{disable, upload, "<td>to local</td>", "conanproxy-local http://example.com/local\n", "<td>local, conancenter</td>"}, []string{noUsers}},
		{"store", "/local", func() {}, []string{"conanproxy-local http://example.com/local<"}, []string{disable, "--index", "--insert"}},
		{"upstream", "/upstream/conancenter", func() {}, []string{disable, "conanproxy-conancenter http://example.com/upstream/conancenter --index 0"}, nil},
		{"no users", "/", func() {
			w.options.Guard = newTestGuard(t, newTestDirectory(t, nil, nil, nil), readRules, writeRules)
			w.setViews(w.views()...)
		}, []string{noUsers, disable}, []string{upload, "<td>to local</td>"}},
		{"everybody may publish", "/", func() {
			everybody := []auth.Rule{{Pattern: "*", Users: []string{"*"}}}
			w.options.Guard = newTestGuard(t, newTestDirectory(t, nil, nil, nil), everybody, everybody)
			w.setViews(w.views()...)
		}, []string{upload, "<td>to local</td>"}, []string{noUsers}},
		{"no upstreams", "/", func() { w.setViews(w.view("all", "", w.storeMember())) }, []string{"conan remote add conanproxy http://example.com"}, []string{disable}},
		{"nothing at the root", "/", func() { w.setViews(w.view("team", "/r/team", w.storeMember())) }, []string{"http://example.com/r/team"}, []string{disable}},
	}
	for _, tt := range tests {
		tt.set()
		body := page(tt.path)
		for _, text := range tt.has {
			if !strings.Contains(body, text) {
				t.Errorf("%s: the page lacks %q", tt.name, text)
			}
		}
		for _, text := range tt.lacks {
			if strings.Contains(body, text) {
				t.Errorf("%s: the page has %q", tt.name, text)
			}
		}
	}
}

func TestPageOverTLSAndPublicURL(t *testing.T) {
	w := newWorld(t)
	req := httptest.NewRequest("GET", "/", nil)
	req.TLS = &tls.ConnectionState{}
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, req)
	if !strings.Contains(rec.Body.String(), "conanproxy https://example.com --index") {
		t.Error("no https URL")
	}
	public := newWorld(t, func(o *worldOptions) { o.PublicURL = "https://conan.example.org" })
	if body := bodyOf(t, public.get("/")); !strings.Contains(body, "conanproxy https://conan.example.org --index") || strings.Contains(body, "example.com") {
		t.Error("the page does not show the public URL only")
	}
}
