package harness

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// waits are the things that goroutines of this process wait for now, with when they began.
var waits struct {
	mu  sync.Mutex
	all map[*string]time.Time
}

// Waiting notes what the caller waits for, until the returned function is called.
func Waiting(format string, args ...any) (done func()) {
	text := fmt.Sprintf(format, args...)
	waits.mu.Lock()
	defer waits.mu.Unlock()
	if waits.all == nil {
		waits.all = map[*string]time.Time{}
	}
	waits.all[&text] = time.Now()
	return func() {
		waits.mu.Lock()
		defer waits.mu.Unlock()
		delete(waits.all, &text)
	}
}

// longWaits lists what has been waited for at least as long as d.
func longWaits(d time.Duration) []string {
	waits.mu.Lock()
	defer waits.mu.Unlock()
	var out []string
	for text, begin := range waits.all {
		if took := time.Since(begin); took >= d {
			out = append(out, fmt.Sprintf("%s (%s)", *text, took.Round(time.Second)))
		}
	}
	slices.Sort(out)
	return out
}

// ReportWaits writes a line every period as long as something is waited for longer than that, until
// stop is called.
func ReportWaits(w io.Writer, name string, period time.Duration) (stop func()) {
	done := make(chan struct{})
	tick := time.NewTicker(period)
	go func() {
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if long := longWaits(period); len(long) > 0 {
					fmt.Fprintf(w, "%s: waiting %s\n", name, strings.Join(long, "; "))
				}
			}
		}
	}()
	return sync.OnceFunc(func() { close(done) })
}
