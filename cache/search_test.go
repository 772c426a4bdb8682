package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/space"
)

func pattern(t *testing.T, text string) conan.Pattern {
	t.Helper()
	p, err := conan.ParsePattern(text, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		held := up.addRecipe(t, "zlib/1.3", "one", 100)
		up.addRecipe(t, "zlib/1.2", "two", 100)
		up.addRecipe(t, "boost/1.80", "three", 100)
		b := newBench(t, up, nil)
		defer b.end(t)
		b.read(t, held, conan.ManifestFile)
		type result struct {
			Refs  []string
			State conan.CacheState
			Err   bool
		}
		search := func(text string) result {
			t.Helper()
			var refs []conan.Ref
			origin, err := traced(t, func(ctx context.Context) (err error) {
				refs, err = b.Search(ctx, pattern(t, text))
				return err
			})
			if err != nil && !errors.Is(err, conan.ErrUnavailable) {
				t.Fatal(err)
			}
			r := result{State: origin.State, Err: err != nil}
			for _, ref := range refs {
				r.Refs = append(r.Refs, ref.String())
			}
			return r
		}
		check := func(what, text string, want result) {
			t.Helper()
			if diff := cmp.Diff(want, search(text)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		both := []string{"zlib/1.2", "zlib/1.3"}
		check("first", "zlib/*", result{Refs: both, State: conan.StateMiss})
		check("again", "zlib/*", result{Refs: both, State: conan.StateHit})
		check("no match", "qt/*", result{State: conan.StateMiss})
		check("no match again", "qt/*", result{State: conan.StateHit})
		if up.times("search") != 2 {
			t.Errorf("upstream searched %d times, want 2", up.times("search"))
		}
		time.Sleep(6 * time.Minute)
		up.set(func() { up.fail = down("503") })
		check("stale", "zlib/*", result{Refs: both, State: conan.StateStale})
		check("no match, stale", "qt/*", result{State: conan.StateStale})
		check("among what is held", "zl*", result{Refs: []string{"zlib/1.3"}, State: conan.StateStale})
		check("nothing known", "boost/*", result{Err: true})
	})
}

func TestPackages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		info := "[settings]\nos=Linux\n"
		pkg := up.addPackage(t, recipe, info, "lib", 200)
		want := []conan.Package{{ID: pkg.PackageID, Info: info}}
		b := newBench(t, up, nil)
		defer b.end(t)
		list := func(idsOnly bool, state conan.CacheState) {
			t.Helper()
			var got []conan.Package
			origin, err := traced(t, func(ctx context.Context) (err error) {
				got, err = b.Packages(ctx, recipe, idsOnly)
				return err
			})
			if diff := cmp.Diff(want, got); diff != "" || err != nil || origin.State != state {
				t.Errorf("%+v, %v, packages (-want +got):\n%s", origin, err, diff)
			}
		}
		list(true, conan.StateMiss)
		list(false, conan.StateHit)
		if up.times("packages") != 1 {
			t.Errorf("asked %d times, want one document for both", up.times("packages"))
		}
		b.read(t, pkg, conan.InfoFile)
		b.drop(context.Background(), kindPackages, recipe.String())
		up.set(func() { up.fail = down("503") })
		list(false, conan.StateStale)

		other := conan.Revision{Ref: recipe.Ref, RRev: "abc"}
		if _, err := b.Packages(context.Background(), other, false); !errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("unknown while upstream fails: %v", err)
		}
		up.set(func() { up.fail = nil })
		if _, err := b.Packages(context.Background(), other, false); !errors.Is(err, conan.ErrNotFound) {
			t.Errorf("unknown: %v", err)
		}
		if _, err := b.Packages(context.Background(), pkg, false); !errors.Is(err, conan.ErrInvalid) {
			t.Errorf("of a package: %v", err)
		}
	})
}

// A known recipe without binaries is not an unknown one, also when it is remembered.
func TestNoPackages(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	up.packages[recipe] = nil
	b := newBench(t, up, nil)
	defer b.end(t)
	for range 2 {
		if list, err := b.Packages(context.Background(), recipe, false); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
	}
	if up.times("packages") != 1 {
		t.Errorf("asked %d times", up.times("packages"))
	}
}

func TestSweepDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		up := newFake()
		held, other := up.addRecipe(t, "zlib/1.3", "one", 100), up.addRecipe(t, "zlib/1.2", "two", 100)
		b := newBench(t, up, nil)
		defer b.end(t)
		b.read(t, held, conan.RecipeFile)
		for _, rev := range []conan.Revision{held, other} {
			snapshotNames(t, b, rev)
			if _, err := b.Latest(ctx, rev); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Search(ctx, pattern(t, "zlib/*")); err != nil {
			t.Fatal(err)
		}
		kept := func() (out []string) {
			for _, d := range [][2]string{{kindRevisions, "zlib/1.3"}, {kindRevisions, "zlib/1.2"}, {kindFiles, held.String()},
				{kindFiles, other.String()}, {kindSearch, "i:zlib/*"}} {
				if _, err := b.index.Document(ctx, b.o.Member, d[0], d[1]); err == nil {
					out = append(out, d[0]+" "+d[1])
				}
			}
			return out
		}
		time.Sleep(25 * time.Hour)
		if err := b.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if got := kept(); len(got) != 5 {
			t.Errorf("too early, only left: %v", got)
		}
		time.Sleep(time.Hour + 6*time.Minute)
		if err := b.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{kindFiles + " " + held.String()}, kept()); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
	})
}

