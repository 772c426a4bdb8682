package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
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

// Anybody can make up patterns: their number is bounded.
func TestSweepSearches(t *testing.T) {
	ctx := context.Background()
	b := newBench(t, newFake(), func(o *Options, _ *space.Options) { o.Mode = Frozen })
	defer b.end(t)
	for i := range maxSearches + 3 {
		q := question[[]conan.Ref]{kind: kindSearch, key: fmt.Sprintf("i:%d", i)}
		store(ctx, b.Cache, q, document[[]conan.Ref]{Fetched: time.Unix(int64(i), 0)}, func() {})
	}
	if err := b.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"i:0": false, "i:2": false, "i:3": true, fmt.Sprintf("i:%d", maxSearches): true} {
		if _, err := b.index.Document(ctx, b.o.Member, kindSearch, key); (err == nil) != want {
			t.Errorf("%s: %v", key, err)
		}
	}
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
