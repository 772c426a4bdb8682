package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"conanproxy/internal/conan"
)

// pipes is a network of one server without sockets, so that tests may run in a synctest bubble.
// It answers for every host name; handlers tell them apart by Request.Host.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, errors.New("no route to the server")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fake is a scripted server that notes what it was asked.
type fake struct {
	mu       sync.Mutex
	requests []string // "GET /path?query"
	headers  []http.Header
}

func (f *fake) note(req *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, req.Method+" "+req.URL.RequestURI())
	f.headers = append(f.headers, req.Header.Clone())
}

func (f *fake) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...)
}

func (f *fake) header(i int) http.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.headers[i]
}

// newFake makes a Remote whose server is handler. Empty options get the URL
// http://conan.test and the protocol v2.
func newFake(t *testing.T, o Options, handler http.HandlerFunc) (*Remote, *fake) {
	t.Helper()
	f := &fake{}
	network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		f.note(req)
		handler(w, req)
	})}
	go server.Serve(network)
	if o.Name == "" {
		o.Name = "test"
	}
	if o.URL == "" {
		o.URL = "http://conan.test"
	}
	if o.Protocol == "" {
		o.Protocol = "v2"
	}
	o.dial = network.dial
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		server.Close()
	})
	return r, f
}

// routes answers by path with JSON, or with a 404 page as conan_server does.
func routes(answers map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		body, ok := answers[req.URL.Path]
		if !ok {
			notFoundPage(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	}
}

func notFoundPage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, "<!DOCTYPE HTML><html><body>Not found</body></html>")
}

func mustRef(t testing.TB, s string) conan.Ref {
	t.Helper()
	ref, err := conan.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func mustPattern(t testing.TB, s string, ignoreCase bool) conan.Pattern {
	t.Helper()
	p, err := conan.ParsePattern(s, ignoreCase)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// word names the kind of an error at the seam.
func word(err error) string {
	var u *conan.UnavailableError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, conan.ErrNotFound):
		return "not found"
	case errors.As(err, &u):
		return "unavailable: " + u.Reason
	case errors.Is(err, conan.ErrInvalid):
		return "invalid"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return err.Error()
}

func readAll(t testing.TB, f *conan.Download) (string, error) {
	t.Helper()
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

func itoa(n int) string { return strconv.Itoa(n) }
