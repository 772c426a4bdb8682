package cache

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/space"
)

func down(reason string) error {
	return &conan.UnavailableError{Member: "center", Reason: reason}
}

func latest(b *bench, rev conan.Revision) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := b.Latest(ctx, rev)
		return err
	}
}

// How answers age, with fresh_for 5m, not_found_for 1m, stale_for 1h.
func TestLatestOverTime(t *testing.T) {
	type step struct {
		after  time.Duration // since the step before
		fail   error         // of upstream from now on
		state  conan.CacheState
		age    time.Duration
		expiry time.Duration // from now
		err    error
		asked  int // how often upstream was asked for the list so far
	}
	cases := map[string]struct {
		known bool // whether upstream has the reference
		mode  Mode
		steps []step
	}{
		"known": {known: true, steps: []step{
			{state: conan.StateMiss, expiry: 5 * time.Minute, asked: 1},
			{after: time.Minute, state: conan.StateHit, age: time.Minute, expiry: 4 * time.Minute, asked: 1},
			{after: 4 * time.Minute, state: conan.StateMiss, expiry: 5 * time.Minute, asked: 2},
			{after: 6 * time.Minute, fail: down("503"), state: conan.StateStale, age: 6 * time.Minute, asked: 3},
			{after: 58 * time.Minute, fail: down("503"), state: conan.StateStale, age: 64 * time.Minute, asked: 4},
			{after: time.Minute, fail: down("503"), err: conan.ErrUnavailable, asked: 5},
			{after: time.Minute, state: conan.StateMiss, expiry: 5 * time.Minute, asked: 6},
		}},
		"absent": {steps: []step{
			{state: conan.StateMiss, expiry: time.Minute, err: conan.ErrNotFound, asked: 1},
			{after: 30 * time.Second, state: conan.StateHit, age: 30 * time.Second, expiry: 30 * time.Second, err: conan.ErrNotFound, asked: 1},
			{after: 30 * time.Second, state: conan.StateMiss, expiry: time.Minute, err: conan.ErrNotFound, asked: 2},
			{after: 2 * time.Minute, fail: down("503"), state: conan.StateStale, age: 2 * time.Minute, err: conan.ErrNotFound, asked: 3},
			{after: time.Hour, fail: down("503"), err: conan.ErrUnavailable, asked: 4},
		}},
		"failing from the start": {known: true, steps: []step{
			{fail: down("503"), err: conan.ErrUnavailable, asked: 1},
			{fail: conan.ErrDenied, err: conan.ErrUnavailable, asked: 2},
			{fail: errors.New("html"), err: conan.ErrUnavailable, asked: 3},
			{state: conan.StateMiss, expiry: 5 * time.Minute, asked: 4},
		}},
		"frozen": {known: true, mode: Frozen, steps: []step{
			{state: conan.StateMiss, expiry: 5 * time.Minute, asked: 1},
			{after: 100 * time.Hour, fail: down("503"), state: conan.StateHit, age: 100 * time.Hour, expiry: 5 * time.Minute, asked: 1},
		}},
		"frozen, absent": {mode: Frozen, steps: []step{
			{state: conan.StateMiss, expiry: time.Minute, err: conan.ErrNotFound, asked: 1},
			{after: 100 * time.Hour, state: conan.StateHit, age: 100 * time.Hour, expiry: time.Minute, err: conan.ErrNotFound, asked: 1},
		}},
		"offline": {known: true, mode: Offline, steps: []step{
			{err: conan.ErrUnavailable},
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFake()
				rev := conan.Revision{Ref: ref("zlib/1.3")}
				if c.known {
					up.addRecipe(t, "zlib/1.3", "int a;", 100)
				}
				b := newBench(t, up, func(o *Options, _ *space.Options) { o.Mode = c.mode })
				defer b.end(t)
				for i, s := range c.steps {
					time.Sleep(s.after)
					up.set(func() { up.fail = s.fail })
					origin, err := traced(t, latest(b, rev))
					if !errors.Is(err, s.err) || (s.err == nil) != (err == nil) {
						t.Fatalf("step %d: error %v, want %v", i, err, s.err)
					}
					if errors.Is(err, conan.ErrDenied) || errors.Is(err, conan.ErrNotFetched) {
						t.Errorf("step %d: %v must not look like another failure", i, err)
					}
					want := conan.Origin{}
					if s.state != "" {
						want = conan.Origin{Member: "center", State: s.state, Age: s.age}
					}
					switch s.state {
					case conan.StateStale:
						want.Reason = "503"
					case conan.StateHit, conan.StateMiss:
						want.Expires = time.Now().Add(s.expiry)
					}
					if diff := cmp.Diff(want, origin); diff != "" {
						t.Errorf("step %d: origin (-want +got):\n%s", i, diff)
					}
					if got := up.times("revisions"); got != s.asked {
						t.Errorf("step %d: asked %d times, want %d", i, got, s.asked)
					}
				}
			})
		})
	}
}

