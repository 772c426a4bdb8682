package proxy

import (
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
	"conanproxy/internal/identity"
	"conanproxy/internal/memory"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// world is a server over two stores in memory: one that takes uploads, and one that plays a cache
// over an upstream.
type world struct {
	t         testing.TB
	server    *Server
	guard     *auth.Guard
	directory *identity.Directory
	robots    *tokenTable
	options   SettingsOptions
	local     *memStore
	upstream  *memStore
	changes   *memory.Changes
	now       time.Time
	access    *observer.ObservedLogs
	log       *observer.ObservedLogs
	registry  *prometheus.Registry
}

// worldOptions are what a test may change.
type worldOptions struct {
	Options
	SettingsOptions
}

// The rules of a world. secret/* is read by demo only; locked/* is written by other only; all else
// is read by everybody and written by every user.
var (
	readRules  = []auth.Rule{{Pattern: "secret/*", Users: []string{"demo"}}, {Pattern: "*", Users: []string{"*"}}}
	writeRules = []auth.Rule{{Pattern: "locked/*", Users: []string{"other"}}, {Pattern: "*", Users: []string{"?"}}}
)

// passwords are those of a world's users.
var passwords = map[string]string{"demo": "demo", "other": "pass:word", "mü": "pä:ss"}

// newWorld makes a world; change changes its options.
func newWorld(t testing.TB, change ...func(*worldOptions)) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), registry: prometheus.NewRegistry(), changes: new(memory.Changes)}
	clock := func() time.Time { return w.now }
	w.local = newMemStore("local", conan.StateLocal, clock)
	w.local.changes = w.changes
	w.upstream = newMemStore("conancenter", conan.StateMiss, clock)
	w.upstream.life = 5 * time.Minute
	w.robots = &tokenTable{robots: make(map[string]*identity.Robot)}
	w.directory = newTestDirectory(t, clock, passwords, w.robots)
	w.guard = newTestGuard(t, w.directory, readRules, writeRules)
	accessCore, access := observer.New(zapcore.DebugLevel)
	logCore, log := observer.New(zapcore.DebugLevel)
	w.access, w.log = access, log
	o := worldOptions{
		Options: Options{
			Changes:   w.changes,
			Log:       zap.New(logCore),
			AccessLog: zap.New(accessCore),
			Registry:  w.registry,
			Version:   "1.2.3",
			Now:       clock,
		},
		SettingsOptions: SettingsOptions{Views: w.views(), Guard: w.guard},
	}
	for _, c := range change {
		c(&o)
	}
	w.options = o.SettingsOptions
	o.Settings = w.settings(func(*SettingsOptions) {})
	server, err := New(o.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w.server = server
	return w
}

// settings are those of the world with a change.
func (w *world) settings(change func(*SettingsOptions)) *Settings {
	w.t.Helper()
	o := w.options
	change(&o)
	settings, err := NewSettings(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return settings
}

// setViews replaces the views, as a reload does.
func (w *world) setViews(views ...View) {
	w.t.Helper()
	w.server.SetSettings(w.settings(func(o *SettingsOptions) { o.Views = views }))
}

// setRules replaces the rules, as a reload does.
func (w *world) setRules(read, write []auth.Rule) {
	w.t.Helper()
	w.server.SetSettings(w.settings(func(o *SettingsOptions) { o.Guard = newTestGuard(w.t, w.directory, read, write) }))
}

func newTestDirectory(t testing.TB, clock func() time.Time, users map[string]string, robots identity.Robots) *identity.Directory {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	var lines strings.Builder
	for user, password := range users {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		lines.WriteString(user + ":" + string(hash) + "\n")
	}
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	directory, err := identity.New(identity.Options{HtpasswdFile: file, Secret: []byte(strings.Repeat("k", 32)), Now: clock, Robots: robots})
	if err != nil {
		t.Fatal(err)
	}
	return directory
}

func newTestGuard(t testing.TB, directory *identity.Directory, read, write []auth.Rule) *auth.Guard {
	t.Helper()
	guard, err := auth.New(auth.Options{Directory: directory, Read: read, Write: write})
	if err != nil {
		t.Fatal(err)
	}
	return guard
}

func (w *world) views() []View {
	return []View{
		w.view("all", "", w.storeMember(), w.upstreamMember()),
		w.view("local", "/local", w.storeMember()),
		w.view("conancenter", "/upstream/conancenter", w.upstreamMember()),
	}
}

func (w *world) storeMember() resolver.Member { return resolver.Member{Name: "local", Store: w.local} }

func (w *world) upstreamMember() resolver.Member {
	return resolver.Member{Name: "conancenter", Source: w.upstream}
}

// view is one over the members, which publishes to the store if that is one of them.
func (w *world) view(name, path string, members ...resolver.Member) View {
	w.t.Helper()
	r, err := resolver.New(resolver.Options{Members: members})
	if err != nil {
		w.t.Fatal(err)
	}
	v := View{Name: name, Path: path, Resolver: r}
	for _, m := range members {
		v.Members = append(v.Members, m.Name)
		if m.Store != nil {
			v.Publisher, v.Store = w.local, m.Name
			continue
		}
		v.Upstreams = true
	}
	return v
}

// token is what a user gets for a login.
func (w *world) token(user string) string {
	w.t.Helper()
	caller, err := w.guard.Identify(w.t.Context(), withBasic(user, passwords[user])["Authorization"], netip.Addr{})
	if err != nil {
		w.t.Fatal(err)
	}
	token, err := w.guard.IssueToken(caller)
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
	w.server.ServeHTTP(rec, req)
	resp := rec.Result()
	w.checkAnswer(c, resp)
	return resp
}

func (w *world) checkAnswer(c call, resp *http.Response) {
	w.t.Helper()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusNotModified {
		w.t.Errorf("%s %s: redirected with %d", c.method, c.path, resp.StatusCode)
	}
	errorType := textType
	if isAPICall(c.path) {
		errorType = jsonType
	}
	if got := resp.Header.Get("Content-Type"); resp.StatusCode >= 400 && resp.StatusCode != http.StatusRequestedRangeNotSatisfiable && got != errorType {
		w.t.Errorf("%s %s: status %d has Content-Type %q, want %q", c.method, c.path, resp.StatusCode, got, errorType)
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

func trusting(prefix string) func(*worldOptions) {
	return func(o *worldOptions) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(prefix)} }
}
