package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// only matches one reference.
func only(ref conan.Ref) func(conan.Ref) bool { return func(r conan.Ref) bool { return r == ref } }

func (b *bench) purge(t testing.TB, o PurgeOptions) Purged {
	t.Helper()
	p, err := b.Purge(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// askAll asks everything about a package and its recipe, and reads it.
func (b *bench) askAll(t testing.TB, pkg conan.Revision) {
	t.Helper()
	ctx := context.Background()
	for _, rev := range []conan.Revision{pkg.Recipe(), pkg} {
		if _, err := b.Revisions(ctx, rev); err != nil {
			t.Fatal(err)
		}
		list, err := b.Snapshot(ctx, rev)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			b.read(t, rev, f.Name)
		}
	}
	if _, err := b.Packages(ctx, pkg.Recipe(), true); err != nil {
		t.Fatal(err)
	}
	nothing := pkg.Recipe().With("0000")
	if _, err := b.Snapshot(ctx, nothing); !errors.Is(err, conan.ErrNotFound) {
		t.Fatalf("what upstream does not have: %v", err)
	}
	pattern, err := conan.ParsePattern(pkg.Name+"/*", true)
	if err == nil {
		_, err = b.Search(ctx, pattern)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What was purged is asked for as if for the first time, "not found" too, and nothing else is.
func TestPurgeForgetsAReference(t *testing.T) {
	up := newFake()
	zlib := up.addPackage(t, up.addRecipe(t, "zlib/1.3", "one", 100), "[settings]\n", "a", 200)
	other := up.addPackage(t, up.addRecipe(t, "bzip2/1.0", "two", 100), "[settings]\n", "b", 200)
	b := newBench(t, up, nil)
	defer b.end(t)
	b.askAll(t, zlib)
	b.askAll(t, other)
	asked := func() map[string]int {
		b.askAll(t, zlib)
		b.askAll(t, other)
		counts := map[string]int{}
		for _, question := range []string{"latest ", "revisions ", "files ", "packages ", "open "} {
			counts["zlib "+question] = up.times(question + "zlib")
			counts["bzip2 "+question] = up.times(question + "bzip2")
		}
		counts["search"] = up.times("search")
		return counts
	}
	first := asked()

	dry := b.purge(t, PurgeOptions{Matches: only(zlib.Ref), Dry: true})
	if again := asked(); again["zlib files "] != first["zlib files "] || again["search"] != first["search"] {
		t.Errorf("after a dry run upstream was asked %v, before %v", again, first)
	}
	done := b.purge(t, PurgeOptions{Matches: only(zlib.Ref)})
	if dry != done || done.Revisions != 2 || done.Kept != 0 || done.Bytes == 0 || done.Answers < 6 {
		t.Errorf("purged %+v, the dry run %+v", done, dry)
	}
	second := asked()
	for question, n := range first {
		want := n
		if question[:4] == "zlib" || question == "search" {
			want *= 2
		}
		if second[question] != want {
			t.Errorf("%s: asked %d times, want %d", question, second[question], want)
		}
	}
	if p := b.purge(t, PurgeOptions{}); p.Revisions != 4 {
		t.Errorf("everything: %+v", p)
	}
	if third := asked(); third["bzip2 open "] != 2*first["bzip2 open "] {
		t.Errorf("after everything was purged upstream was asked %v", third)
	}
}

// Revisions with pins stay, unless they are meant; then their pins go too.
func TestPurgeKeepsPins(t *testing.T) {
	ctx := context.Background()
	up := newFake()
	zlib := up.addPackage(t, up.addRecipe(t, "zlib/1.3", "one", 100), "[settings]\n", "a", 200)
	b := newBench(t, up, nil)
	defer b.end(t)
	b.askAll(t, zlib)
	if _, err := b.index.Pin(ctx, b.o.Member, []conan.Revision{zlib.Recipe()}, "ann", index.Audit{}, time.Now(), false, nil); err != nil {
		t.Fatal(err)
	}
	if p := b.purge(t, PurgeOptions{}); p.Kept != 1 || p.Revisions != 1 {
		t.Errorf("purged %+v", p)
	}
	up.set(func() { up.fail = conan.ErrUnavailable })
	b.read(t, zlib.Recipe(), conan.RecipeFile)
	up.set(func() { up.fail = nil })
	if p := b.purge(t, PurgeOptions{Pinned: true}); p.Kept != 0 || p.Revisions != 1 {
		t.Errorf("purged with pins: %+v", p)
	}
	if pins, err := b.index.Pins(ctx, b.o.Member, 0, 10); err != nil || len(pins) > 0 {
		t.Errorf("pins %v, %v", pins, err)
	}
}

// A pin that is set after the purge looked keeps its revision, unless pins are meant; then it goes.
func TestPurgeWhileARevisionIsPinned(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		ctx := context.Background()
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		b := newBench(t, up, nil)
		b.read(t, recipe, conan.RecipeFile)
		asked := 0
		p := b.purge(t, PurgeOptions{Pinned: pinned, Matches: func(conan.Ref) bool {
			if asked++; asked == 2 { // the first time it is about the stored revisions
				b.pin(t, PinOptions{}, recipe)
			}
			return true
		}})
		if asked < 2 {
			t.Fatal("nothing was pinned")
		}
		rows, err := b.index.RevisionsOf(ctx, b.o.Member, recipe.Ref)
		if err != nil {
			t.Fatal(err)
		}
		pins, err := b.index.PinsOf(ctx, b.o.Member, recipe.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if gone := p.Revisions == 1 && p.Kept == 0 && p.Bytes > 0; gone != pinned || (len(rows) == 0) != pinned || (len(pins) == 0) != pinned {
			t.Errorf("with pins %v: purged %+v, left %d revisions with %d pins", pinned, p, len(rows), len(pins))
		}
		b.end(t)
	}
}

// A client that reads a stored file keeps its bytes.
func TestPurgeWhileAFileIsRead(t *testing.T) {
	up := newFake()
	pkg, content := large(t, up, 2<<20)
	b := newBench(t, up, nil)
	defer b.end(t)
	b.read(t, pkg, archive)
	f, err := b.Open(context.Background(), pkg, archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p := b.purge(t, PurgeOptions{}); p.Revisions == 0 || p.Bytes < int64(len(content)) {
		t.Errorf("purged %+v", p)
	}
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// An answer that upstream gives to a question from before the purge is not remembered, and a later
// question does not wait for it.
func TestPurgeWhileUpstreamIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		b := newBench(t, up, nil)
		defer b.end(t)
		up.set(func() { up.delay = time.Minute })
		var before sync.WaitGroup
		before.Go(func() {
			if _, err := b.Snapshot(context.Background(), recipe); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		b.purge(t, PurgeOptions{Matches: only(recipe.Ref)})
		up.set(func() { up.delay = 0 })
		for range 2 {
			if _, err := b.Snapshot(context.Background(), recipe); err != nil {
				t.Fatal(err)
			}
		}
		before.Wait()
		if n := up.times("files"); n != 2 {
			t.Errorf("upstream was asked %d times, want 2", n)
		}
	})
}

// The clients of a download get all of it, and it is not stored.
func TestPurgeWhileAFileArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		pkg, content := large(t, up, 4<<20)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		open := make(chan struct{})
		up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
			return &gate{r: bytes.NewReader(content), left: 2 << 20, open: open, ctx: ctx}, int64(len(content))
		})
		b := newBench(t, up, nil)
		defer b.end(t)
		f, err := b.Open(context.Background(), pkg, archive)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b.purge(t, PurgeOptions{Matches: only(pkg.Ref)})
		var again sync.WaitGroup
		again.Go(func() {
			if got, err := readAll(context.Background(), b.Cache, pkg, archive); err != nil || !bytes.Equal(got, content) {
				t.Errorf("a client that came later: %v", err)
			}
		})
		again.Go(func() {
			whole, err := f.Wait(context.Background())
			if err != nil {
				t.Errorf("a client that waits for the whole file: %v", err)
				return
			}
			defer whole.Close()
			if got, err := io.ReadAll(whole); err != nil || !bytes.Equal(got, content) {
				t.Errorf("a client that waited for the whole file: %d bytes, %v", len(got), err)
			}
		})
		synctest.Wait()
		close(open)
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		again.Wait()
		synctest.Wait()
		if n := up.times("open " + pkg.String() + " " + archive); n != 2 {
			t.Errorf("upstream sent the archive %d times", n)
		}
		if p := b.purge(t, PurgeOptions{Dry: true}); p.Revisions != 1 {
			t.Errorf("stored afterwards: %+v, want what the later client had downloaded", p)
		}
	})
}
