//go:build unix

package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"conanproxy/internal/conantest"
)

// TestAbuse attacks the server in ways that cost an attacker little. During each attack an honest
// client installs packages, and every install must succeed.
func TestAbuse(t *testing.T) {
	r := newRun(t)
	recipe := conantest.Recipe("lib", "1.0")
	sets := []conantest.Set{recipe, conantest.Package(recipe, conantest.Random("lib/lib.a", 1<<20))}
	s := r.newServer(settings{})
	for i := range honestUsers() {
		r.must(s.AddUser(r.Context(), honestUser(i), password))
	}
	s.start()
	s.login()
	for _, set := range sets {
		r.must(publish(r.Context(), s.url(""), s.token, set))
	}
	attacks := []struct {
		what     string
		demanded string
		memory   float64 // bytes that the server may take at most
		attack   func(*run, *server) (measured string, reached bool)
	}{
		{"headers that arrive one byte a second, 200 connections", "closed within 30 s", 150e6, slowHeaders},
		{"bodies of uploads that stop, 200 connections", "other requests do not wait for them", 150e6, slowBodies},
		{"headers of 1 MB", "431 or closed", 150e6, giantHeaders},
		{"uploads of 20 MB at the same time", "all answered", 150e6, uploadFlood},
		{"archives of many empty members and manifests of 60 MB, 8 of each at once", "all answered", 300e6, hostileContents},
		{"wrong logins from one address, and right ones beside them", "every right one passes, within 2 s", 150e6, loginFlood},
		{"bursts of 200 wrong logins at once from one address, and right ones from another", "every right one passes, within 2 s", 150e6, loginBursts},
		{"idle connections", "all stay open", 400e6, idleConnections},
	}
	for _, a := range attacks {
		ctx, cancel := context.WithCancel(r.Context())
		var wg sync.WaitGroup
		var honest troubles
		installs := 0
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := installV2(ctx, s, sets); err != nil && ctx.Err() == nil {
					honest.add("%v", err)
				}
				installs++
				time.Sleep(10 * time.Millisecond)
			}
		})
		s.Process.ResetPeak()
		measured, reached := a.attack(r, s)
		_, peak := s.Process.Memory()
		cancel()
		wg.Wait()
		failed := honest.all()
		if len(failed) > 0 {
			measured += "; an honest client failed: " + failed[0]
		}
		r.figure(a.what, fmt.Sprintf("%s, RSS < %.0f MB, honest installs go on", a.demanded, a.memory/1e6), reached && len(failed) == 0 && installs > 0 && float64(peak) < a.memory,
			"%s; peak RSS %.0f MB; %d honest installs", measured, float64(peak)/1e6, installs)
	}
}

// dialAll opens connections and returns those that could be opened.
func (s *server) dialAll(n int) (conns []net.Conn, closeAll func()) {
	for range n {
		conn, err := net.DialTimeout("tcp", s.Process.Address(), 10*time.Second)
		if err != nil {
			break
		}
		conns = append(conns, conn)
	}
	return conns, func() {
		for _, c := range conns {
			c.Close()
		}
	}
}

