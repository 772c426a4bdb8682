package cache

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/space"
)

func TestPrefetch(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	up.files[recipe]["metadata/log"] = []byte("log")
	b := newBench(t, up, nil)
	defer b.end(t)
	list := func(ctx context.Context) {
		t.Helper()
		if _, err := b.Snapshot(ctx, recipe); err != nil {
			t.Fatal(err)
		}
		b.running.Wait()
	}
	list(context.Background())
	if n := up.times("open"); n != 0 {
		t.Errorf("%d files were fetched for a client that only looks", n)
	}

	other := up.addRecipe(t, "zlib/1.4", "two", 100)
	recipe = other
	list(installing())
	for _, name := range []string{"conan_export.tgz", "conanfile.py", "conanmanifest.txt"} {
		if n := up.times("open " + recipe.String() + " " + name); n != 1 {
			t.Errorf("%s was fetched %d times", name, n)
		}
		b.read(t, recipe, name)
	}
	if n := up.times("open"); n != 3 {
		t.Errorf("upstream sent %d files, want 3: no sources, no metadata, nothing twice", n)
	}
	list(installing()) // answered from memory: nobody needs to hurry
	if n := up.times("open"); n != 3 {
		t.Errorf("upstream sent %d files after a hit", n)
	}
}

// Who is told which revision is the newest asks for its files next: they are asked for meanwhile,
// once.
func TestListAhead(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	pkg := up.addPackage(t, recipe, "[settings]\n", "a", 200)
	b := newBench(t, up, nil)
	defer b.end(t)
	latest := func(ctx context.Context, rev conan.Revision) {
		t.Helper()
		if _, err := b.Latest(ctx, rev); err != nil {
			t.Fatal(err)
		}
		b.running.Wait()
	}
	follows := installing()
	latest(context.Background(), pkg)
	if n := up.times("files"); n != 0 {
		t.Errorf("%d lists were asked for by one who only looks", n)
	}
	latest(follows, conan.Revision{Ref: recipe.Ref})
	if n := up.times("files " + recipe.String()); n != 1 {
		t.Errorf("the list was asked for %d times", n)
	}
	if n := up.times("open"); n != 0 {
		t.Errorf("%d files were fetched before anybody asked for the list", n)
	}
	latest(follows, conan.Revision{Ref: recipe.Ref}) // known
	if _, err := b.Snapshot(follows, recipe); err != nil {
		t.Fatal(err)
	}
	b.running.Wait()
	if n := up.times("files"); n != 1 {
		t.Errorf("lists were asked for %d times, want 1", n)
	}
	if n := up.times("open"); n != 3 {
		t.Errorf("upstream sent %d files after the list, want 3", n)
	}
}

// Prefetching leaves turns to those who wait for a file.
func TestPrefetchTakesNoTurns(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	b := newBench(t, up, func(o *Options, _ *space.Options) { o.MaxFills = 2 })
	defer b.end(t)
	if _, err := b.Snapshot(installing(), recipe); err != nil {
		t.Fatal(err)
	}
	b.running.Wait()
	if n := up.times("open"); n != 0 {
		t.Errorf("%d files were fetched although there are two turns", n)
	}
}

// A large file that nobody comes for is not fetched to its end.
func TestPrefetchIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		pkg, _ := large(t, up, 40<<20)
		open := make(chan struct{})
		up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
			return &gate{r: bytes.NewReader(content), left: 1 << 20, open: open, ctx: t.Context()}, int64(len(content))
		})
		b := newBench(t, up, nil)
		defer b.end(t)
		begin := time.Now()
		if _, err := b.Snapshot(installing(), pkg); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.settle()
		if took := time.Since(begin).Round(time.Second); took != grace {
			t.Errorf("it was fetched for %v, want %v", took, grace)
		}
		close(open)
		b.notStored(t, pkg, archive)
	})
}
