package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
)

// run is one test under way. A failed figure fails it; the others are still measured.
type run struct {
	*testing.T
	random *rand.Rand
}

func newRun(t *testing.T) *run { return &run{T: t, random: rand.New(rand.NewPCG(*seed, 11))} }

// must ends the test if there is an error.
func (r *run) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// folder makes a fresh directory.
func (r *run) folder(name string) string {
	dir, err := os.MkdirTemp("", name+"-")
	r.must(err)
	return dir
}

// small is the first value in a run of small sizes, and the second with -full.
func small[T any](quick, all T) T {
	if *full {
		return all
	}
	return quick
}

// figure adds a line to the report.
func (r *run) figure(what, demanded string, reached bool, measured string, args ...any) {
	r.Helper()
	f := figure{r.check(), what, demanded, fmt.Sprintf(measured, args...), reached}
	figures.add(f)
	if reached {
		r.Logf("%s: %s (%s)", what, f.Measured, demanded)
	} else {
		r.Errorf("%s: %s, want %s", what, f.Measured, demanded)
	}
}

// timed adds a line whose figure depends on how busy the machine is: a run of small sizes logs it
// and does not fail by it.
func (r *run) timed(what, demanded string, reached bool, measured string, args ...any) {
	r.Helper()
	if !*full {
		r.Logf("%s: "+measured+" (%s)", append(append([]any{what}, args...), demanded)...)
		return
	}
	r.figure(what, demanded, reached, measured, args...)
}

// none adds a line that demands that a list of troubles is empty; the first of them are shown.
func (r *run) none(what, demanded, measured string, troubles []string) {
	r.Helper()
	const shown = 5
	for _, t := range troubles[:min(len(troubles), shown)] {
		r.Log("trouble:", t)
	}
	if len(troubles) > 0 {
		measured = fmt.Sprintf("%s, but for %d: %s", measured, len(troubles), troubles[0])
	}
	r.figure(what, demanded, len(troubles) == 0, "%s", measured)
}

// check names the test in the report.
func (r *run) check() string {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.Name(), "Test"), "/")
	return strings.ToLower(name)
}

// troubles collects what went wrong, from many goroutines.
type troubles struct {
	mu   sync.Mutex
	list []string
}

func (t *troubles) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, fmt.Sprintf(format, args...))
}

func (t *troubles) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.list...)
}

// together runs f for every item, a few at a time, each as a test of its own.
func together[T any](r *run, items []T, name func(T) string, f func(*run, T)) {
	r.Run("each", func(t *testing.T) {
		for i, item := range items {
			t.Run(name(item), func(t *testing.T) {
				t.Parallel()
				f(&run{T: t, random: rand.New(rand.NewPCG(*seed, uint64(i)))}, item)
			})
		}
	})
}
