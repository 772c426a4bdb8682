package faults

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// joiner is one client of a cold file.
type joiner struct {
	after  time.Duration // when it comes
	cancel int64         // it leaves after so many bytes; 0: it stays
	rate   int64         // bytes a second that it reads; 0: as fast as it can

	firstByte time.Duration
	got       int64
	err       error
}

// TestFill has many clients share one download that is cut in the middle.
func TestFill(t *testing.T) {
	r := newRun(t)
	size := small(20<<20, 200<<20)
	const upstreamRate, slowRate = 20 << 20, 2 << 20
	recipe := conantest.Recipe("big", "1.0", conantest.Code(fmt.Sprintf("# seed %d\n", *seed)))
	pkg := conantest.Package(recipe, conantest.Random("lib/big.a", size))
	content := pkg.Files[archive]
	total := int64(len(content))
	origin := conantest.NewServer(r, conantest.V2, recipe, pkg)
	route := "GET */" + archive
	origin.Fault(conantest.Fault{Route: route, Count: 1, BytesPerSecond: upstreamRate, Cut: conantest.At(total * 6 / 10)})
	origin.Fault(conantest.Fault{Route: route, BytesPerSecond: upstreamRate})
	s := r.serve(settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL)}})
	url := s.url(filePath(pkg.Revision, archive))
	// What every install asks first, so that the clients below measure the file.
	if a := get(r.Context(), s.url(revisionPath(pkg.Revision)+"/files")); a.status != http.StatusOK {
		r.Fatalf("list of files: %s", a)
	}

	lasts := time.Duration(float64(total) / upstreamRate * float64(time.Second))
	joiners := make([]*joiner, 100)
	for i := range joiners {
		joiners[i] = &joiner{after: time.Duration(r.random.Float64() * float64(lasts) * 0.95)}
		if i%2 == 1 {
			joiners[i].cancel = 1 + r.random.Int64N(total-1)
		}
	}
	joiners[0].after = 0
	joiners[2].rate, joiners[2].after = slowRate, lasts/10
	s.Process.ResetPeak()
	var wg sync.WaitGroup
	for _, j := range joiners {
		wg.Go(func() { j.run(r.Context(), url, content) })
	}
	wg.Wait()
	_, peak := s.Process.Memory()

	last := joiners[0]
	right, survivors := 0, 0
	for _, j := range joiners {
		if j.after > last.after {
			last = j
		}
		if j.cancel > 0 {
			continue
		}
		survivors++
		if j.err == nil && j.got == total {
			right++
		}
	}
	var sent int64
	requests := 0
	for _, line := range origin.Log() {
		if line.Method == http.MethodGet && bytes.HasSuffix([]byte(line.Path), []byte("/"+archive)) {
			sent += line.Sent
			requests++
		}
	}
	r.figure(fmt.Sprintf("bytes that upstream sent of %d MB, reset at 60 %%, 100 clients", size>>20), "≤ 1.02 × the size",
		float64(sent) <= 1.02*float64(total), "%.4f × in %d requests", float64(sent)/float64(total), requests)
	r.figure("clients that stayed and got every byte right, one of them at 2 MB/s", "all", right == survivors && survivors >= 50, "%d of %d", right, survivors)
	r.timed("first byte of the last that joined", "< 50 ms", last.firstByte > 0 && last.firstByte < 50*time.Millisecond, "%.1f ms", float64(last.firstByte.Microseconds())/1000)
	r.figure("peak RSS with 100 clients", "< 150 MB", peak > 0 && peak < 150e6, "%.0f MB", float64(peak)/1e6)
	for _, j := range joiners {
		if j.cancel == 0 && (j.err != nil || j.got != total) {
			r.Logf("a client got %d of %d bytes: %v", j.got, total, j.err)
			break
		}
	}
}

// run reads the file and compares it with what it must be.
func (j *joiner) run(ctx context.Context, url string, content []byte) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	select {
	case <-time.After(j.after):
	case <-ctx.Done():
		j.err = ctx.Err()
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		j.err = err
		return
	}
	begin := time.Now()
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		j.err = err
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(content)) {
		j.err = fmt.Errorf("status %d, length %d", resp.StatusCode, resp.ContentLength)
		return
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buffer)
		if j.got == 0 && n > 0 {
			j.firstByte = time.Since(begin)
		}
		if j.got+int64(n) > int64(len(content)) || !bytes.Equal(buffer[:n], content[j.got:j.got+int64(n)]) {
			j.err = fmt.Errorf("wrong bytes after %d", j.got)
			return
		}
		j.got += int64(n)
		runtime.Gosched() // the clients share this process, and none is to wait for another's time slice
		if err == io.EOF {
			return
		}
		if err != nil {
			j.err = err
			return
		}
		if j.cancel > 0 && j.got >= j.cancel {
			return
		}
		if j.rate > 0 {
			if ahead := time.Duration(j.got*int64(time.Second)/j.rate) - time.Since(begin); ahead > 0 {
				time.Sleep(ahead)
			}
		}
	}
}
