package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/space"
)

func (b *bench) pin(t testing.TB, o PinOptions, revs ...conan.Revision) []conan.Moved {
	t.Helper()
	if o.Owner == "" {
		o.Owner = "ann"
	}
	moved, err := b.Pin(context.Background(), revs, o)
	if err != nil {
		t.Fatal(err)
	}
	return moved
}

// sized has a server list sizes, as some do.
func sized(_ conan.Revision, name string, content []byte) conan.FileInfo {
	return conan.FileInfo{Name: name, Size: int64(len(content)), MD5: md5Of(content)}
}

// What is pinned is downloaded whole, with its recipe, and outlives everything: other downloads
// that need its space, the loss of the upstream, and the time for which stale answers are used.
func TestPinnedClosureInstallsWithoutUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		older := up.addPackage(t, recipe, "[settings]\n", "old", 150)
		pkg := up.addPackage(t, recipe, "[settings]\n", noise(40_000), 200)
		up.packages[recipe] = up.packages[recipe][:1]
		b := newBench(t, up, func(_ *Options, q *space.Options) { q.MaxSize = 100_000 })
		defer b.end(t)
		moved := b.pin(t, PinOptions{}, pkg)
		if fmt.Sprint(moved) != fmt.Sprint([]conan.Moved{{Revision: recipe}, {Revision: pkg}}) {
			t.Errorf("pinned %v", moved)
		}
		if moved := b.pin(t, PinOptions{}, pkg); !moved[0].Skipped || !moved[1].Skipped {
			t.Errorf("again: %v", moved)
		}
		for i := range 20 {
			other := up.addPackage(t, up.addRecipe(t, fmt.Sprintf("lib/%d.0", i), "x", 100), "[settings]\n", noise(30_000+i), 200)
			b.read(t, other, archive)
		}
		if len(b.left(t, "center")) > 5 {
			t.Fatal("nothing was evicted")
		}
		up.set(func() { up.fail = conan.ErrUnavailable })
		time.Sleep(48 * time.Hour)
		if err := b.Sweep(ctx); err != nil {
			t.Fatal(err)
		}

		for _, rev := range []conan.Revision{recipe, pkg} {
			list, err := b.Revisions(ctx, rev.With(""))
			if err != nil || len(list) != 1 || list[0].ID != rev.ID() {
				t.Errorf("revisions of %s: %v, %v", rev, list, err)
			}
			newest, err := b.Latest(ctx, rev.With(""))
			if err != nil || newest.ID != rev.ID() {
				t.Errorf("the newest of %s: %v, %v", rev, newest, err)
			}
			files, err := b.Snapshot(ctx, rev)
			if err != nil || len(files) != len(up.files[rev]) {
				t.Errorf("files of %s: %v, %v", rev, files, err)
			}
			for _, f := range files {
				b.read(t, rev, f.Name)
			}
		}
		if list, err := b.Packages(ctx, recipe, true); err != nil || len(list) != 1 {
			t.Errorf("packages %v, %v", list, err)
		}
		if _, err := b.Snapshot(ctx, older); !errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("what is not pinned: %v", err)
		}
		if _, err := b.Latest(ctx, conan.Revision{Ref: ref("lib/0.0")}); !errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("the newest of what is not pinned: %v", err)
		}
	})
}