// Few answers may be large: their bytes are bounded too, and the oldest go first.
func TestBytesOfSearchesAreBounded(t *testing.T) {
	ctx := context.Background()
	up := newFake()
	up.addRecipe(t, "zlib/1.3", "one", 100)
	b := newBench(t, up, nil)
	defer b.end(t)
	large := make([]byte, maxSearchBytes/4)
	key := func(i int) string { return fmt.Sprintf("i:?lib/%d*", i) }
	for i := range 6 {
		if err := b.index.PutDocument(ctx, b.o.Member, kindSearch, key(i), index.Document{Body: large, Fetched: time.Unix(int64(i), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Search(ctx, pattern(t, "zlib/*")); err != nil {
		t.Fatal(err)
	}
	b.Cache.Close()
	// The new answer and three of a quarter of the bound each fit in.
	for i := range 6 {
		if _, err := b.index.Document(ctx, b.o.Member, kindSearch, key(i)); (err == nil) != (i >= 3) {
			t.Errorf("answer %d: %v", i, err)
		}
	}
	b.start(t, nil)
}

// Clients can make up any number of patterns: what their answers take in the index is bounded with
// each of them, and what was dropped is counted.
func TestSearchesAreBounded(t *testing.T) {
	ctx := context.Background()
	up := newFake()
	up.addRecipe(t, "zlib/1.3", "one", 100)
	reg := prometheus.NewRegistry()
	b := newBench(t, up, func(o *Options, _ *space.Options) { o.Mode, o.Metrics = Frozen, NewMetrics(reg) })
	defer b.end(t)
	key := func(i int) string { return fmt.Sprintf("i:?lib/%d*", i) }
	for i := range maxSearches {
		err := b.index.PutDocument(ctx, b.o.Member, kindSearch, key(i), index.Document{Body: []byte("[]"), Fetched: time.Unix(int64(i), 0)})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"zlib/*", "?lib/*", "???b/1.3"} {
		if refs, err := b.Search(ctx, pattern(t, text)); err != nil || len(refs) != 1 {
			t.Errorf("%s: %v, %v", text, refs, err)
		}
	}
	b.Cache.Close()
	for key, want := range map[string]bool{key(0): false, key(2): false, key(3): true, "i:zlib/*": true, "i:???b/1.3": true} {
		if _, err := b.index.Document(ctx, b.o.Member, kindSearch, key); (err == nil) != want {
			t.Errorf("%s: %v", key, err)
		}
	}
	if n := sum(t, reg, "conanproxy_cache_searches_dropped_total"); n != 3 {
		t.Errorf("%v dropped, want 3", n)
	}
	b.start(t, nil)
}

// Patterns of one meaning are one question, and a fresh answer to a wider pattern answers too.
func TestSearchesThatNeedNoQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		for _, name := range []string{"zlib/1.3", "zlib/1.2", "zstd/1.5", "boost/1.80"} {
			up.addRecipe(t, name, name, 100)
		}
		b := newBench(t, up, nil)
		defer b.end(t)
		asked := 0
		search := func(text string, more int, want ...string) {
			t.Helper()
			refs, err := b.Search(context.Background(), pattern(t, text))
			var got []string
			for _, r := range refs {
				got = append(got, r.String())
			}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s (-want +got):\n%s%v", text, diff, err)
			}
			asked += more
			if n := up.times("search"); n != asked {
				t.Errorf("after %s upstream was asked %d times, want %d", text, n, asked)
			}
		}
		search("*td/*", 1, "zstd/1.5")
		search("**td/***", 0, "zstd/1.5")
		search("*TD/*", 0, "zstd/1.5")
		search("zl*", 1, "zlib/1.2", "zlib/1.3")
		search("zlib/1.3", 0, "zlib/1.3")
		search("zlib*?*3", 0, "zlib/1.3")
		search("zlib/9*", 0)
		search("z*", 1, "zlib/1.2", "zlib/1.3", "zstd/1.5")
		search("?lib/*", 1, "zlib/1.2", "zlib/1.3")
		search("***", 1, "boost/1.80", "zlib/1.2", "zlib/1.3", "zstd/1.5")
		search("*o*", 0, "boost/1.80")
		search("", 0, "boost/1.80", "zlib/1.2", "zlib/1.3", "zstd/1.5")
		time.Sleep(6 * time.Minute)
		search("boost/*", 1, "boost/1.80") // no answer is fresh
	})
}

// Normalizing changes no meaning.
func TestNormalize(t *testing.T) {
	refs := []conan.Ref{ref("aa/1"), ref("ab/1.0"), ref("abb/1.0@user/channel"), ref("ba/1@user")}
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab1/*?*?[]@")), 0, 12, -1).Draw(rt, "text")
		p, err := conan.ParsePattern(text, rapid.Bool().Draw(rt, "ignore case"))
		if err != nil {
			rt.Skip()
		}
		n, err := normalize(p)
		if err != nil {
			rt.Fatal(err)
		}
		for _, r := range refs {
			if p.Match(r) != n.Match(r) {
				rt.Errorf("%q matches %s: %v; normalized, %q: %v", text, r, p.Match(r), n.String(), n.Match(r))
			}
		}
		again, err := normalize(n)
		if err != nil || again.String() != n.String() {
			rt.Errorf("%q, then %q: %v", n.String(), again.String(), err)
		}
	})
}

func TestParseKey(t *testing.T) {
	for _, rev := range []conan.Revision{
		{Ref: ref("zlib/1.3"), RRev: "aa"},
		{Ref: ref("zlib/1.3@user/channel"), RRev: "aa"},
		{Ref: ref("zlib/1.3@user"), RRev: "aa", PackageID: "bb", PRev: "cc"},
	} {
		got, err := parseKey(rev.String())
		if diff := cmp.Diff(rev, got); diff != "" || err != nil {
			t.Errorf("%s (-want +got):\n%s%v", rev, diff, err)
		}
	}
}
