package faults

import (
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

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestSlow has many slow clients read a warm file, and a fast one beside them.
func TestSlow(t *testing.T) {
	r := newRun(t)
	clients, size, lasts := small(100, 500), small(20<<20, 100<<20), small(6*time.Second, 60*time.Second)
	const rate = 50 << 10
	recipe := conantest.Recipe("big", "1.0")
	pkg := conantest.Package(recipe, conantest.Random("lib/big.a", size))
	origin := conantest.NewServer(r, conantest.V2, recipe, pkg)
	s := r.serve(settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL)}})
	path := filePath(pkg.Revision, archive)
	if a := get(r.Context(), s.url(path)); !a.is(pkg.Files[archive]) {
		r.Fatalf("fill: %s", a)
	}

	s.Process.ResetPeak()
	const gigabit = 125e6
	limits := []float64{gigabit, 0} // of the fast client; 0: the loopback's
	if !*full {
		limits = limits[:1]
	}
	part := lasts / time.Duration(4*len(limits))
	measure := func() (speeds []float64) {
		for _, limit := range limits {
			speeds = append(speeds, fastest(r.Context(), s.url(path), part, limit))
		}
		return speeds
	}
	alone := measure()
	ctx, cancel := context.WithCancel(r.Context())
	var wg sync.WaitGroup
	var got atomic.Int64
	var failed troubles
	for range clients {
		wg.Go(func() {
			if err := slowReader(ctx, strings.TrimPrefix(s.URL(), "http://"), path, rate, &got); err != nil {
				failed.add("%v", err)
			}
		})
	}
	time.Sleep(part)
	before, begin := got.Load(), time.Now()
	beside := measure()
	time.Sleep(time.Until(begin.Add(lasts - part)))
	speed := float64(got.Load()-before) / time.Since(begin).Seconds() / float64(clients)
	_, peak := s.Process.Memory()
	cancel()
	wg.Wait()
	again := measure()
	r.figure(fmt.Sprintf("peak RSS with %d clients at %.0f kB/s on a %d MB file", clients, speed/1000, size>>20), "< 150 MB", peak > 0 && peak < 150e6, "%.0f MB", float64(peak)/1e6)
	for i, limit := range limits {
		base := (alone[i] + again[i]) / 2
		what := "speed of a fast client on a line of 1 Gbit/s beside them"
		if limit == 0 {
			what = "speed of a client without any line beside them, all on the same cores"
		}
		r.timed(what, "≥ 90 % of alone", beside[i] >= 0.9*base, "%.0f %%: %.0f MB/s of %.0f", 100*beside[i]/base, beside[i]/1e6, base/1e6)
	}
	r.none("the slow clients", "all are served", fmt.Sprintf("%d", clients), failed.all())
}

// slowReader reads a file at a rate until ctx ends. Its receive buffer is small, so that the server
// is the one that waits.
func slowReader(ctx context.Context, address, path string, rate int, got *atomic.Int64) error {
	dialer := net.Dialer{Timeout: clientTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetReadBuffer(16 << 10); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		return err
	}
	const pieces = 5 // a second
	buffer := make([]byte, rate/pieces)
	for {
		n, err := io.ReadFull(conn, buffer)
		got.Add(int64(n))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("a slow client was cut off: %w", err)
		}
		select {
		case <-time.After(time.Second / pieces):
		case <-ctx.Done():
			return nil
		}
	}
}

// paced is a body on a line of so many bytes a second; 0: no limit.
type paced struct {
	io.Reader
	begin time.Time
	limit float64
	got   int64
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.got += int64(n)
	if p.limit > 0 {
		time.Sleep(time.Until(p.begin.Add(time.Duration(float64(p.got) / p.limit * float64(time.Second)))))
	}
	return n, err
}

// fastest is the median of bytes a second of one client that reads the file again and again for a
// while.
func fastest(ctx context.Context, url string, while time.Duration, limit float64) float64 {
	var speeds []float64
	for end := time.Now().Add(while); time.Now().Before(end) && ctx.Err() == nil; {
		begin := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0
		}
		resp, err := web.Do(req)
		if err != nil {
			return 0
		}
		n, err := io.Copy(io.Discard, &paced{resp.Body, begin, limit, 0})
		resp.Body.Close()
		if err != nil {
			return 0
		}
		speeds = append(speeds, float64(n)/time.Since(begin).Seconds())
	}
	if len(speeds) == 0 {
		return 0
	}
	return median(speeds)
}