// A run that would take more than its share stops before it downloads if sizes are known, else as
// soon as it knows; it pins nothing.
func TestPinsTakeAShareOfTheSpace(t *testing.T) {
	for name, list := range map[string]func(conan.Revision, string, []byte) conan.FileInfo{"sizes are listed": sized, "names are listed": nil} {
		t.Run(name, func(t *testing.T) {
			up := newFake()
			up.digests = list
			first := up.addPackage(t, up.addRecipe(t, "zlib/1.3", "one", 100), "[settings]\n", noise(40_000), 200)
			second := up.addPackage(t, up.addRecipe(t, "bzip2/1.0", "two", 100), "[settings]\n", noise(45_000), 200)
			b := newBench(t, up, func(_ *Options, q *space.Options) { q.MaxSize = 100_000 })
			defer b.end(t)
			b.pin(t, PinOptions{}, first)
			before := up.times("open")
			_, err := b.Pin(context.Background(), []conan.Revision{second}, PinOptions{Owner: "ann"})
			if !errors.Is(err, conan.ErrConflict) || !strings.Contains(err.Error(), "at most 80000 may be pinned") {
				t.Errorf("error %v", err)
			}
			if n := up.times("open") - before; list != nil && n != 0 {
				t.Errorf("%d files were downloaded", n)
			}
			if refs, err := b.index.PinRefs(context.Background(), b.o.Member, ""); err != nil || len(refs) != 1 {
				t.Errorf("pins of %v, %v", refs, err)
			}
			if _, err := b.index.Unpin(context.Background(), b.o.Member, conan.WithRecipes([]conan.Revision{first}), "ann", index.Audit{}, time.Now(), false); err != nil {
				t.Fatal(err)
			}
			b.pin(t, PinOptions{}, second)
			b.pin(t, PinOptions{Owner: "bob"}, second) // its bytes are counted already
		})
	}
}

// Two pins at a time see the same bytes pinned before them, and the second one to be written is
// refused.
func TestPinsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		up.delay = time.Minute
		first := up.addPackage(t, up.addRecipe(t, "zlib/1.3", "one", 100), "[settings]\n", noise(42_000), 200)
		second := up.addPackage(t, up.addRecipe(t, "bzip2/1.0", "two", 100), "[settings]\n", noise(42_001), 200)
		b := newBench(t, up, func(_ *Options, q *space.Options) { q.MaxSize = 100_000 })
		defer b.end(t)
		var runs sync.WaitGroup
		errs := make([]error, 2)
		for i, pkg := range []conan.Revision{first, second} {
			runs.Go(func() { _, errs[i] = b.Pin(context.Background(), []conan.Revision{pkg}, PinOptions{Owner: "ann"}) })
		}
		runs.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), conan.ErrConflict) {
			t.Errorf("the two pins ended with %v; want one refusal", errs)
		}
		if pinned, err := b.index.PinnedBytes(context.Background()); err != nil || pinned > 80_000 {
			t.Errorf("%d bytes are pinned, %v", pinned, err)
		}
	})
}

// Bytes that an earlier pin or a store has are pinned or kept already.
func TestPinOfBytesThatAreKept(t *testing.T) {
	ctx := context.Background()
	up := newFake()
	content := noise(42_000)
	first := up.addPackage(t, up.addRecipe(t, "zlib/1.3", "one", 100), "[settings]\n", content, 200)
	again := up.addPackage(t, up.addRecipe(t, "bzip2/1.0", "two", 100), "[settings]\n", content, 200)
	published := up.addPackage(t, up.addRecipe(t, "xz/1.0", "three", 100), "[settings]\n", noise(42_001), 200)
	b := newBench(t, up, func(_ *Options, q *space.Options) { q.MaxSize = 100_000 })
	defer b.end(t)
	b.read(t, published, archive)
	held, err := b.stored(ctx, published)
	if err != nil {
		t.Fatal(err)
	}
	local, err := b.index.Member(ctx, "local", index.KindStore)
	if err == nil {
		err = b.index.PutRevision(ctx, local, published, index.PutOptions{Time: time.Now(), Files: held.Files})
	}
	if err != nil {
		t.Fatal(err)
	}
	b.pin(t, PinOptions{}, first)
	b.pin(t, PinOptions{}, again)
	b.pin(t, PinOptions{}, published)
}

