package conantest

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Relay passes bytes between its clients and one server, and breaks what is below HTTP. The
// knobs count or slow what goes from the server to the client and work on connections that
// are open already. It stops with its test; all methods may be called at any time.
type Relay struct {
	// Address is where it listens: 127.0.0.1:port.
	Address string

	target   string
	listener net.Listener
	ended    chan struct{}

	mu       sync.Mutex
	change   *sync.Cond
	links    map[*link]struct{}
	accepted int
	refuse   bool
	stalled  bool
	reset    int64 // bytes until a reset, on each connection that is opened from now on; negative: never
	rate     int   // bytes a second for each connection; 0: no limit
}

// link is one connection and its way on.
type link struct {
	client, server net.Conn
	reset          int64
}

// NewRelay starts a relay to a host:port, or to the one in a URL such as Server.URL.
func NewRelay(t testing.TB, target string) *Relay {
	t.Helper()
	target = strings.TrimPrefix(target, "http://")
	target, _, _ = strings.Cut(target, "/")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("conantest: %v", err)
	}
	r := &Relay{
		Address: l.Addr().String(), target: target, listener: l,
		ended: make(chan struct{}), links: make(map[*link]struct{}), reset: -1,
	}
	r.change = sync.NewCond(&r.mu)
	go r.accept()
	t.Cleanup(r.close)
	return r
}

// URL is the relay's own address with the path of a server's URL.
func (r *Relay) URL(serverURL string) string {
	_, path, _ := strings.Cut(strings.TrimPrefix(serverURL, "http://"), "/")
	return strings.TrimSuffix("http://"+r.Address+"/"+path, "/")
}

// Refuse resets new connections at once, or no longer.
func (r *Relay) Refuse(on bool) { r.set(func() { r.refuse = on }) }

// Stall passes no bytes in either direction, or passes them on again.
func (r *Relay) Stall(on bool) { r.set(func() { r.stalled = on }) }

// ResetAfter resets each new connection when so many bytes went to the client; negative: never.
// A client may lose the last of them, since a reset overtakes what is still in its way.
func (r *Relay) ResetAfter(n int64) { r.set(func() { r.reset = n }) }

// Limit passes so many bytes a second to each client; 0: all.
func (r *Relay) Limit(bytesPerSecond int) { r.set(func() { r.rate = bytesPerSecond }) }

// Cut resets every open connection.
func (r *Relay) Cut() {
	r.set(func() {
		for l := range r.links {
			l.abort()
		}
	})
}

// Accepted tells how many connections clients have opened so far, also those that were refused.
func (r *Relay) Accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted
}

// Open tells how many connections are open.
func (r *Relay) Open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.links)
}

func (r *Relay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	r.change.Broadcast()
}

func (r *Relay) close() {
	close(r.ended)
	r.listener.Close()
	r.Stall(false)
	r.Cut()
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.accepted++
		refuse, limit := r.refuse, r.reset
		r.mu.Unlock()
		if refuse {
			abort(client)
			continue
		}
		server, err := net.Dial("tcp", r.target)
		if err != nil {
			abort(client)
			continue
		}
		l := &link{client: client, server: server, reset: limit}
		r.set(func() { r.links[l] = struct{}{} })
		go r.pass(l)
		select {
		case <-r.ended:
			l.abort()
		default:
		}
	}
}

// pass runs a link until either side ends.
func (r *Relay) pass(l *link) {
	var both sync.WaitGroup
	both.Go(func() { r.copy(l, l.server, l.client, false) })
	both.Go(func() { r.copy(l, l.client, l.server, true) })
	both.Wait()
	l.client.Close()
	l.server.Close()
	r.set(func() { delete(r.links, l) })
}

func (r *Relay) copy(l *link, to, from net.Conn, toClient bool) {
	buffer := make([]byte, 32<<10)
	var passed int64
	for {
		piece := buffer
		rate := r.wait()
		if rate > 0 && toClient {
			piece = buffer[:min(len(buffer), max(1, rate/dripsPerSecond))]
		}
		n, err := from.Read(piece)
		r.wait()
		if toClient && l.reset >= 0 && passed+int64(n) >= l.reset {
			to.Write(piece[:l.reset-passed])
			l.abort()
			return
		}
		if n > 0 {
			if _, err := to.Write(piece[:n]); err != nil {
				l.abort()
				return
			}
			passed += int64(n)
		}
		if err == io.EOF {
			if half, ok := to.(*net.TCPConn); ok {
				half.CloseWrite()
			}
			return
		}
		if err != nil {
			l.abort()
			return
		}
		if rate > 0 && toClient {
			select {
			case <-time.After(time.Duration(n) * time.Second / time.Duration(rate)):
			case <-r.ended:
			}
		}
	}
}

// wait waits while the relay is stalled and returns the rate.
func (r *Relay) wait() (rate int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.stalled {
		r.change.Wait()
	}
	return r.rate
}

func (l *link) abort() {
	abort(l.client)
	abort(l.server)
}

// abort closes a connection with a reset.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}
