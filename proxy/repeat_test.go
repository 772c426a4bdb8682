package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
)

// listening is a server on the loopback that counts the requests that net/http handles.
type listening struct {
	http    *http.Server
	addr    string
	handled atomic.Int64
	ended   chan struct{} // closed when Serve has returned

	mu     sync.Mutex
	active map[net.Conn]bool // net/http is not done with a request
}

// settle waits until net/http is done with all requests. A client that has its answer is sooner: the first byte of what it sends
// then may be read while net/http watches whether the client stays, and that request is net/http's.
func (s *listening) settle() {
	for busy := true; busy; time.Sleep(100 * time.Microsecond) {
		s.mu.Lock()
		busy = len(s.active) > 0
		s.mu.Unlock()
	}
}

// listen serves w with repeated answers, or with net/http alone.
func (w *world) listen(repeats bool, idleTimeout time.Duration) *listening {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	s := &listening{http: &http.Server{Handler: w.server.Handler(), IdleTimeout: idleTimeout}, addr: l.Addr().String(), ended: make(chan struct{}),
		active: map[net.Conn]bool{}}
	if repeats {
		l = w.server.attach(s.http, l)
	}
	before := s.http.ConnState
	s.http.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		if state == http.StateActive {
			s.handled.Add(1)
			s.active[c] = true
		} else {
			delete(s.active, c)
		}
		s.mu.Unlock()
		if before != nil {
			before(c, state)
		}
	}
	go func() {
		defer close(s.ended)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			w.t.Error(err)
		}
	}()
	w.t.Cleanup(func() { s.http.Close(); <-s.ended })
	return s
}

// peerConn is a client's end of a connection.
type peerConn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (s *listening) dial(t testing.TB) *peerConn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &peerConn{Conn: conn, t: t, r: bufio.NewReader(conn)}
}

func plainGet(path string, fields ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: conan.example\r\nUser-Agent: Conan/2.9.1\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// told is what came for one request, without the date.
type told struct {
	Status int
	Header http.Header
	Body   string
}

func (c *peerConn) ask(request string) told {
	c.t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("%q: %v", request, err)
	}
	if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
		c.t.Errorf("date: %v", err)
	}
	resp.Header.Del("Date")
	return told{resp.StatusCode, resp.Header, bodyOf(c.t, resp)}
}

// repeated asks until the answer comes without net/http, and fails if it never does.
func (w *world) repeated(s *listening, c *peerConn, request string) told {
	w.t.Helper()
	for range 4 { // rendered, kept in front, learned, repeated
		before := s.handled.Load()
		a := c.ask(request)
		if s.handled.Load() == before {
			return a
		}
		s.settle()
		w.server.documents.cache.Wait()
		w.server.documents.front.Wait()
	}
	w.t.Fatalf("%q is never repeated", request)
	return told{}
}

var repeatPaths = []string{
	"/v1/ping", "/local/v1/ping", helloV2 + "/latest", helloV2 + "/revisions/r1/files/conanmanifest.txt",
	helloPath + "/download_urls", helloV2 + "/revisions/r1/packages/nope/latest",
}

func TestRepeatedAnswersAreTheSame(t *testing.T) {
	for _, path := range repeatPaths {
		w := hotWorld(t)
		s := w.listen(true, 0)
		c := s.dial(t)
		c.ask(plainGet(path))
		w.server.documents.cache.Wait()
		first := c.ask(plainGet(path))
		logged := w.access.Len()
		if diff := cmp.Diff(first, w.repeated(s, c, plainGet(path))); diff != "" {
			t.Errorf("%s (-handled +repeated):\n%s", path, diff)
		}
		lines := w.access.All()
		before, after := lines[logged-1].ContextMap(), lines[len(lines)-1].ContextMap()
		delete(before, "duration")
		delete(after, "duration")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s: log (-handled +repeated):\n%s", path, diff)
		}
	}
}

// Whatever pieces the bytes come in, the answers are those of net/http alone.
func TestRepeatsAreInvisible(t *testing.T) {
	w := hotWorld(t)
	request, other := plainGet("/v1/ping"), plainGet(helloV2+"/latest")
	repeating, plain := w.listen(true, 0), w.listen(false, 0)
	c := repeating.dial(t)
	w.repeated(repeating, c, request)
	w.repeated(repeating, c, other)

	put := "PUT /v2/conans/x/1.0/_/_/revisions/r1/files/conanfile.py HTTP/1.1\r\nHost: conan.example\r\nContent-Length: "
	pieces := []string{
		request, other, request + other, request + "G", request + "GET ", request[:10], request[10:], request[:len(request)-2], "\r\n", "GET ",
		"GET /v1/ping HTTP/1.1\r\nX-Folded: ", "POST /v1/ping HTTP/1.1\r\nHost: conan.example\r\nX-Next: ",
		put + "71\r\n\r\n", put + "71\r\n\r\n" + request[:20], put + "0\r\n\r\n", strings.ReplaceAll(request, "\r\n", "\n"),
		"GET /v1/ping HTTP/1.1\nHost: conan.example\n\n" + request,
		plainGet("/v1/ping", "Content-Length: 5"), "hello", plainGet("/v1/ping", "Transfer-Encoding: chunked"), "5\r\nhello\r\n", "0\r\n\r\n",
		plainGet("/v1/ping", "Connection: close"), plainGet("/v1/ping", "Connection: x close"), plainGet("/v1/ping", "Authorization: Bearer x"), "\x00\x16\x03", "",
	}
	date := regexp.MustCompile(`Date: [^\r]*`)
	talk := func(t *rapid.T, s *listening, sequence []string) string {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, piece := range sequence {
			if _, err := io.WriteString(conn, piece); err != nil {
				break // the server had enough
			}
			time.Sleep(3 * time.Millisecond) // the next piece is another read
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		text, err := io.ReadAll(conn)
		if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return date.ReplaceAllString(string(text), "Date:")
	}
	rapid.Check(t, func(t *rapid.T) {
		sequence := rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 6).Draw(t, "pieces")
		sequence = append([]string{request, request}, sequence...)
		if diff := cmp.Diff(talk(t, plain, sequence), talk(t, repeating, sequence)); diff != "" {
			t.Errorf("%q (-net/http alone +with repeats):\n%s", sequence, diff)
		}
	})
}