// TestDryPinOfManyPackages bounds the memory of a dry run over one reference, whose pins are listed
// once and not for each package.
func TestDryPinOfManyPackages(t *testing.T) {
	ctx := context.Background()
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	b := newBench(t, up, nil)
	defer b.end(t)
	revs := []conan.Revision{recipe}
	for i := range 300 {
		pkg := recipe
		pkg.PackageID, pkg.PRev = fmt.Sprintf("%040x", i), "aa"
		revs = append(revs, pkg)
		if err := b.index.PutRevision(ctx, b.o.Member, pkg, index.PutOptions{Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.index.Pin(ctx, b.o.Member, revs[1:], "ann", index.Audit{}, time.Now(), false, nil); err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(1, func() {
		moved, err := b.wouldPin(ctx, revs, "ann")
		if err != nil || len(moved) != len(revs) || moved[0].Skipped || !moved[1].Skipped || !moved[300].Skipped {
			t.Errorf("%d would be pinned, %v", len(moved), err)
		}
	})
	if most := 100.0 * float64(len(revs)); allocs > most {
		t.Errorf("%g allocations, want at most %g", allocs, most)
	}
}

func TestPinWithoutSpace(t *testing.T) {
	up := newFake()
	pkg := up.addPackage(t, up.addRecipe(t, "zlib/1.3", "one", 100), "[settings]\n", noise(70_000), 200)
	b := newBench(t, up, func(_ *Options, q *space.Options) { q.MaxSize = 60_000 })
	defer b.end(t)
	_, err := b.Pin(context.Background(), []conan.Revision{pkg}, PinOptions{Owner: "ann"}) // all files at once: any may be the first
	if !errors.Is(err, conan.ErrConflict) || !strings.Contains(err.Error(), "there is no space for ") {
		t.Errorf("error %v", err)
	}
}

// A dry run asks for lists only; readers and the run share one download; what fails pins nothing
// and keeps what came.
func TestPinDownloadsLikeAReader(t *testing.T) {
	ctx := context.Background()
	up := newFake()
	pkg, _ := large(t, up, 2<<20)
	b := newBench(t, up, nil)
	defer b.end(t)
	if moved := b.pin(t, PinOptions{Dry: true}, pkg); len(moved) != 2 || moved[1].Skipped || up.times("open") != 0 {
		t.Errorf("dry run: %v, %d files", moved, up.times("open"))
	}
	up.set(func() { up.gone[archive] = true })
	if _, err := b.Pin(ctx, []conan.Revision{pkg}, PinOptions{Owner: "ann"}); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("a file that upstream lacks: %v", err)
	}
	if refs, err := b.index.PinRefs(ctx, b.o.Member, ""); err != nil || len(refs) != 0 {
		t.Errorf("pins of %v, %v", refs, err)
	}
	up.set(func() { up.gone[archive] = false })
	b.purge(t, PurgeOptions{})

	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			if _, err := readAll(ctx, b.Cache, pkg, archive); err != nil {
				t.Error(err)
			}
		})
	}
	before := up.times("open " + pkg.String() + " " + archive)
	b.pin(t, PinOptions{}, pkg)
	readers.Wait()
	if n := up.times("open "+pkg.String()+" "+archive) - before; n > 1 {
		t.Errorf("the archive was downloaded %d times", n)
	}
	if moved := b.pin(t, PinOptions{Dry: true}, pkg); !moved[0].Skipped || !moved[1].Skipped {
		t.Errorf("dry run afterwards: %v", moved)
	}
	for name := range up.files[pkg.Recipe()] {
		if stored, err := b.stored(ctx, pkg.Recipe()); err != nil || stored == nil {
			t.Fatal(err)
		} else if info, ok := stored.find(name); !ok {
			t.Errorf("%s is not stored", name)
		} else if _, err := b.blobs.Stat(ctx, blob.Digest(info.SHA256)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A cache that never asks its upstream, and has forgotten its answers, lists what is pinned by
// upstream's times.
func TestPinnedOffline(t *testing.T) {
	ctx := context.Background()
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	newer := up.addRecipe(t, "zlib/1.3", "two", 300)
	b := newBench(t, up, nil)
	b.pin(t, PinOptions{}, recipe, newer)
	b.Cache.Close()
	b.start(t, func(o *Options, _ *space.Options) { o.Mode, o.Remote = Offline, nil })
	defer b.end(t)
	b.purge(t, PurgeOptions{})
	list, err := b.Revisions(ctx, conan.Revision{Ref: recipe.Ref})
	if err != nil || len(list) != 2 || list[0].ID != newer.RRev || list[0].Time.Unix() != 300 {
		t.Errorf("revisions %v, %v", list, err)
	}
	b.read(t, recipe, conan.RecipeFile)
}