// Answers outlive the process: offline mode lives on them however old they are.
func TestRememberedAcrossRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "int a;", 100)
		b := newBench(t, up, nil)
		defer b.end(t)
		rev := conan.Revision{Ref: recipe.Ref}
		want, err := b.Latest(context.Background(), rev)
		if err != nil {
			t.Fatal(err)
		}
		b.Cache.Close()
		time.Sleep(100 * time.Hour)
		b.start(t, func(o *Options, _ *space.Options) { o.Mode, o.Remote = Offline, nil })
		var got conan.RevisionTime
		origin, err := traced(t, func(ctx context.Context) (err error) {
			got, err = b.Latest(ctx, rev)
			return err
		})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("latest (-want +got):\n%s%v", diff, err)
		}
		if origin.State != conan.StateStale || origin.Age != 100*time.Hour || origin.Reason == "" {
			t.Errorf("origin %+v", origin)
		}
		// What was never fetched is not absent.
		if _, err := b.Latest(context.Background(), conan.Revision{Ref: ref("other/1.0")}); !errors.Is(err, conan.ErrUnavailable) || errors.Is(err, conan.ErrNotFound) {
			t.Errorf("unknown reference offline: %v", err)
		}
	})
}

func TestOneFlightForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		up.addRecipe(t, "zlib/1.3", "int a;", 100)
		up.delay = time.Second
		b := newBench(t, up, nil)
		defer b.end(t)
		known, absent := conan.Revision{Ref: ref("zlib/1.3")}, conan.Revision{Ref: ref("zlib/1.4")}

		// The first one leaves before the answer is there.
		impatient, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := b.Latest(impatient, known); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient client: %v", err)
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, err := b.Latest(context.Background(), known); err != nil {
					t.Errorf("known: %v", err)
				}
				if _, err := b.Revisions(context.Background(), absent); !errors.Is(err, conan.ErrNotFound) {
					t.Errorf("absent: %v", err)
				}
			})
		}
		all.Wait()
		if got := up.times("revisions"); got != 2 {
			t.Errorf("upstream was asked %d times, want 2", got)
		}
	})
}

