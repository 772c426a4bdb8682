package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"conanproxy/internal/conan"
)

// origin is an upstream inside this process that serves samples by the v2 API at a limited rate and
// counts what it sends.
type origin struct {
	*httptest.Server
	samples map[string]*sample // by name
	limit   *limiter           // nil: unlimited
	sent    atomic.Int64       // body bytes of archives
}

func newOrigin(bytesPerSecond int64, samples ...*sample) *origin {
	o := &origin{samples: map[string]*sample{}}
	if bytesPerSecond > 0 {
		o.limit = &limiter{rate: float64(bytesPerSecond)}
	}
	for _, s := range samples {
		o.samples[s.name] = s
	}
	o.Server = httptest.NewServer(o)
	return o
}

// ServeHTTP answers ping, latest, revisions, files and file GETs.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Conan-Server-Capabilities", "revisions")
	if strings.HasSuffix(r.URL.Path, "/ping") {
		return
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/conans/"), "/")
	s := o.samples[parts[0]]
	if s == nil || len(parts) < 5 {
		http.NotFound(w, r)
		return
	}
	rest := strings.Join(parts[4:], "/")
	inPackage := "revisions/" + s.rrev + "/packages/" + s.pid + "/"
	files, id := s.recipe, s.rrev
	if after, ok := strings.CutPrefix(rest, inPackage); ok {
		rest, files, id = after, s.files, s.prev
	}
	const published = "2026-01-02T03:04:05.678901+00:00"
	name, isFile := strings.CutPrefix(rest, "revisions/"+id+"/files/")
	switch {
	case rest == "latest":
		writeJSON(w, map[string]any{"revision": id, "time": published})
	case rest == "revisions":
		writeJSON(w, map[string]any{"revisions": []any{map[string]any{"revision": id, "time": published}}})
	case rest == "revisions/"+id+"/files":
		list := map[string]any{}
		for n := range files {
			list[n] = map[string]any{}
		}
		if _, pkg := files[conan.InfoFile]; pkg {
			list[archiveName] = map[string]any{}
		}
		writeJSON(w, map[string]any{"files": list})
	case isFile && name == archiveName:
		o.sendArchive(w, r, s)
	case isFile && files[name] != nil:
		w.Write(files[name])
	default:
		http.NotFound(w, r)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func (o *origin) sendArchive(w http.ResponseWriter, r *http.Request, s *sample) {
	f, err := os.Open(s.archive)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/gzip")
	http.ServeContent(&slowWriter{ResponseWriter: w, origin: o, request: r}, r, "", time.Time{}, f)
}

// slowWriter counts and paces the body; it hides sendfile on purpose.
type slowWriter struct {
	http.ResponseWriter
	origin  *origin
	request *http.Request
}

func (w *slowWriter) Write(b []byte) (int, error) {
	if w.origin.limit != nil {
		w.origin.limit.wait(len(b))
	}
	n, err := w.ResponseWriter.Write(b)
	w.origin.sent.Add(int64(n))
	return n, err
}

// catchUp is how much time of a line a writer may make good that came late: the buffer in front of
// a real line keeps it busy meanwhile.
const catchUp = 20 * time.Millisecond

// limiter shares a rate in bytes per second among all writers, as a line does.
type limiter struct {
	rate float64
	mu   sync.Mutex
	next time.Time
}

func (l *limiter) wait(n int) {
	l.mu.Lock()
	if earliest := time.Now().Add(-catchUp); l.next.Before(earliest) {
		l.next = earliest
	}
	l.next = l.next.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	until := l.next
	l.mu.Unlock()
	time.Sleep(time.Until(until))
}
