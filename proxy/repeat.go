package proxy

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Serve is h.Serve with the handler of s. On connections that stay open it answers a request without parsing it if it is
// byte for byte one that was answered in front before: clients of one version send the same bytes for the same question.
// All else is net/http's. Connections of l that are no *net.TCPConn are net/http's alone. h must not have hooks of its own.
func (s *Server) Serve(h *http.Server, l net.Listener) error { return h.Serve(s.attach(h, l)) }

// attach sets what h needs and returns the listener that it must serve.
func (s *Server) attach(h *http.Server, l net.Listener) net.Listener {
	timeout := h.IdleTimeout
	if timeout == 0 {
		timeout = h.ReadTimeout // as net/http does
	}
	h.Handler = s.Handler()
	h.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if c, ok := conn.(*repeatConn); ok {
			return context.WithValue(ctx, repeatKey{}, c)
		}
		return ctx
	}
	h.ConnState = func(conn net.Conn, state http.ConnState) {
		if c, ok := conn.(*repeatConn); ok && state == http.StateIdle {
			c.idle = true
		}
	}
	return repeatListener{Listener: l, server: s, timeout: timeout}
}

// repeatKey is the key of the connection in a request's context.
type repeatKey struct{}

type repeatListener struct {
	net.Listener
	server  *Server
	timeout time.Duration // of idle connections; 0 or less: none
}

// Accept implements net.Listener.
func (l repeatListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	tcp, ok := conn.(*net.TCPConn)
	if err != nil || !ok {
		return conn, err
	}
	return &repeatConn{TCPConn: tcp, server: l.server, timeout: l.timeout, peer: peer(tcp.RemoteAddr().String())}, nil
}

// repeatConn is a connection under net/http that answers requests while net/http reads on for the next one.
//
// It may do so only if net/http holds no byte of that next one. So it adds up what net/http is given, from the first byte on,
// to whole requests without a body. Once something else came the connection is net/http's alone.
type repeatConn struct {
	*net.TCPConn // its ReadFrom is sendfile
	server       *Server
	timeout      time.Duration
	peer         netip.Addr

	idle    bool        // net/http waits for the next request
	closing atomic.Bool // Close was called

	// net/http looks for the first byte of the next request while it handles one, in another goroutine. Close is called by others too.
	mu    sync.Mutex // also held while an answer goes out
	given []byte     // what net/http was given since the last whole request, or that request
	whole bool       // given is one whole request
	alone bool       // given would be longer than a request that is repeated
}

// Read implements net.Conn.
func (c *repeatConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if c.idle {
		for err == nil && c.repeat(p[:n]) {
			n, err = c.TCPConn.Read(p)
		}
		c.idle = false
		_ = c.SetWriteDeadline(time.Time{}) // of the last answer; fails only if the connection is closed
	}
	c.give(p[:n])
	return n, err
}

// longestRepeat is how many bytes a request may have that is repeated.
const longestRepeat = 2 << 10

// give notes what net/http is given.
func (c *repeatConn) give(piece []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alone || len(piece) == 0 {
		return
	}
	if c.whole {
		c.given, c.whole = c.given[:0], false
	}
	if len(c.given)+len(piece) > longestRepeat {
		c.given, c.alone = nil, true
		return
	}
	c.given = append(c.given, piece...)
	c.whole = isWholeGet(c.given)
}

// isWholeGet tells whether net/http takes all of these bytes, and no others, for one request, if it takes them at all. It ends
// lines at a bare line feed too, so there must be none.
func isWholeGet(b []byte) bool {
	end := []byte("\r\n\r\n")
	if !bytes.HasPrefix(b, []byte("GET ")) || bytes.Index(b, end) != len(b)-len(end) || bytes.Count(b, []byte("\n")) != bytes.Count(b, []byte("\r\n")) {
		return false
	}
	low := bytes.ToLower(b)
	return !bytes.Contains(low, []byte("content-length")) && !bytes.Contains(low, []byte("transfer-encoding"))
}

// repeat answers a request if it is one that was answered before and the answer is still true.
func (c *repeatConn) repeat(request []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.whole || c.closing.Load() {
		return false
	}
	a := c.server.documents.inFront(string(request))
	if a == nil {
		return false
	}
	started := c.server.beginFront()
	if err := c.send(a, time.Now()); err != nil {
		c.TCPConn.Close() // the next Read tells net/http
	}
	c.server.endFront(a, started, c.peer)
	return true
}

// send writes an answer with deadlines like those of net/http and of the handlers.
func (c *repeatConn) send(a *frontAnswer, now time.Time) error {
	b := outBuffers.Get().(*[]byte)
	defer outBuffers.Put(b)
	*b = a.appendTo((*b)[:0], now)
	if c.timeout > 0 {
		if err := c.SetReadDeadline(now.Add(c.timeout)); err != nil {
			return err
		}
	}
	if err := c.SetWriteDeadline(now.Add(silence)); err != nil {
		return err
	}
	if c.closing.Load() {
		c.hurry()
	}
	_, err := c.Write(*b)
	return err
}

var outBuffers = sync.Pool{New: func() any { return new([]byte) }}

// hurry bounds the answer that is under way.
func (c *repeatConn) hurry() {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // fails only if it is closed
}

// Close implements net.Conn. net/http closes connections that it takes for idle, one after the other: an answer that is under way
// goes out first, for a second, but nobody waits for that.
func (c *repeatConn) Close() error {
	if !c.mu.TryLock() {
		c.closing.Store(true)
		c.hurry()
		go func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.TCPConn.Close()
		}()
		return nil
	}
	defer c.mu.Unlock()
	return c.TCPConn.Close()
}

// learn lets the request that is being handled be repeated, if nothing but its bytes decides about the answer.
func (c *repeatConn) learn(a *frontAnswer, req *http.Request) {
	const largest = 8 << 10 // the body is copied
	_, forwarded := req.Header["X-Forwarded-For"]
	connection := strings.Join(req.Header["Connection"], ",")
	stays := connection == "" || strings.EqualFold(connection, "keep-alive")
	if len(a.body) > largest || forwarded || !stays || !req.ProtoAtLeast(1, 1) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole {
		c.server.documents.front.Set(string(c.given), a, 1)
	}
}

// appendTo appends the answer as net/http would send it at that time.
func (a *frontAnswer) appendTo(b []byte, now time.Time) []byte {
	b = append(b, a.head...)
	b = append(b, "Date: "...)
	b = now.UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\n\r\n"...)
	return append(b, a.body...)
}
