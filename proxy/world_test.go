package proxy

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"conanproxy/internal/conan"
)

// world is a server over two stores in memory: the local one, and one that plays a cache over an upstream.
type world struct {
	t        testing.TB
	server   *Server
	guard    *Guard
	local    *memStore
	upstream *memStore
	now      time.Time
	access   *observer.ObservedLogs
	log      *observer.ObservedLogs
	registry *prometheus.Registry
}

// newWorld makes a world; change changes its options.
//
// Users are demo, other and "mü". secret/* is read by demo only; locked/* is written by other only; all else is
// read by everybody and written by every user.
func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), registry: prometheus.NewRegistry()}
	clock := func() time.Time { return w.now }
	w.local = newMemStore("local", conan.StateLocal, clock)
	w.upstream = newMemStore("conancenter", conan.StateMiss, clock)
	w.upstream.life = 5 * time.Minute
	w.guard = newTestGuard(t, clock)
	accessCore, access := observer.New(zapcore.DebugLevel)
	logCore, log := observer.New(zapcore.DebugLevel)
	w.access, w.log = access, log
	o := Options{
		Views:     w.views(),
		Publisher: forgetting{w.local, w},
		Guard:     w.guard,
		Log:       zap.New(logCore),
		AccessLog: zap.New(accessCore),
		Registry:  w.registry,
		Version:   "1.2.3",
		Now:       clock,
	}
	for _, c := range change {
		c(&o)
	}
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w.server = server
	return w
}

// forgetting is a Publisher that has the server forget what it changes, as the command's wiring does.
type forgetting struct {
	conan.Publisher
	w *world
}

func (p forgetting) Put(ctx context.Context, up conan.Upload) error {
	defer p.w.server.Forget(up.Ref)
	return p.Publisher.Put(ctx, up)
}

func (p forgetting) Link(ctx context.Context, up conan.Upload, mayRead func(conan.Ref) bool) error {
	defer p.w.server.Forget(up.Ref)
	return p.Publisher.Link(ctx, up, mayRead)
}

func (p forgetting) RemoveFiles(ctx context.Context, recipe conan.Revision, user string, names []string) error {
	defer p.w.server.Forget(recipe.Ref)
	return p.Publisher.RemoveFiles(ctx, recipe, user, names)
}

func (p forgetting) Remove(ctx context.Context, removal conan.Removal) error {
	defer p.w.server.Forget(removal.Ref)
	return p.Publisher.Remove(ctx, removal)
}

func newTestGuard(t testing.TB, clock func() time.Time) *Guard {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	var lines strings.Builder
	for user, password := range map[string]string{"demo": "demo", "other": "pass:word", "mü": "pä:ss"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		lines.WriteString(user + ":" + string(hash) + "\n")
	}
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	guard, err := NewGuard(GuardOptions{
		HtpasswdFile: file,
		Secret:       []byte(strings.Repeat("k", 32)),
		Read:         []Rule{{Pattern: "secret/*", Users: []string{"demo"}}, {Pattern: "*", Users: []string{"*"}}},
		Write:        []Rule{{Pattern: "locked/*", Users: []string{"other"}}, {Pattern: "*", Users: []string{"?"}}},
		Now:          clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return guard
}

func (w *world) views() []View {
	upstream := Member{Name: "conancenter", Source: w.upstream}
	return []View{
		{Name: ViewAll, Resolver: resolverOver(w.t, ResolverOptions{Local: w.local, Upstreams: []Member{upstream}}), Writable: true},
		{Name: ViewLocal, Resolver: resolverOver(w.t, ResolverOptions{Local: w.local}), Writable: true},
		{Name: "conancenter", Resolver: resolverOver(w.t, ResolverOptions{Upstreams: []Member{upstream}})},
	}
}

func resolverOver(t testing.TB, o ResolverOptions) *Resolver {
	t.Helper()
	r, err := NewResolver(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// token is what demo gets for a login.
func (w *world) token(user string) string {
	w.t.Helper()
	token, err := w.guard.IssueToken(Caller{Name: user})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// call is a request to be made.
type call struct {
	method, path string
	user         string            // sends a token of that user
	header       map[string]string // more headers
	body         string
	chunked      bool // no Content-Length
}

// do makes a request, and checks what must be true of every answer.
func (w *world) do(c call) *http.Response {
	w.t.Helper()
	var body io.Reader
	if c.body != "" || c.chunked {
		body = strings.NewReader(c.body)
	}
	if c.chunked {
		body = io.MultiReader(body) // hides the length
	}
	req := httptest.NewRequest(c.method, c.path, body)
	if c.chunked {
		req.ContentLength = -1
	}
	req.RemoteAddr = "192.0.2.7:5000"
	if c.user != "" {
		req.Header.Set("Authorization", "Bearer "+w.token(c.user))
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	rec := httptest.NewRecorder()
	w.server.Handler().ServeHTTP(rec, req)
	resp := rec.Result()
	w.checkAnswer(c, resp)
	return resp
}

func (w *world) checkAnswer(c call, resp *http.Response) {
	w.t.Helper()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusNotModified {
		w.t.Errorf("%s %s: redirected with %d", c.method, c.path, resp.StatusCode)
	}
	if got := resp.Header.Get("Content-Type"); resp.StatusCode >= 400 && resp.StatusCode != http.StatusRequestedRangeNotSatisfiable && got != textType {
		w.t.Errorf("%s %s: status %d has Content-Type %q, want %q", c.method, c.path, resp.StatusCode, got, textType)
	}
	if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		w.t.Errorf("%s %s: no nosniff", c.method, c.path)
	}
}

func (w *world) get(path string) *http.Response {
	w.t.Helper()
	return w.do(call{method: http.MethodGet, path: path})
}

func bodyOf(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wantStatus checks the status and shows the body if it is another.
func wantStatus(t testing.TB, resp *http.Response, want int) {
	t.Helper()
	if resp.StatusCode != want {
		t.Errorf("status %d (%s), want %d", resp.StatusCode, bodyOf(t, resp), want)
	}
}

// wantJSON checks status, content type and the value.
func wantJSON(t testing.TB, resp *http.Response, want string) {
	t.Helper()
	wantStatus(t, resp, http.StatusOK)
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q, want application/json", got)
	}
	var got, wanted any
	if err := json.Unmarshal([]byte(bodyOf(t, resp)), &got); err != nil {
		t.Fatalf("body is not JSON: %v", err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatalf("want is not JSON: %v", err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

// urlsOf reads an answer of names and URLs.
func urlsOf(t testing.TB, resp *http.Response) map[string]string {
	t.Helper()
	wantStatus(t, resp, http.StatusOK)
	var urls map[string]string
	if err := json.NewDecoder(resp.Body).Decode(&urls); err != nil {
		t.Fatal(err)
	}
	return urls
}

func withBasic(user, password string) map[string]string {
	return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}
}

func trusting(prefix string) func(*Options) {
	return func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(prefix)} }
}
