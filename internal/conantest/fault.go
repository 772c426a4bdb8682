package conantest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Fault breaks the answers of a route. Its parts can be combined: a Status with a Body and a
// Delay, a Cut of an answer that is otherwise good.
type Fault struct {
	// Route is matched against the whole path, or path?query, with its prefix, after an optional
	// method: "GET /v2/conans/zlib/*/latest", "*/conan_package.tgz", "*". A * is any run of
	// characters. The first fault whose Route matches and whose Count is not used up decides.
	Route string
	Skip  int // so many matching requests are answered well first
	Count int // so many are broken then; 0 means all

	// What is answered.
	Status      int         // in place of the real status; with it the body is Body
	Header      http.Header // added; an empty value removes
	Body        *string     // in place of the real body
	ContentType string      // in place of the real one

	// How it is sent.
	Delay          time.Duration // before the first byte
	BlackHole      bool          // take the request and never answer
	Reset          bool          // close the connection without an answer
	BytesPerSecond int           // drip the body
	Cut            *int64        // close the connection after so many bytes of the body
	Stall          *int64        // send so many bytes of the body, then nothing
	Flip           *int64        // the byte at this offset has one bit flipped
	// announce so many bytes; a longer body is cut to it, a shorter one ends with a closed
	// connection
	ContentLength *int64
	NoLength      bool // chunked, without Content-Length
	RedirectLoop  bool // 302 to itself
}

// At is an offset or a length for a Fault.
func At(n int64) *int64 { return &n }

// Text is a body for a Fault.
func Text(s string) *string { return &s }

// HTML is a Fault that answers 200 with a sign-in page, as a captive portal does.
func HTML(route string) Fault {
	return Fault{Route: route, Status: http.StatusOK, ContentType: "text/html; charset=utf-8",
		Body: Text("<!DOCTYPE html><html><body>Please sign in</body></html>")}
}

// PlainText is a Fault that answers 200 with a sentence.
func PlainText(route string) Fault {
	return Fault{Route: route, Status: http.StatusOK, ContentType: "text/plain; charset=utf-8", Body: Text("The service is in maintenance.")}
}

// BrokenJSON is a Fault that ends a document in the middle, with all headers right.
func BrokenJSON(route string) Fault {
	return Fault{Route: route, Status: http.StatusOK, ContentType: "application/json", Body: Text(`{"revision": "abc", "time":`)}
}

// activeFault is a fault and how often it matched.
type activeFault struct {
	Fault
	seen int
}

// Fault installs a fault and returns a function that ends it.
func (s *Server) Fault(f Fault) (end func()) {
	active := &activeFault{Fault: f}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, active)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, have := range s.faults {
			if have == active {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
				return
			}
		}
	}
}

// ClearFaults ends every fault.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// faultFor is the fault that a request meets; the zero Fault is none.
func (s *Server) faultFor(r Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if !matchRoute(f.Route, r) || (f.Count > 0 && f.seen >= f.Skip+f.Count) {
			continue
		}
		f.seen++
		if f.seen > f.Skip {
			return f.Fault
		}
	}
	return Fault{}
}

// answer is a whole response before it is sent.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// change applies the content of a fault.
func (f *Fault) change(a *answer, r *http.Request) {
	if f.Status != 0 {
		a.status, a.body = f.Status, nil
		if f.ContentType == "" {
			a.header.Set("Content-Type", "text/plain; charset=utf-8")
		}
		for _, name := range []string{"Content-Range", "Accept-Ranges", "Last-Modified", "Etag"} {
			a.header.Del(name)
		}
	}
	if f.Body != nil {
		a.body = []byte(*f.Body)
	}
	if f.RedirectLoop {
		a.status, a.body = http.StatusFound, nil
		a.header.Set("Location", r.URL.RequestURI())
	}
	if f.ContentType != "" {
		a.header.Set("Content-Type", f.ContentType)
	}
	for name, values := range f.Header {
		a.header.Del(name)
		for _, v := range values {
			if v != "" {
				a.header.Add(name, v)
			}
		}
	}
	if f.Flip != nil && *f.Flip < int64(len(a.body)) {
		a.body = append([]byte(nil), a.body...)
		a.body[*f.Flip] ^= 0x40
	}
}

// errCut ends a connection short of its answer.
var errCut = errors.New("cut")

// send writes the answer as the fault says. It returns how many bytes of the body went out.
func (f *Fault) send(ctx context.Context, w http.ResponseWriter, r *http.Request, a *answer) (sent int64, err error) {
	if err := wait(ctx, f.Delay); err != nil {
		return 0, err
	}
	if f.BlackHole {
		<-ctx.Done()
		return 0, errCut
	}
	if f.Reset {
		return 0, errCut
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	body, short := a.body, false
	switch {
	case f.NoLength, a.header.Get("Transfer-Encoding") != "":
		w.Header().Del("Content-Length")
	case f.ContentLength != nil:
		w.Header().Set("Content-Length", strconv.FormatInt(*f.ContentLength, 10))
		short = *f.ContentLength > int64(len(body))
		body = body[:min(int64(len(body)), *f.ContentLength)]
	case r.Method != http.MethodHead && a.status != http.StatusNotModified:
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	for _, limit := range []*int64{f.Cut, f.Stall} {
		if limit != nil {
			body, short = body[:min(int64(len(body)), *limit)], true
		}
	}
	w.WriteHeader(a.status)
	if r.Method == http.MethodHead {
		return 0, nil
	}
	sent, err = f.write(ctx, w, body)
	if err != nil {
		return sent, err
	}
	if f.NoLength || short {
		if err := http.NewResponseController(w).Flush(); err != nil {
			return sent, err
		}
	}
	if f.Stall != nil {
		<-ctx.Done()
	}
	if short {
		return sent, errCut
	}
	return sent, nil
}

// dripsPerSecond is into how many pieces a second of a dripped body is cut.
const dripsPerSecond = 20

func (f *Fault) write(ctx context.Context, w http.ResponseWriter, body []byte) (sent int64, err error) {
	if f.BytesPerSecond <= 0 {
		n, err := w.Write(body)
		return int64(n), err
	}
	piece, pause := f.BytesPerSecond/dripsPerSecond, time.Second/dripsPerSecond
	if piece == 0 {
		piece, pause = 1, time.Second/time.Duration(f.BytesPerSecond)
	}
	for len(body) > 0 {
		n, err := w.Write(body[:min(piece, len(body))])
		sent += int64(n)
		if err != nil {
			return sent, err
		}
		body = body[n:]
		if err := http.NewResponseController(w).Flush(); err != nil {
			return sent, err
		}
		if err := wait(ctx, pause); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