// closedWithin tells how many connections the server ended within d while bytes are dripped into
// them.
func closedWithin(conns []net.Conn, d time.Duration, drip func(net.Conn) error) int {
	var closed atomic.Int64
	var wg sync.WaitGroup
	for _, conn := range conns {
		wg.Go(func() {
			done := make(chan struct{})
			go func() {
				defer close(done)
				io.Copy(io.Discard, conn)
			}()
			for end := time.After(d); ; {
				select {
				case <-done:
					closed.Add(1)
					return
				case <-end:
					return
				case <-time.After(time.Second):
					if drip(conn) != nil {
						closed.Add(1)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	return int(closed.Load())
}

func slowHeaders(_ *run, s *server) (string, bool) {
	conns, closeAll := s.dialAll(200)
	defer closeAll()
	for _, c := range conns {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	}
	n := closedWithin(conns, 30*time.Second, func(c net.Conn) error {
		_, err := io.WriteString(c, "x")
		return err
	})
	return fmt.Sprintf("%d of %d closed", n, len(conns)), n == len(conns) && n == 200
}

func slowBodies(r *run, s *server) (string, bool) {
	conns, closeAll := s.dialAll(200)
	defer closeAll()
	rev := conantest.Recipe("stalled", "1.0").Revision
	for _, c := range conns {
		fmt.Fprintf(c, "PUT /local%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n\r\nfirst bytes", filePath(rev, "conan_export.tgz"), s.token)
	}
	wait := small(3*time.Second, 150*time.Second)
	n := closedWithin(conns, wait, func(net.Conn) error { return nil })
	if !*full {
		return fmt.Sprintf("%d held for %s", len(conns)-n, wait), n == 0 // it is patient: the bound is a minute or more
	}
	return fmt.Sprintf("%d of %d closed within %s", n, len(conns), wait), n == 200
}

func giantHeaders(_ *run, s *server) (string, bool) {
	refused := 0
	const attempts = 20
	for range attempts {
		conn, err := net.Dial("tcp", s.Process.Address())
		if err != nil {
			return err.Error(), false
		}
		conn.SetDeadline(time.Now().Add(clientTimeout))
		go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Giant: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			continue // it waits for more
		}
		if err != nil || resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
			refused++
		}
		conn.Close()
	}
	return fmt.Sprintf("%d of %d refused", refused, attempts), refused == attempts
}

func idleConnections(r *run, s *server) (string, bool) {
	want := small(1000, 10000)
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && uint64(limit.Cur) < uint64(want)+500 {
		want = int(limit.Cur) - 500
	}
	conns, closeAll := s.dialAll(want)
	defer closeAll()
	for _, c := range conns {
		io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	answered := 0
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(clientTimeout))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && resp.StatusCode == http.StatusOK {
			answered++
		}
	}
	a := get(r.Context(), s.url("/healthz"))
	return fmt.Sprintf("%d held after an answer each", answered), answered == want && a.status == http.StatusOK
}

func uploadFlood(r *run, s *server) (string, bool) {
	n := small(20, 100)
	body := make([]byte, 20<<20)
	for i := range body {
		body[i] = byte(i * i >> 7)
	}
	var answered atomic.Int64
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			rev := conantest.Recipe(fmt.Sprintf("flood%d", i), "1.0").Revision
			a := ask(r.Context(), http.MethodPut, s.url("/local"+filePath(rev, "conanfile.py")), body, s.token)
			if a.err == nil && a.status < 500 {
				answered.Add(1)
			}
		})
	}
	wg.Wait()
	return fmt.Sprintf("%d of %d answered", answered.Load(), n), int(answered.Load()) == n
}

func loginFlood(r *run, s *server) (string, bool) {
	ctx, cancel := context.WithCancel(r.Context())
	var wg sync.WaitGroup
	var wrong, accepted atomic.Int64
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := login(ctx, web, s.URL(), user, "guess"); err == nil {
					accepted.Add(1)
				} else if ctx.Err() == nil {
					wrong.Add(1)
				}
			}
		})
	}
	begun := eventually(clientTimeout, func() bool { return wrong.Load() > 0 })
	var longest time.Duration
	right, tries := 0, small(20, 100)
	for range tries {
		begin := time.Now()
		if _, err := login(ctx, web, s.URL(), user, password); err == nil {
			right++
		}
		longest = max(longest, time.Since(begin))
		time.Sleep(50 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	return fmt.Sprintf("%d of %d right ones passed, the slowest in %d ms, beside %d wrong ones", right, tries, longest.Milliseconds(), wrong.Load()),
		right == tries && longest < 2*time.Second && begun && accepted.Load() == 0
}

// honestUsers is how many users log in once each while others guess. A server may remember who it
// has let in before.
func honestUsers() int { return small(10, 50) }

func honestUser(i int) string { return fmt.Sprintf("honest%d", i) }

// loginBursts sends wrong logins at once, again and again, from 127.0.0.1, and right ones from
// 127.0.0.2.
func loginBursts(r *run, s *server) (string, bool) {
	ctx, cancel := context.WithCancel(r.Context())
	var wg sync.WaitGroup
	var wrong, accepted atomic.Int64
	wg.Go(func() {
		for ctx.Err() == nil {
			var burst sync.WaitGroup
			for range 200 {
				burst.Go(func() {
					if _, err := login(ctx, web, s.URL(), user, "guess"); err == nil {
						accepted.Add(1)
					} else if ctx.Err() == nil {
						wrong.Add(1)
					}
				})
			}
			burst.Wait()
		}
	})
	begun := eventually(clientTimeout, func() bool { return wrong.Load() > 0 })
	other := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	var longest time.Duration
	right, tries := 0, honestUsers()
	for i := range tries {
		begin := time.Now()
		if _, err := login(ctx, other, s.URL(), honestUser(i), password); err == nil {
			right++
		}
		longest = max(longest, time.Since(begin))
	}
	cancel()
	wg.Wait()
	return fmt.Sprintf("%d of %d right ones passed, the slowest in %d ms, beside %d wrong ones", right, tries, longest.Milliseconds(), wrong.Load()),
		right == tries && longest < 2*time.Second && begun && accepted.Load() == 0
}
