package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// smallDisk is a small filesystem of its own for the blobs of one server.
type smallDisk struct {
	dir string
}

// mount makes one of size bytes where the machine allows it; else ok is false.
func (r *run) mount(size int64) (m smallDisk, dataDir string, ok bool) {
	dataDir = filepath.Join(r.folder("smallDisk"), "data")
	m.dir = filepath.Join(dataDir, "blobs")
	r.must(os.MkdirAll(m.dir, 0o750))
	if err := unix.Mount("tmpfs", m.dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0750", size)); err != nil {
		return m, dataDir, false
	}
	r.Cleanup(func() {
		if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
			fmt.Fprintln(os.Stderr, "faults: unmount:", err)
		}
	})
	return m, dataDir, true
}

// usage is how full the smallDisk is, in one moment.
func (m smallDisk) usage() (used, free int64) {
	var s unix.Statfs_t
	if err := unix.Statfs(m.dir, &s); err != nil {
		return 0, 0
	}
	return int64(s.Blocks-s.Bfree) * s.Bsize, int64(s.Bavail) * s.Bsize
}

// extremes watches a smallDisk until stop is called.
func (m smallDisk) watch() (stop func() (mostUsed, leastFree int64)) {
	done, ended := make(chan struct{}), make(chan struct{})
	most, least := m.usage()
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(500 * time.Microsecond):
			}
			used, free := m.usage()
			most, least = max(most, used), min(least, free)
		}
	}()
	return func() (int64, int64) {
		close(done)
		<-ended
		return most, least
	}
}

// TestDisk fills a small filesystem to its limits.
func TestDisk(t *testing.T) {
	r := newRun(t)
	if _, _, ok := r.mount(1 << 20); !ok {
		r.Skip("this machine does not allow a mount")
	}
	checkMaxSize(r)
	checkMinFree(r)
}

// cold makes packages for fills.
func cold(n, size int) (sets []conantest.Set) {
	for i := range n {
		recipe := conantest.Recipe(fmt.Sprintf("cold%d", i), "1.0")
		sets = append(sets, recipe, conantest.Package(recipe, conantest.Random(fmt.Sprintf("lib/%d", i), size)))
	}
	return sets
}

