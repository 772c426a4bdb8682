package faults

import (
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestDrain ends the server with SIGTERM while downloads run: they finish.
func TestDrain(t *testing.T) {
	r := newRun(t)
	size := small(10<<20, 50<<20)
	recipe := conantest.Recipe("big", "1.0")
	pkg := conantest.Package(recipe, conantest.Random("lib/big.a", size))
	content := pkg.Files[archive]
	origin := conantest.NewServer(r, conantest.V2, recipe, pkg)
	origin.Fault(conantest.Fault{Route: "GET */" + archive, BytesPerSecond: size / 4}) // the fill takes four seconds
	s := r.serve(settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL)}})
	url := s.url(filePath(pkg.Revision, archive))
	joiners := make([]*joiner, 20)
	var wg sync.WaitGroup
	for i := range joiners {
		joiners[i] = &joiner{}
		if i%2 == 0 {
			joiners[i].rate = int64(size / 6)
		}
		wg.Go(func() { joiners[i].run(r.Context(), url, content) })
	}
	time.Sleep(2 * time.Second)
	begin := time.Now()
	r.must(s.Process.Signal(syscall.SIGTERM))
	refused := eventually(5*time.Second, func() bool {
		conn, err := net.DialTimeout("tcp", s.Process.Address(), time.Second)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	wg.Wait()
	ended := false
	select {
	case <-s.Process.Done():
		ended = true
	case <-time.After(time.Minute):
	}
	took := time.Since(begin)
	right := 0
	first := ""
	for _, j := range joiners {
		if j.err == nil && j.got == int64(len(content)) {
			right++
		} else if first == "" {
			first = fmt.Sprintf("; one got %d of %d bytes: %v", j.got, len(content), j.err)
		}
	}
	r.figure("downloads under way at SIGTERM, half of a fill that is not done", "all finish", right == len(joiners), "%d of %d%s", right, len(joiners), first)
	r.figure("new connections after SIGTERM", "refused within 5 s", refused, "%t", refused)
	r.figure("the process after the last download", "ends within a minute", ended, "%.1f s after the signal", took.Seconds())
	r.fsckIsClean(s, "on disk after that")
}