func TestIsWholeGet(t *testing.T) {
	for text, want := range map[string]bool{
		plainGet("/v1/ping"):                        true,
		plainGet("/v1/ping") + "G":                  false,
		plainGet("/v1/ping") + plainGet("/"):        false,
		"GET / HTTP/1.1\r\n":                        false,
		"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n":        false,
		"GET / HTTP/1.1\nHost: x\r\n\r\n":           false,
		"GET / HTTP/1.1\n\nGET /b HTTP/1.1\r\n\r\n": false,
		"\r\n\r\n": false,
		"":         false,
	} {
		if got := isWholeGet([]byte(text)); got != want {
			t.Errorf("isWholeGet(%.80q) = %v", text, got)
		}
	}
}

func TestRepeatsEndWithTheAnswer(t *testing.T) {
	request := plainGet(helloV2 + "/latest")
	for name, change := range map[string]func(*world){
		"change": func(w *world) {
			w.server.Forget(conan.Ref{Name: "hello", Version: "1.0", User: "demo", Channel: "testing"})
		},
		"views": func(w *world) {
			if err := w.server.SetViews(w.views()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		w := hotWorld(t)
		s := w.listen(true, 0)
		c := s.dial(t)
		w.repeated(s, c, request)
		change(w)
		before := s.handled.Load()
		if a := c.ask(request); a.Status != http.StatusOK || s.handled.Load() != before+1 {
			t.Errorf("after %s: status %d, and net/http was not asked", name, a.Status)
		}
	}
}

// What else than its bytes decides about an answer keeps a request from being repeated.
func TestNotEverythingIsRepeated(t *testing.T) {
	w := hotWorld(t)
	s := w.listen(true, 0)
	c := s.dial(t)
	path := helloV2 + "/latest"
	w.repeated(s, c, plainGet(path))
	for _, request := range []string{
		plainGet(path, "Authorization: Bearer "+w.token("demo")),
		plainGet(path, "X-Forwarded-For: 192.0.2.1"),
		plainGet(path, "X-Forwarded-For: ", "X-Forwarded-For: 192.0.2.1"),
		plainGet(path, "X-Forwarded-Prefix: /conan"),
		plainGet(path, "Range: bytes=0-1"),
		plainGet(path + "?x=y"),
		plainGet("/metrics"),
		plainGet("/v2/conans/secret/1.0/_/_/latest"),
	} {
		for range 4 {
			before := s.handled.Load()
			c.ask(request)
			if s.handled.Load() != before+1 {
				t.Errorf("repeated: %q", request)
			}
			s.settle()
			w.server.documents.front.Wait()
		}
	}
	w.repeated(s, c, plainGet(path))
}

// A busy connection outlives the time after which an idle one is closed.
func TestRepeatsKeepAConnectionAlive(t *testing.T) {
	w := hotWorld(t)
	s := w.listen(true, 3*time.Second)
	c := s.dial(t)
	w.repeated(s, c, plainGet("/v1/ping"))
	before := s.handled.Load()
	for range 40 {
		if a := c.ask(plainGet("/v1/ping")); a.Status != http.StatusOK {
			t.Fatal(a)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := s.handled.Load() - before; n != 0 {
		t.Errorf("net/http handled %d of 40 requests", n)
	}
	if n, err := c.r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("an idle connection: %d, %v", n, err)
	}
}

// A server that ends leaves no client with a part of an answer.
func TestShutdownBetweenRepeats(t *testing.T) {
	w := hotWorld(t)
	s := w.listen(true, 0)
	w.repeated(s, s.dial(t), plainGet("/v1/ping"))
	var clients sync.WaitGroup
	var answers atomic.Int64
	for range 16 {
		c := s.dial(t)
		clients.Go(func() {
			for {
				if _, err := io.WriteString(c, plainGet("/v1/ping")); err != nil {
					return
				}
				if _, err := c.r.Peek(1); err != nil {
					return // not begun
				}
				resp, err := http.ReadResponse(c.r, nil)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
				}
				if err != nil {
					t.Errorf("a part of an answer: %v", err)
					return
				}
				answers.Add(1)
			}
		})
	}
	for answers.Load() < 1000 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	clients.Wait()
}

// A client that reads nothing does not hold up who closes its connection, as the end of the server does.
func TestCloseWhileAnAnswerIsStuck(t *testing.T) {
	w := hotWorld(t)
	s := w.listen(true, 0)
	request := plainGet(helloPath + "/download_urls")
	w.repeated(s, s.dial(t), request)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := repeatListener{Listener: l, server: w.server}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := conn.(*repeatConn)
	c.give([]byte(request))
	var answers atomic.Int64
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		for c.repeat([]byte(request)) {
			answers.Add(1)
		}
	}()
	for before := int64(-1); before != answers.Load(); time.Sleep(300 * time.Millisecond) {
		before = answers.Load()
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-stuck:
	case <-time.After(30 * time.Second):
		t.Error("the answer is still under way")
	}
}
