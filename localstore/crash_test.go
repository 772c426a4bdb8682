package localstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

var errCrash = errors.New("crash")

// fuse lets a number of steps pass and fails every later one.
type fuse struct {
	mu    sync.Mutex
	left  int
	burnt chan struct{}
}

func newFuse(steps int) *fuse { return &fuse{left: steps, burnt: make(chan struct{})} }

func (f *fuse) burn() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		close(f.burnt)
	}
	if f.left--; f.left < 0 {
		return errCrash
	}
	return nil
}

func (f *fuse) blown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left < 0
}

// fusedContext ends when its fuse is blown; looking at it is a step.
type fusedContext struct {
	context.Context
	fuse *fuse
}

func (c fusedContext) Done() <-chan struct{} {
	_ = c.fuse.burn()
	return c.fuse.burnt
}

func (c fusedContext) Err() error {
	if c.fuse.blown() {
		return context.Canceled
	}
	return nil
}

// Whatever step fails, readers see the old state or the whole new one, and the same upload sent
// again repairs it.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	old := recipe("class A", files{"x.txt": "x"}, files{"a.c": "int a;"})
	set := recipe("class B", files{"x.txt": "x"}, files{"a.c": "int b;"})
	p := pkg(info2, files{"lib/a": "a"})
	p1 := pkg(info1(old.rev()), files{"lib/a": "a"})
	recipeB := conan.Revision{Ref: hi, RRev: set.rev()}
	packageA := conan.Revision{Ref: hi, RRev: old.rev(), PackageID: pid2, PRev: p.rev()}
	uploads := map[string]struct {
		rev    conan.Revision
		set    files // what the revision is in the end
		adopts bool
		send   func(e *env) error
	}{
		"undeclared recipe": {recipeB, set, false, func(e *env) error { return e.send(recipeB, set) }},
		"declared recipe":   {recipeB, set, false, func(e *env) error { return e.sendV1(conan.Revision{Ref: hi}, set) }},
		"partial recipe": {recipeB, set, false, func(e *env) error {
			return e.sendV1(conan.Revision{Ref: hi}, set.without("conan_export.tgz"))
		}},
		"package": {packageA, p, false, func(e *env) error { return e.send(packageA, p) }},
		"v1 package": {conan.Revision{Ref: hi, RRev: old.rev(), PackageID: pid1, PRev: p1.rev()}, p1, false,
			func(e *env) error { return e.sendV1(conan.Revision{Ref: hi, PackageID: pid1}, p1) }},
		"package that adopts": {packageA, p, true, func(e *env) error { return e.send(packageA, p) }},
	}
	up := newEnv(t)
	up.publishRecipe(hi, old)
	for name, upload := range uploads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, func(o *Options) {
				if upload.adopts {
					o.Upstream = func(conan.Actor) conan.Source { return source{up} }
				}
			})
			store := e.blobs.(*memStore)
			calm := e.ctx
			const stride = 7 // 1 tries every step; this takes a minute less. Inside a transaction of the index a context does not end.
			steps := 0
			for ; ; steps += stride {
				ref := conan.Ref{Name: "hello", Version: "1.0"}
				if !upload.adopts {
					e.publishRecipe(ref, old)
				}
				f := newFuse(steps)
				store.step, e.ctx = f.burn, fusedContext{calm, f}
				err := upload.send(e)
				e.busy.Wait()
				store.step, e.ctx = nil, calm
				if err == nil && !f.blown() {
					break
				}
				for what, whole := range map[string]struct {
					rev conan.Revision
					set files
				}{"upload": {upload.rev, upload.set}, "recipe": {conan.Revision{Ref: hi, RRev: old.rev()}, old}} {
					_, err := e.Snapshot(t.Context(), whole.rev)
					if errors.Is(err, conan.ErrNotFound) && (what == "upload" || upload.adopts) {
						continue
					}
					wantEqual(t, fmt.Sprintf("%s after a crash at step %d", what, steps), content(t, e, whole.rev), whole.set)
				}
				if err := upload.send(e); err != nil {
					t.Fatalf("sending again after a crash at step %d: %v", steps, err)
				}
				wantEqual(t, fmt.Sprintf("content after a crash at step %d and sending again", steps), content(t, e, upload.rev), upload.set)

				wantError(t, e.Remove(t.Context(), conan.Removal{Revision: conan.Revision{Ref: ref}}), nil)
				e.clock.advance(25 * time.Hour)
				wantError(t, e.Sweep(t.Context()), nil)
				if left := e.collect(); len(left) > 1 {
					t.Fatalf("%d blobs are left", len(left))
				}
				clear(store.blobs) // orphans that a crash before the row leaves are found by a walk, not by garbage
			}
			if steps < 10*stride {
				t.Errorf("only %d steps were there to fail", steps)
			}
		})
	}
}

// Failures of storing are the server's, but a PUT must not look like a passing fault of the
// network.
func TestStorageFailure(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.blobs.(*memStore).step = func() error { return errors.New("/secret/path: input/output error") }
	err := e.put(conan.Revision{Ref: hi}, "conanfile.py", "A")
	wantError(t, err, conan.ErrConflict, "send it again")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error %q tells too much", err)
	}
}
