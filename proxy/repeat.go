package proxy

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Serve is h.Serve with the handler of s. On connections that stay open it answers a request without parsing it if it is
// byte for byte one that was answered in front before: clients of one version send the same bytes for the same question.
// All else is net/http's. Connections of l that are no *net.TCPConn are net/http's alone. h must not have hooks of its own.
func (s *Server) Serve(h *http.Server, l net.Listener) error { return h.Serve(s.attach(h, l)) }

// attach sets what h needs and returns the listener that it must serve.
func (s *Server) attach(h *http.Server, l net.Listener) net.Listener {
	patience := time.Minute
	if h.IdleTimeout > 0 {
		patience = h.IdleTimeout / 2
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
			c.idle = time.Now()
		}
	}
	return repeatListener{Listener: l, server: s, patience: patience}
}

// repeatKey is the key of the connection in a request's context.
type repeatKey struct{}

type repeatListener struct {
	net.Listener
	server   *Server
	patience time.Duration
}

// Accept implements net.Listener.
func (l repeatListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	tcp, ok := conn.(*net.TCPConn)
	if err != nil || !ok {
		return conn, err
	}
	return &repeatConn{TCPConn: tcp, server: l.server, patience: l.patience, peer: peer(tcp.RemoteAddr().String())}, nil
}

// repeatConn is a connection under net/http that answers requests while net/http reads on for the next one.
//
// It may do so only if net/http holds no byte of that next one. So it adds up what net/http is given, from the first byte on,
// to whole requests without a body. Once something else came the connection is net/http's alone.
type repeatConn struct {
	*net.TCPConn // its ReadFrom is sendfile
	server       *Server
	patience     time.Duration // how long requests are answered here until net/http gets one and renews its deadlines
	peer         netip.Addr

	idle time.Time // since when net/http waits for the next request; zero: it handles one
	out  []byte

	// net/http looks for the first byte of the next request while it handles one, in another goroutine. Close is called by others too.
	mu    sync.Mutex
	given []byte // what net/http was given of the request that it was given last
	whole bool   // that is all of it
	alone bool   // there was something else than whole requests
}

// Read implements net.Conn.
func (c *repeatConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if c.idle.IsZero() {
		c.give(p[:n])
		return n, err
	}
	for err == nil && c.repeat(p[:n]) {
		n, err = c.TCPConn.Read(p)
	}
	c.give(p[:n])
	c.idle = time.Time{}
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
	if !c.whole || time.Since(c.idle) > c.patience {
		return false
	}
	a := c.server.documents.inFront(string(request))
	if a == nil {
		return false
	}
	started, now := c.server.beginFront(), time.Now()
	c.out = a.appendTo(c.out[:0], now)
	err := c.SetWriteDeadline(now.Add(silence))
	if err == nil {
		_, err = c.Write(c.out)
	}
	if err != nil {
		c.TCPConn.Close() // the next Read tells net/http
	}
	c.server.endFront(a, started, c.peer)
	return true
}

// Close implements net.Conn. net/http closes connections that it takes for idle; an answer that is under way goes out
// first, but not to a client that does not take it.
func (c *repeatConn) Close() error {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // fails only if it is closed already
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.TCPConn.Close()
}

// learn lets the request that is being handled be repeated, if nothing but its bytes decides about the answer.
func (c *repeatConn) learn(a *frontAnswer, req *http.Request) {
	const largest = 8 << 10 // the body is copied for each connection
	if len(a.body) > largest || req.Close || !req.ProtoAtLeast(1, 1) || req.Header.Get("X-Forwarded-For") != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole {
		c.server.documents.front.Set(string(c.given), a, 1+int64(len(c.given))/frontCost)
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
