package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"sync"
	"testing"
)

// lab knows where programs and data are.
type lab struct {
	options
	dir    string // temporary; removed at the end
	root   string // of the repository
	binary string // conanproxy
	rep    *report
}

// run is one check under way. It is a testing.TB as far as the fake server needs one: what fails ends the check. Its
// methods are for the goroutine of the check only.
type run struct {
	testing.TB // nil: makes run a testing.TB; what is used of it is overridden

	*lab
	ctx    context.Context
	name   string
	random *rand.Rand

	mu      sync.Mutex
	cleanup []func()
}

// failure is how a check ends early.
type failure struct{ text string }

// do runs one check and what it wants done at its end.
func (l *lab) do(ctx context.Context, c check) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{lab: l, ctx: ctx, name: c.name, random: rand.New(rand.NewPCG(l.seed, 11))}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s", p.text)
		default:
			err = fmt.Errorf("panic: %v", p)
			fmt.Fprintf(os.Stderr, "%s\n", debug.Stack())
		}
	}()
	defer r.end()
	c.run(r)
	return nil
}

func (r *run) end() {
	r.mu.Lock()
	cleanup := r.cleanup
	r.cleanup = nil
	r.mu.Unlock()
	for i := len(cleanup) - 1; i >= 0; i-- {
		cleanup[i]()
	}
}

// Helper implements testing.TB.
func (r *run) Helper() {}

// Name implements testing.TB.
func (r *run) Name() string { return r.name }

// Context implements testing.TB.
func (r *run) Context() context.Context { return r.ctx }

// Cleanup implements testing.TB.
func (r *run) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanup = append(r.cleanup, f)
}

// Fatalf implements testing.TB: the check ends.
func (r *run) Fatalf(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

// Fatal implements testing.TB: the check ends.
func (r *run) Fatal(args ...any) { panic(failure{fmt.Sprint(args...)}) }

// must ends the check if there is an error.
func (r *run) must(err error) {
	if err != nil {
		panic(failure{err.Error()})
	}
}

// folder makes a fresh directory.
func (r *run) folder(name string) string {
	dir, err := os.MkdirTemp(r.dir, name+"-")
	r.must(err)
	return dir
}

// small is the first value in a quick run, else the second.
func small[T any](r *run, quick, full T) T {
	if r.quick {
		return quick
	}
	return full
}

// figure adds a line to the report.
func (r *run) figure(what, demanded string, reached bool, measured string, args ...any) {
	r.line(figure{r.name, what, demanded, fmt.Sprintf(measured, args...), reached, false})
}

// timed adds a line whose figure depends on how busy the machine is: a quick run shows it and does not fail by it.
func (r *run) timed(what, demanded string, reached bool, measured string, args ...any) {
	r.line(figure{r.name, what, demanded, fmt.Sprintf(measured, args...), reached, true})
}

func (r *run) line(f figure) {
	fmt.Fprintf(os.Stderr, "faults:   %s: %s (%s): %s\n", f.What, f.Measured, f.Demanded, f.verdict())
	r.rep.add(f)
}

// none adds a line that demands that a list of troubles is empty; the first of them are shown.
func (r *run) none(what, demanded, measured string, troubles []string) {
	const shown = 5
	for _, t := range troubles[:min(len(troubles), shown)] {
		fmt.Fprintln(os.Stderr, "faults:   trouble:", t)
	}
	if len(troubles) > 0 {
		measured = fmt.Sprintf("%s, but for %d: %s", measured, len(troubles), troubles[0])
	}
	r.figure(what, demanded, len(troubles) == 0, "%s", measured)
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

// together runs f for every item, a few at a time, each with a run of its own. What ends one of them early is a trouble.
func together[T any](r *run, width int, items []T, t *troubles, f func(*run, T)) {
	var wg sync.WaitGroup
	turn := make(chan struct{}, width)
	for i, item := range items {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			sub := &run{lab: r.lab, ctx: r.ctx, name: r.name, random: rand.New(rand.NewPCG(r.seed, uint64(i)))}
			defer func() {
				switch p := recover().(type) {
				case nil:
				case failure:
					t.add("%s", p.text)
				default:
					t.add("panic: %v", p)
				}
			}()
			defer sub.end()
			f(sub, item)
		})
	}
	wg.Wait()
}