// readers read the archives of these sets, n at a time, and compare.
func readers(ctx context.Context, s *server, sets []conantest.Set, n int, failed *troubles) (reads int64) {
	var wg sync.WaitGroup
	var done atomic.Int64
	for k := range n {
		wg.Go(func() {
			for i := k; i < len(sets) && ctx.Err() == nil; i += n {
				if text := readBack(ctx, s.url(""), sets[i]); text != "" && ctx.Err() == nil {
					failed.add("%s", text)
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return done.Load()
}

// checkMaxSize fills much more than max_size, in parallel.
func checkMaxSize(r *run) {
	m, dataDir, ok := r.mount(256 << 20)
	if !ok {
		r.Fatal("mount")
	}
	const bound, rounding = 24 << 20, 4096
	sets := cold(small(24, 120), 3<<20)
	origin := conantest.NewServer(r, conantest.V2, sets...)
	s := r.serve(settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL)}, dataDir: dataDir,
		cache: harness.Settings{"memory": "8MiB", "max_size": bound}})
	stop := m.watch()
	var failed troubles
	reads := readers(r.Context(), s, sets, 6, &failed)
	most, _ := stop()
	files := int64(len(s.blobs()) + 16)
	r.figure(fmt.Sprintf("most bytes on disk while 6 clients fill %d MB through max_size = 24 MiB", len(sets)/2*3), "0 over max_size", most <= bound+files*rounding,
		"%.2f MiB", float64(most)/(1<<20))
	r.none("reads meanwhile", "0 failed", fmt.Sprintf("%d revisions read", reads), failed.all())
	s.Stop()
}

// checkMinFree has uploads, fills and warm reads compete for a smallDisk that is nearly full.
func checkMinFree(r *run) {
	m, dataDir, ok := r.mount(96 << 20)
	if !ok {
		r.Fatal("mount")
	}
	const minFree = 24 << 20
	sets := cold(16, 2<<20)
	warm := cold(1, 1<<20)
	warm[0], warm[1] = rename(warm[0], "warm"), rename(warm[1], "warm")
	origin := conantest.NewServer(r, conantest.V2, append(sets, warm...)...)
	s := r.serve(settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL)}, dataDir: dataDir,
		cache: harness.Settings{"memory": "8MiB", "min_free": minFree, "max_size": "1GiB"}})
	s.login()
	own := uploads(1, 1<<20, "mine")
	for _, set := range own {
		r.must(publish(r.Context(), s.url("/local"), s.token, set))
	}
	var failed, unclean troubles
	readers(r.Context(), s, warm, 1, &failed)

	stop := m.watch()
	ctx, cancel := context.WithCancel(r.Context())
	var wg sync.WaitGroup
	var reads atomic.Int64
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, set := range own {
				if text := readBack(ctx, s.url("/local"), set); text != "" && ctx.Err() == nil {
					failed.add("%s", text)
				}
				reads.Add(1)
			}
			reads.Add(readers(ctx, s, warm, 1, &failed))
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			readers(ctx, s, sets, 3, &failed)
		}
	})
	ups := uploads(small(40, 80), 2<<20, "up")
	stored, refused := uploadUntilFull(ctx, s, ups, &unclean)
	time.Sleep(time.Second)
	cancel()
	wg.Wait()
	_, least := stop()
	over := max(0, minFree-least)
	r.figure("least free bytes while installs, fills and uploads compete for a small filesystem, min_free = 24 MiB", "0 below min_free", over == 0,
		"%.2f MiB free, %d B below; %d uploads stored, %d refused", float64(least)/(1<<20), over, stored, len(refused))
	r.none("warm reads at the limit", "0 failed", fmt.Sprintf("%d revisions read", reads.Load()), failed.all())

	// Room is made; what was refused is sent again and has to be taken.
	for _, set := range ups {
		if !set.IsPackage() {
			ask(r.Context(), http.MethodDelete, s.url("/local"+revisionPath(set.Revision)), nil, s.token)
		}
	}
	repeated := 0
	s.Stop()
	if out, err := s.command("gc"); err != nil {
		unclean.add("gc: %s", out)
	}
	s.start()
	for _, set := range refused[:min(len(refused), 6)] {
		recipe := set
		for _, other := range ups {
			if other.Revision == set.Recipe() {
				recipe = other
			}
		}
		err := publish(r.Context(), s.url("/local"), s.token, recipe)
		if err == nil && set.IsPackage() {
			err = publish(r.Context(), s.url("/local"), s.token, set)
		}
		if err == nil {
			if text := readBack(r.Context(), s.url("/local"), set); text != "" {
				err = errors.New(text)
			}
		}
		if err != nil {
			unclean.add("sent again: %v", err)
			continue
		}
		repeated++
	}
	r.none("refused uploads", "a clear refusal, nothing visible, taken when sent again", fmt.Sprintf("%d refused, %d of %d taken again", len(refused), repeated, min(len(refused), 6)), unclean.all())
	if len(refused) == 0 {
		r.figure("uploads at the limit", "some are refused", false, "none of %d", len(ups))
	}
	s.Stop()
	r.fsckIsClean(s, "on disk after that")
}

// rename is the same content under another name. The ids fit still, since they depend on the
// content only.
func rename(set conantest.Set, name string) conantest.Set {
	set.Name = name
	return set
}

// uploadUntilFull uploads from a few clients at once. What is refused has to be refused clearly,
// and to be invisible.
func uploadUntilFull(ctx context.Context, s *server, sets []conantest.Set, unclean *troubles) (stored int64, refused []conantest.Set) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var count atomic.Int64
	const clients = 4
	for k := range clients {
		wg.Go(func() {
			for i := 2 * k; i+1 < len(sets); i += 2 * clients {
				for _, set := range sets[i : i+2] {
					err := publish(ctx, s.url("/local"), s.token, set)
					if err == nil {
						count.Add(1)
						continue
					}
					if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "no space") {
						unclean.add("%v", err)
					}
					if state, text := look(ctx, s.url("/local"), set); state != absent {
						unclean.add("refused, and visible: %s", text)
					}
					mu.Lock()
					refused = append(refused, set)
					mu.Unlock()
					break
				}
			}
		})
	}
	wg.Wait()
	return count.Load(), refused
}
