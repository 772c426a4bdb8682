package faults

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestSilent has the real clients install warm packages while upstream takes requests and never
// answers. All that upstream said is old, so each answer would be asked for again.
func TestSilent(t *testing.T) {
	r := newRun(t)
	for _, c := range conans {
		origin := conantest.NewServer(r, c.api(), graph(c.two(), 20<<10)...)
		over := settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL, quickly)}}
		s := r.serve(over)
		h := c.home(r, s.URL())
		r.must(h.install(r.Context(), "top/1.0"))
		var healthy, silent []time.Duration
		for range small(2, 5) {
			healthy = append(healthy, h.timedInstall(r))
			mend := origin.Fault(conantest.Fault{Route: "*", BlackHole: true})
			s.Stop() // a new process has not learned yet that upstream is silent
			s.start()
			silent = append(silent, h.timedInstall(r))
			mend()
			s.Stop() // and its breaker is closed again
			s.start()
		}
		ratio := median(silent).Seconds() / median(healthy).Seconds()
		r.timed("warm install with a silent upstream, "+c.name, "≤ 1.2 × healthy", ratio <= 1.2, "%.2f × %.1f s", ratio, median(healthy).Seconds())
		longer := slices.Max(silent) - slices.Max(healthy)
		r.figure("no request waits for the silent upstream, "+c.name, "< 10 s longer", longer < 10*time.Second, "%.1f s longer", longer.Seconds())
	}
}

// timedInstall installs into an empty cache.
func (h home) timedInstall(r *run) time.Duration {
	r.Helper()
	r.must(h.clear(r.Context()))
	begin := time.Now()
	r.must(h.install(r.Context(), "top/1.0"))
	return time.Since(begin)
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
