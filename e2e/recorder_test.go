package e2e

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

// dialect limits which generation of the API a recorder lets through.
type dialect int

const (
	bothAPIs dialect = iota
	// onlyV1 hides the revisions capability and answers 404 under /v2/, as a server from before revisions.
	onlyV1
	// onlyV2 answers 404 under /v1/ but for ping, as ConanCenter's live remote.
	onlyV2
)

// recorder is a reverse proxy on 127.0.0.1 that writes down every exchange when the request comes, and its status
// before the answer goes: who has the answer finds it written down. It can be stopped and continued under the same
// address, as a server that goes away and comes back.
type recorder struct {
	t       testing.TB
	addr    string
	target  *url.URL
	dialect dialect

	mu        sync.Mutex
	seen      []*exchange
	running   int       // requests not answered whole
	moved     time.Time // when a request last came or was done
	intercept func(http.ResponseWriter, *http.Request) bool
	server    *http.Server
}

// record puts a recorder before target and returns it running.
func record(t testing.TB, target string, d dialect) *recorder {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{t: t, addr: fmt.Sprintf("127.0.0.1:%d", freePort(t)), target: u, dialect: d}
	r.carryOn()
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("---- requests for %s:\n%s", target, tail(strings.Join(r.calls(), "\n"), 8000))
		}
	})
	return r
}

// url is the address of the recorder, without a trailing slash.
func (r *recorder) url() string { return "http://" + r.addr }

// settle waits until none was running for a while.
func (r *recorder) settle() {
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

// stop refuses connections and cuts the open ones.
func (r *recorder) stop() {
	r.mu.Lock()
	server := r.server
	r.server = nil
	r.mu.Unlock()
	if server != nil {
		server.Close()
	}
}

// carryOn serves again after stop.
func (r *recorder) carryOn() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatalf("recorder: %v", err)
	}
	server := &http.Server{Handler: r.handler(), ReadHeaderTimeout: 10 * time.Second}
	r.mu.Lock()
	r.server = server
	r.mu.Unlock()
	go server.Serve(l)
}

// interceptWith installs a function that may answer a request itself (true) before it is passed on; nil removes it.
func (r *recorder) interceptWith(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intercept = f
}

// forget empties the list.
func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = nil
}

// exchanges returns what passed since the last forget.
func (r *recorder) exchanges() []exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []exchange
	for _, e := range r.seen {
		out = append(out, *e)
	}
	return out
}

// begin writes a request down.
func (r *recorder) begin(req *http.Request) *exchange {
	e := &exchange{Method: req.Method, Path: cutSignature(req.URL), Status: http.StatusOK, Header: req.Header.Clone()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, e)
	r.running++
	r.moved = time.Now()
	return e
}

func (r *recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	r.moved = time.Now()
}

func (r *recorder) answered(e *exchange, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Status = status
}

// calls returns the exchanges as lines "METHOD path status".
func (r *recorder) calls() []string {
	var out []string
	for _, e := range r.exchanges() {
		out = append(out, e.String())
	}
	return out
}

// count returns how many calls contain every one of the parts.
func (r *recorder) count(parts ...string) int {
	n := 0
next:
	for _, call := range r.calls() {
		for _, part := range parts {
			if !strings.Contains(call, part) {
				continue next
			}
		}
		n++
	}
	return n
}

func (r *recorder) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(r.target)
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
func (r *recorder) hidden(path string) bool {
	switch r.dialect {
	case onlyV1:
		return strings.Contains(path, "/v2/")
	case onlyV2:
		return strings.Contains(path, "/v1/") && !strings.HasSuffix(path, "/v1/ping")
	default:
		return false
	}
}

func (r *recorder) limitCapabilities(resp *http.Response) error {
	const name = "X-Conan-Server-Capabilities"
	if r.dialect == onlyV1 && resp.Header.Get(name) != "" {
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
