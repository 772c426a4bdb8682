package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// front answers, before anything is parsed or routed, what was answered to the same anonymous request
// before and is still true; all else goes to echo. Rights were checked when the answer was kept: it is the one for
// a caller without credentials, and it is forgotten when rules, users' rights or revisions change.
type front struct{ *Server }

// frontAnswer is a kept document with everything that a request needs for being answered, logged and counted.
type frontAnswer struct {
	*document
	header http.Header // complete; shared by all answers, so never changed
	head   []byte      // status line and header as they are sent
	log    *zap.Logger // with the fields that every request has in common
	series series
}

// ServeHTTP implements http.Handler.
func (f front) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if a := f.documents.frontAnswer(req); a != nil {
		f.answer(a, w, req)
		return
	}
	f.echo.ServeHTTP(w, req)
}

// frontAnswer returns the kept answer to a request if it is still true, or nil.
func (d *documents) frontAnswer(req *http.Request) *frontAnswer {
	if d.front == nil {
		return nil
	}
	key := frontKey(req)
	if key == "" {
		return nil
	}
	return d.inFront(key)
}

// inFront returns what is kept under the key of a request, or under its very bytes, if that is still true, or nil.
func (d *documents) inFront(key string) *frontAnswer {
	a, ok := d.front.Get(key)
	if !ok || !a.stamp.valid() || !d.now().Before(a.expires) {
		return nil
	}
	return a
}

// answer sends a kept answer in one write.
func (f front) answer(a *frontAnswer, w http.ResponseWriter, req *http.Request) {
	started := f.beginFront()
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	// Writers without deadlines are left alone; a failed write only means that the client has left.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(silence))
	w.WriteHeader(a.status)
	if len(a.body) > 0 {
		_, _ = w.Write(a.body)
	}
	if c, ok := req.Context().Value(repeatKey{}).(*repeatConn); ok {
		c.learn(a, req)
	}
	f.endFront(a, started, f.clientAddr(req))
}

// beginFront counts a request that is answered in front, and returns the time.
func (s *Server) beginFront() time.Time {
	s.metrics.inFlight.Inc()
	return s.now()
}

// endFront logs and counts a request that was answered.
func (s *Server) endFront(a *frontAnswer, started time.Time, client netip.Addr) {
	s.metrics.inFlight.Dec()
	took := s.now().Sub(started)
	a.series.count(took, int64(len(a.body)))
	if line := a.log.Check(zap.InfoLevel, "request"); line != nil {
		line.Write(requestFields(took, client)...)
	}
}

// frontKey names everything that the answer to an anonymous request depends on; empty: the request is not of the
// simple kind that is answered in front.
func frontKey(req *http.Request) string {
	const longest = 512
	if req.Method != http.MethodGet || len(req.RequestURI) > longest || strings.IndexByte(req.RequestURI, '?') >= 0 {
		return ""
	}
	for _, name := range [...]string{echo.HeaderAuthorization, "Range", "If-None-Match", "If-Range", "If-Match", "If-Modified-Since", "If-Unmodified-Since", "X-Forwarded-Prefix"} {
		if _, ok := req.Header[name]; ok {
			return ""
		}
	}
	return string(generationOf(req, nil)) + req.RequestURI
}

// keepInFront lets the next request of the same kind be answered in front.
func (s *Server) keepInFront(r *request, d *document) {
	key := frontKey(r.Request())
	if key == "" || s.documents.front == nil || !r.caller.Anonymous() || d.from.state == conan.StateStale {
		return
	}
	later := d.again(d.stored)
	r.from = later.from
	header := http.Header{"X-Content-Type-Options": {"nosniff"}}
	later.writeHeader(header)
	later.from.writeTo(header)
	head := bytes.NewBufferString(fmt.Sprintf("HTTP/1.1 %d %s\r\n", later.status, http.StatusText(later.status)))
	_ = header.Write(head) // a buffer takes everything
	a := &frontAnswer{
		document: later,
		header:   header,
		head:     head.Bytes(),
		log:      s.access.With(answerFields(r, d.status, int64(len(d.body)))...),
		series:   s.metrics.of(r, d.status),
	}
	s.documents.front.Set(key, a, 1)
}