// An index that is slow to write keeps nobody waiting who asked, and nobody asks upstream again
// meanwhile.
func TestAnswersBeforeTheyAreWritten(t *testing.T) {
	ctx := context.Background()
	up := newFake()
	up.addRecipe(t, "zlib/1.3", "int a;", 100)
	b := newBench(t, up, nil)
	defer b.end(t)
	other, err := sql.Open("sqlite", b.dir+"/index.db")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	writer, err := other.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil { // nobody else writes now
		t.Fatal(err)
	}
	rev := conan.Revision{Ref: ref("zlib/1.3")}
	for range 2 {
		if _, err := b.Latest(ctx, rev); err != nil {
			t.Error(err)
		}
	}
	if rows, err := b.index.SurplusDocuments(ctx, b.o.Member, kindRevisions, 0, 0); err != nil || len(rows) != 0 {
		t.Errorf("the index has %v already, %v", rows, err)
	}
	if _, err := writer.ExecContext(ctx, `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	b.Cache.Close() // waits for what is under way
	b.start(t, nil)
	if _, err := b.Latest(ctx, rev); err != nil {
		t.Error(err)
	}
	if got := up.times("revisions"); got != 1 {
		t.Errorf("upstream was asked %d times, want once", got)
	}
}

// An upstream that is slower than usual does not keep a client waiting that can have a stale
// answer, and the next ones do not wait at all; the question goes on and is answered once. Once
// upstream answers again, in its own time, clients get its answer.
func TestSlowUpstream(t *testing.T) {
	for usual, timeout := range map[time.Duration]time.Duration{
		0:               minTimeout,
		time.Second:     4 * time.Second,
		9 * time.Second: maxTimeout,
	} {
		t.Run(usual.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFake()
				recipe := up.addRecipe(t, "zlib/1.3", "int a;", 100)
				up.delay = usual
				b := newBench(t, up, nil)
				defer b.end(t)
				rev := conan.Revision{Ref: recipe.Ref}
				ask := func() (conan.Origin, time.Duration) {
					start := time.Now()
					origin, err := traced(t, latest(b, rev))
					if err != nil {
						t.Fatal(err)
					}
					return origin, time.Since(start)
				}
				ask()
				time.Sleep(10 * time.Minute)
				up.set(func() { up.delay = time.Minute })
				for i, want := range []time.Duration{timeout, 0, 0} {
					if origin, took := ask(); origin.State != conan.StateStale || took != want || origin.Reason != "it did not answer in time" {
						t.Errorf("question %d: after %v, want %v: %+v", i, took, want, origin)
					}
				}
				time.Sleep(time.Minute)
				if origin, took := ask(); origin.State != conan.StateHit || took != 0 {
					t.Errorf("after the slow answer, in %v: %+v", took, origin)
				}
				if got := up.times("revisions"); got != 2 {
					t.Errorf("upstream was asked %d times, want 2", got)
				}
				time.Sleep(10 * time.Minute)
				up.set(func() { up.delay = usual })
				if origin, took := ask(); origin.State != conan.StateMiss || took != usual {
					t.Errorf("after upstream is as usual again, in %v: %+v", took, origin)
				}
			})
		})
	}
}

// After a start nothing is known of upstream's speed, but a probe tells whether it answers: beside
// a silent upstream the first client that can have a stale answer does not wait either, and one of
// an upstream that answers gets a new answer.
func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		delay time.Duration // of upstream
		after time.Duration // when the first client comes
		took  time.Duration
		state conan.CacheState
	}{
		"silent":                  {time.Minute, time.Second, 0, conan.StateStale},
		"silent, client at once":  {time.Minute, 0, minTimeout, conan.StateStale},
		"healthy":                 {100 * time.Millisecond, time.Second, 100 * time.Millisecond, conan.StateMiss},
		"healthy, client at once": {100 * time.Millisecond, 0, 100 * time.Millisecond, conan.StateMiss},
		"far away":                {400 * time.Millisecond, time.Second, 400 * time.Millisecond, conan.StateMiss},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFake()
				rev := conan.Revision{Ref: up.addRecipe(t, "zlib/1.3", "int a;", 100).Ref}
				b := newBench(t, up, nil)
				defer b.end(t)
				if _, err := b.Latest(context.Background(), rev); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				b.Close()
				up.set(func() { up.delay = c.delay })
				b.start(t, nil)
				var probe sync.WaitGroup
				probe.Go(b.Probe)
				time.Sleep(c.after)
				begun := time.Now()
				origin, err := traced(t, latest(b, rev))
				if took := time.Since(begun); err != nil || took != c.took || origin.State != c.state {
					t.Errorf("after %v: %+v, %v", took, origin, err)
				}
				probe.Wait()
			})
		})
	}
}

// The newest revision is the newest of what upstream's two answers tell, as a client that asks
// upstream itself gets it or a newer one; the list agrees with it.
func TestNewestOfTwoAnswers(t *testing.T) {
	at := func(id string, seconds int64) conan.RevisionTime {
		return conan.RevisionTime{ID: id, Time: time.Unix(seconds, 0).UTC()}
	}
	one, two, three := at("a1", 100), at("a2", 200), at("a3", 300)
	refused := &conan.UnavailableError{Member: "center", Reason: "no route", Refused: true}
	for name, c := range map[string]struct {
		list      []conan.RevisionTime
		latest    conan.RevisionTime
		latestErr error
		want      []conan.RevisionTime
		wantErr   error
	}{
		"agree":                 {list: []conan.RevisionTime{two, one}, latest: two, want: []conan.RevisionTime{two, one}},
		"the list is older":     {list: []conan.RevisionTime{two, one}, latest: three, want: []conan.RevisionTime{three, two, one}},
		"the latest is older":   {list: []conan.RevisionTime{three, two, one}, latest: two, want: []conan.RevisionTime{three, two, one}},
		"unsorted":              {list: []conan.RevisionTime{one, three, two}, latest: three, want: []conan.RevisionTime{three, two, one}},
		"same time":             {list: []conan.RevisionTime{at("a9", 200), one}, latest: two, want: []conan.RevisionTime{two, at("a9", 200), one}},
		"no list":               {latest: two, want: []conan.RevisionTime{two}},
		"no latest":             {list: []conan.RevisionTime{two, one}, latestErr: conan.ErrNotFound, wantErr: conan.ErrNotFound},
		"the latest is refused": {list: []conan.RevisionTime{two, one}, latestErr: refused, want: []conan.RevisionTime{two, one}},
		"the latest fails":      {list: []conan.RevisionTime{two, one}, latestErr: down("500"), want: []conan.RevisionTime{two, one}},
		"no list, latest fails": {latestErr: down("500"), wantErr: conan.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			up := newFake()
			rev := conan.Revision{Ref: ref("zlib/1.3")}
			up.lists[rev.String()] = c.list
			up.latest = func(conan.Revision) (conan.RevisionTime, error) { return c.latest, c.latestErr }
			b := newBench(t, up, nil)
			defer b.end(t)
			got, err := b.Revisions(context.Background(), rev)
			if diff := cmp.Diff(c.want, got); diff != "" || !errors.Is(err, c.wantErr) {
				t.Errorf("revisions (-want +got):\n%s%v", diff, err)
			}
			newest, err := b.Latest(context.Background(), rev)
			if c.wantErr == nil && newest != c.want[0] || !errors.Is(err, c.wantErr) {
				t.Errorf("latest %v, %v", newest, err)
			}
		})
	}
}

// The list is upstream's; what it dropped is listed on while the cache can serve it, but is never
// the latest.
func TestDroppedRevisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		first := up.addRecipe(t, "zlib/1.3", "one", 100)
		second := up.addRecipe(t, "zlib/1.3", "two", 200)
		third := up.addRecipe(t, "zlib/1.3", "three", 300)
		fourth := up.addRecipe(t, "zlib/1.3", "four", 400)
		b := newBench(t, up, nil)
		defer b.end(t)
		unpinned := conan.Revision{Ref: first.Ref}
		ids := func() (latest string, all []string) {
			t.Helper()
			l, err := b.Latest(context.Background(), unpinned)
			if err != nil && !errors.Is(err, conan.ErrNotFound) {
				t.Fatal(err)
			}
			list, err := b.Revisions(context.Background(), unpinned)
			if err != nil && !errors.Is(err, conan.ErrNotFound) {
				t.Fatal(err)
			}
			for _, r := range list {
				all = append(all, r.ID)
			}
			return l.ID, all
		}
		check := func(what, wantLatest string, wantAll ...string) {
			t.Helper()
			latest, all := ids()
			if latest != wantLatest {
				t.Errorf("%s: latest %s, want %s", what, latest, wantLatest)
			}
			if diff := cmp.Diff(wantAll, all); diff != "" {
				t.Errorf("%s: revisions (-want +got):\n%s", what, diff)
			}
		}
		check("at first", fourth.RRev, fourth.RRev, third.RRev, second.RRev, first.RRev)

		for _, rev := range []conan.Revision{first, fourth} {
			for _, name := range []string{conan.ManifestFile, conan.RecipeFile, "conan_export.tgz"} {
				b.read(t, rev, name)
			}
		}
		b.read(t, second, conan.ManifestFile) // not enough to install
		for _, rev := range []conan.Revision{first, second, fourth} {
			up.remove(rev)
		}
		time.Sleep(10 * time.Minute)
		check("after upstream dropped three", third.RRev, third.RRev, fourth.RRev, first.RRev)
		check("once more", third.RRev, third.RRev, fourth.RRev, first.RRev)

		up.remove(third)
		time.Sleep(10 * time.Minute)
		check("after upstream dropped all", "")

		// A pinned one that is stored is served on; what is not stored is not found.
		list, err := b.Snapshot(context.Background(), fourth)
		if err != nil || len(list) != 3 {
			t.Errorf("files of a dropped revision: %v, %v", list, err)
		}
		b.read(t, fourth, conan.RecipeFile)
		if _, err := readAll(context.Background(), b.Cache, fourth, "conan_sources.tgz"); !errors.Is(err, conan.ErrNotFound) {
			t.Errorf("a file that was listed but is gone: %v", err)
		}
		if _, err := b.Snapshot(context.Background(), second); !errors.Is(err, conan.ErrNotFound) {
			t.Errorf("files of a dropped revision that cannot be served: %v", err)
		}
		row, err := b.index.Find(context.Background(), b.o.Member, fourth)
		if err != nil || row.Time.Unix() != 400 {
			t.Errorf("a stored revision has time %v, want upstream's (%v)", row.Time, err)
		}
	})
}

// A package of a recipe revision that upstream dropped stays the latest of its id, for those who
// pinned the recipe; one that upstream dropped from a recipe revision it still has does not.
func TestLatestPackageOfDroppedRecipe(t *testing.T) {
	for name, dropRecipe := range map[string]bool{"recipe and package dropped": true, "package dropped": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFake()
				recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
				pkg := up.addPackage(t, recipe, "[settings]\nos=Linux\n", "lib", 200)
				up.addRecipe(t, "zlib/1.3", "two", 300)
				b := newBench(t, up, nil)
				defer b.end(t)
				for _, file := range []string{conan.ManifestFile, conan.InfoFile, "conan_package.tgz"} {
					b.read(t, pkg, file)
				}
				if dropRecipe {
					up.remove(recipe)
				}
				up.remove(pkg)
				time.Sleep(10 * time.Minute)

				unpinned := pkg
				unpinned.PRev = ""
				got, err := b.Latest(context.Background(), unpinned)
				switch {
				case dropRecipe && (err != nil || got.ID != pkg.PRev):
					t.Errorf("latest package of a dropped recipe: %v, %v, want %s", got, err, pkg.PRev)
				case !dropRecipe && !errors.Is(err, conan.ErrNotFound):
					t.Errorf("latest of a package that upstream dropped: %v, %v, want not found", got, err)
				}
			})
		})
	}
}

// While upstream fails, a package id that its list of binaries lacks is known to be absent.
func TestAbsentByPackageList(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	pkg := up.addPackage(t, recipe, "[settings]\nos=Linux\n", "lib", 200)
	b := newBench(t, up, nil)
	defer b.end(t)
	if _, err := b.Packages(context.Background(), recipe, true); err != nil {
		t.Fatal(err)
	}
	up.set(func() { up.fail = down("503") })
	other := recipe
	other.PackageID = strings.Repeat("0", 40)
	if _, err := b.Latest(context.Background(), other); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("a package id that is not listed: %v", err)
	}
	pkg.PRev = ""
	if _, err := b.Latest(context.Background(), pkg); !errors.Is(err, conan.ErrUnavailable) {
		t.Errorf("a package id that is listed: %v", err)
	}
}

func TestPackageOfUnnamedRecipe(t *testing.T) {
	b := newBench(t, newFake(), nil)
	defer b.end(t)
	rev := conan.Revision{Ref: ref("zlib/1.3"), PackageID: strings.Repeat("0", 40)}
	if _, err := b.Latest(context.Background(), rev); !errors.Is(err, conan.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
}

// Each revision is kept with the last answer that lacked it, also over a restart: a list without
// it, a "not found", or a list of binaries without its package id. What the first answer has, has
// none.
func TestSinceTheAnswerThatLackedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		up := newFake()
		first := up.addRecipe(t, "zlib/1.3", "int a;", 100)
		b := newBench(t, up, nil)
		defer b.end(t)
		since := func(rev conan.Revision) time.Time {
			t.Helper()
			list, err := b.Revisions(ctx, rev.With(""))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if r.ID == rev.ID() {
					return r.Since
				}
			}
			t.Fatalf("%s is not listed", rev)
			return time.Time{}
		}
		asked := time.Now().UTC()
		if got := since(first); !got.IsZero() {
			t.Errorf("of the first answer: %v", got)
		}
		if _, err := b.Packages(ctx, first, true); err != nil && !errors.Is(err, conan.ErrNotFound) {
			t.Fatal(err)
		}
		up.setPackage(first, conan.Package{ID: "other"})
		time.Sleep(10 * time.Minute)
		packagesAsked := time.Now().UTC()
		if _, err := b.Packages(ctx, first, true); err != nil {
			t.Fatal(err)
		}
		second := up.addRecipe(t, "zlib/1.3", "int b;", 50) // by its time it is older
		if got := since(second); !got.Equal(asked) {
			t.Errorf("of a later revision: %v, want %v", got, asked)
		}
		b.Cache.Close()
		b.start(t, nil)
		time.Sleep(10 * time.Minute)
		if got := since(second); !got.Equal(asked) {
			t.Errorf("after a restart: %v, want %v", got, asked)
		}
		lib := up.addPackage(t, first, "[settings]\n", "lib", 50)
		if got := since(lib); !got.Equal(packagesAsked) {
			t.Errorf("of a package that was not listed: %v, want %v", got, packagesAsked)
		}
		absent := conan.Revision{Ref: ref("boost/1.0")}
		notFound := time.Now().UTC()
		if _, err := b.Revisions(ctx, absent); !errors.Is(err, conan.ErrNotFound) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if got := since(up.addRecipe(t, "boost/1.0", "int c;", 50)); !got.Equal(notFound) {
			t.Errorf("of what was not found: %v, want %v", got, notFound)
		}
	})
}

// A revision without a time is judged by when it was first listed.
func TestSinceWithoutATime(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	list := revisionList{Listed: []conan.RevisionTime{{ID: "a"}}}.after(revisionList{}, now)
	again := revisionList{Listed: []conan.RevisionTime{{ID: "a"}}}.after(list, now.Add(time.Hour)).Listed
	if !again[0].Appeared().Equal(now) {
		t.Errorf("it appeared at %v, want %v", again[0].Appeared(), now)
	}
}

// An answer without upstream's own list is none that lacked the other revisions, whether it is the
// first or replaces a list.
func TestNewestAloneIsNoList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(id string, seconds int64) conan.RevisionTime {
			return conan.RevisionTime{ID: id, Time: time.Unix(seconds, 0).UTC()}
		}
		old, newest, later := at("a1", 100), at("a2", 200), at("a3", 50)
		up := newFake()
		rev := conan.Revision{Ref: ref("zlib/1.3")}
		up.latest = func(conan.Revision) (conan.RevisionTime, error) { return newest, nil }
		b := newBench(t, up, nil)
		defer b.end(t)
		check := func(what string, upstream []conan.RevisionTime, want ...conan.RevisionTime) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			up.set(func() { up.lists[rev.String()] = upstream })
			got, err := b.Revisions(context.Background(), rev)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
			}
		}
		check("the first answer", nil, newest)
		check("the first list", []conan.RevisionTime{newest, old}, newest, old)
		listed := time.Now().UTC()
		check("the list fails", nil, newest)
		later.Since = listed
		check("the list is back", []conan.RevisionTime{newest, old, later}, newest, old, later)
	})
}

// A revision that leaves upstream's list keeps the last answer that lacked it before, while it is
// served from the cache and when it comes back: taking it back does not make it old.
func TestSinceOutlivesTheRevisionInTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		first := up.addRecipe(t, "zlib/1.3", "int a;", 100)
		b := newBench(t, up, nil)
		defer b.end(t)
		asked := time.Now().UTC()
		unpinned := conan.Revision{Ref: first.Ref}
		if _, err := b.Latest(context.Background(), unpinned); err != nil {
			t.Fatal(err)
		}
		backdated := up.addRecipe(t, "zlib/1.3", "int b;", 50)
		check := func(what string, dropped bool) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			list, err := b.Revisions(context.Background(), unpinned)
			i := slices.IndexFunc(list, func(r conan.RevisionTime) bool { return r.ID == backdated.RRev })
			want := conan.RevisionTime{ID: backdated.RRev, Time: time.Unix(50, 0).UTC(), Since: asked, Dropped: dropped}
			if err != nil || i < 0 || list[i] != want {
				t.Errorf("%s: %v, %v; want %v", what, list, err, want)
			}
		}
		check("listed", false)
		for _, name := range []string{conan.ManifestFile, conan.RecipeFile, "conan_export.tgz"} {
			b.read(t, backdated, name)
		}
		var all []conan.RevisionTime
		up.set(func() {
			all = up.lists[unpinned.String()]
			up.lists[unpinned.String()] = slices.DeleteFunc(slices.Clone(all), func(r conan.RevisionTime) bool { return r.ID == backdated.RRev })
		})
		check("taken back", true)
		check("one answer later", true)
		b.Cache.Close()
		b.start(t, nil)
		check("after a restart", true)
		up.set(func() { up.lists[unpinned.String()] = all })
		check("listed again", false)
	})
}
