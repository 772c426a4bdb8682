package e2etest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"conanproxy/internal/harness"
)

// exchange is one request that came to a recorder, and what was answered.
type exchange struct {
	Method string
	// Path is the escaped path with its query; signatures are cut out.
	Path   string
	Status int // 200 until another is answered
	Header http.Header
}

// String is "METHOD path status".
func (e exchange) String() string { return fmt.Sprintf("%s %s %d", e.Method, e.Path, e.Status) }

// Dialect limits which generation of the API a recorder lets through.
type Dialect int

const (
	BothAPIs Dialect = iota
	// OnlyV1 hides the revisions capability and answers 404 under /v2/, as a server from before
	// revisions.
	OnlyV1
	// OnlyV2 answers 404 under /v1/ but for ping, as ConanCenter's live remote.
	OnlyV2
)

// Recorder is a reverse proxy on 127.0.0.1 that writes down every exchange when the request comes,
// and its status before the answer goes: who has the answer finds it written down. It can be
// stopped and continued under the same address, as a server that goes away and comes back.
type Recorder struct {
	t       testing.TB
	addr    string
	Target  *url.URL
	dialect Dialect

	mu        sync.Mutex
	seen      []*exchange
	running   int       // requests not answered whole
	moved     time.Time // when a request last came or was done
	intercept func(http.ResponseWriter, *http.Request) bool
	server    *http.Server
}

// Record puts a recorder before target and returns it running.
func Record(t testing.TB, target string, d Dialect) *Recorder {
	t.Helper()
	return RecordAt(t, FreePort(t), target, d)
}

// RecordAt is Record at a given port.
func RecordAt(t testing.TB, port int, target string, d Dialect) *Recorder {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	r := &Recorder{t: t, addr: harness.HostPort(port), Target: u, dialect: d}
	r.CarryOn()
	t.Cleanup(func() {
		r.Stop()
		if t.Failed() {
			t.Logf("---- requests for %s:\n%s", target, harness.LastBytes(strings.Join(r.Calls(), "\n"), 8000))
		}
	})
	return r
}

// URL is the address of the recorder, without a trailing slash.
func (r *Recorder) URL() string { return "http://" + r.addr }

// Settle waits until none was running for a while.
func (r *Recorder) Settle() {
	const quiet = time.Second
	for {
		r.mu.Lock()
		left := quiet - time.Since(r.moved)
		if r.running > 0 {
			left = quiet
		}
		r.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

// Stop refuses connections and cuts the open ones.
func (r *Recorder) Stop() {
	r.mu.Lock()
	server := r.server
	r.server = nil
	r.mu.Unlock()
	if server != nil {
		server.Close()
	}
}

// CarryOn serves again after Stop.
func (r *Recorder) CarryOn() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatalf("recorder: %v", err)
	}
	server := &http.Server{Handler: r.Handler(), ReadHeaderTimeout: 10 * time.Second}
	r.mu.Lock()
	r.server = server
	r.mu.Unlock()
	go server.Serve(l)
}

// InterceptWith installs a function that may answer a request itself (true) before it is passed on;
// nil removes it.
func (r *Recorder) InterceptWith(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intercept = f
}

// Forget empties the list.
func (r *Recorder) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = nil
}

// Exchanges returns what passed since the last Forget.
func (r *Recorder) Exchanges() []exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []exchange
	for _, e := range r.seen {
		out = append(out, *e)
	}
	return out
}

// begin writes a request down.
func (r *Recorder) begin(req *http.Request) *exchange {
	e := &exchange{Method: req.Method, Path: cutSignature(req.URL), Status: http.StatusOK, Header: req.Header.Clone()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, e)
	r.running++
	r.moved = time.Now()
	return e
}

func (r *Recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	r.moved = time.Now()
}

func (r *Recorder) answered(e *exchange, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Status = status
}

// Calls returns the exchanges as lines "METHOD path status".
func (r *Recorder) Calls() []string {
	var out []string
	for _, e := range r.Exchanges() {
		out = append(out, e.String())
	}
	return out
}

// Count returns how many calls contain every one of the parts.
func (r *Recorder) Count(parts ...string) int {
	n := 0
next:
	for _, call := range r.Calls() {
		for _, part := range parts {
			if !strings.Contains(call, part) {
				continue next
			}
		}
		n++
	}
	return n
}

func (r *Recorder) Handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(r.Target)
			p.Out.Host = p.In.Host
		},
		Transport:      &http.Transport{DisableCompression: true},
		FlushInterval:  -1,
		ModifyResponse: r.limitCapabilities,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "recorder: "+err.Error(), http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		e := r.begin(req)
		defer r.end()
		out := &statusWriter{ResponseWriter: w, note: func(status int) { r.answered(e, status) }}
		r.mu.Lock()
		intercept := r.intercept
		r.mu.Unlock()
		if r.hidden(req.URL.Path) {
			http.Error(out, "no such API", http.StatusNotFound)
			return
		}
		if intercept != nil && intercept(out, req) {
			return
		}
		proxy.ServeHTTP(out, req)
	})
}

// hidden reports whether the dialect lacks the path.
func (r *Recorder) hidden(path string) bool {
	switch r.dialect {
	case OnlyV1:
		return strings.Contains(path, "/v2/")
	case OnlyV2:
		return strings.Contains(path, "/v1/") && !strings.HasSuffix(path, "/v1/ping")
	default:
		return false
	}
}

func (r *Recorder) limitCapabilities(resp *http.Response) error {
	const name = "X-Conan-Server-Capabilities"
	if r.dialect == OnlyV1 && resp.Header.Get(name) != "" {
		resp.Header.Set(name, "complex_search")
	}
	return nil
}

// cutSignature renders path and query without the value of a signature.
func cutSignature(u *url.URL) string {
	query := u.Query()
	if query.Has("signature") {
		query.Set("signature", "S")
	}
	if len(query) == 0 {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + query.Encode()
}

// statusWriter tells the status of an answer before it goes.
type statusWriter struct {
	http.ResponseWriter
	note func(status int)
}

func (w *statusWriter) WriteHeader(status int) {
	w.note(status)
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
