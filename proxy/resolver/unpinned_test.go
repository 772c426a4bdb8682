package resolver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func TestLatestRecipe(t *testing.T) {
	tests := []struct {
		name          string
		local, a, b   []string
		aDown, bDown  bool
		want, wantErr string
		wantState     conan.CacheState // of the whole trace, the worst
		wantA, wantB  int              // questions
	}{
		{name: "one upstream has it", a: []string{"zlib/1.3#r1@10"}, want: "r1@10", wantA: 1},
		{name: "the first in order has it", a: []string{"zlib/1.3#r1@10"}, b: []string{"zlib/1.3#r9@99"}, want: "r1@10", wantA: 1},
		{name: "only the second has it", b: []string{"zlib/1.3#r9@99"}, want: "r9@99", wantA: 1, wantB: 1},
		{name: "nobody has it", wantErr: "not found", wantA: 1, wantB: 1},
		{name: "the first is down", aDown: true, b: []string{"zlib/1.3#r9@99"}, wantErr: "unavailable a", wantA: 1},
		{name: "the second is down, the first has it", a: []string{"zlib/1.3#r1@10"}, bDown: true, want: "r1@10", wantA: 1},
		{name: "the second is down, the first has it not", bDown: true, wantErr: "unavailable b", wantA: 1, wantB: 1},

		{name: "own revision", local: []string{"zlib/1.3#r5@50"}, want: "r5@50", wantA: 1, wantB: 1},
		{name: "own revision, newer one upstream", local: []string{"zlib/1.3#r5@50"}, a: []string{"zlib/1.3#r9@99"}, want: "r5@50", wantA: 1, wantB: 1},
		{name: "own revision, upstreams down", local: []string{"zlib/1.3#r5@50"}, aDown: true, bDown: true, want: "r5@50", wantA: 1, wantB: 1},
		{
			name:  "upstream lists the own revision and a newer one",
			local: []string{"zlib/1.3#r1@50"}, a: []string{"zlib/1.3#r1@10", "zlib/1.3#r2@20"},
			want: "r2@20", wantA: 2, wantB: 1,
		},
		{
			name:  "upstream lists one of two own revisions",
			local: []string{"zlib/1.3#r1@50", "zlib/1.3#mine@60"}, a: []string{"zlib/1.3#r1@10", "zlib/1.3#r2@20"},
			want: "mine@60", wantA: 1, wantB: 1,
		},
		{
			name:  "an older revision copied here today is not the newest",
			local: []string{"zlib/1.3#r1@500*"}, a: []string{"zlib/1.3#r1@10", "zlib/1.3#r2@20"},
			want: "r2@20", wantA: 1,
		},
		{
			name:  "adopted after an own one was published",
			local: []string{"zlib/1.3#mine@60", "zlib/1.3#r2@70*"}, a: []string{"zlib/1.3#r2@20"},
			want: "mine@60", wantA: 1, wantB: 1,
		},
		{name: "adopted, upstream down", local: []string{"zlib/1.3#r1@10*"}, aDown: true, want: "r1@10", wantState: conan.StateStale, wantA: 1},
		{name: "adopted, upstream dropped it", local: []string{"zlib/1.3#r1@10*"}, want: "r1@10", wantA: 1, wantB: 1},
		{name: "nothing here, upstream down", aDown: true, wantErr: "unavailable a", wantA: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local, a, b := threeFakes(t, tt.local, tt.a, tt.b, tt.aDown, tt.bDown)
			var origin conan.Origin
			got, err := newReader(t, local, a, b).Latest(tracing(t, &origin), mustRevision(t, "zlib/1.3"))
			if word(err) != tt.wantErr {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if err == nil && show([]conan.RevisionTime{got}) != tt.want {
				t.Errorf("got %s, want %s", show([]conan.RevisionTime{got}), tt.want)
			}
			if len(a.asked()) != tt.wantA || len(b.asked()) != tt.wantB {
				t.Errorf("a was asked %v, b %v; want %d and %d questions", a.asked(), b.asked(), tt.wantA, tt.wantB)
			}
			if tt.wantState == conan.StateStale && origin.State != conan.StateStale {
				t.Errorf("not marked as stale: %+v", origin)
			}
			if tt.wantState == "" && origin.State == conan.StateStale {
				t.Errorf("marked as stale: %+v", origin)
			}
		})
	}
}

// An answer that rests on what upstreams said aside is remembered no longer than that is true.
func TestLatestRecipeExpiry(t *testing.T) {
	local, a := newFake(t, localName, "zlib/1.3#r5@50"), newFake(t, "a")
	reader := newReader(t, local, a, newFake(t, "b"))
	var calm conan.Origin
	if _, err := reader.Latest(tracing(t, &calm), mustRevision(t, "zlib/1.3")); err != nil {
		t.Fatal(err)
	}
	if got := calm.Expires; !got.Equal(conan.Forever) {
		t.Errorf("with a quick upstream: expires %v, want what the members said", got)
	}
	a.set(down("a"))
	var failing conan.Origin
	if _, err := reader.Latest(tracing(t, &failing), mustRevision(t, "zlib/1.3")); err != nil {
		t.Fatal(err)
	}
	if got := failing.Expires; !got.IsZero() {
		t.Errorf("with a failing upstream: expires %v, want never remembered", got)
	}
	for _, o := range []conan.Origin{calm, failing} {
		if o.Member != localName {
			t.Errorf("the local store answered, and %q is noted", o.Member)
		}
	}
}

func TestRevisions(t *testing.T) {
	tests := []struct {
		name        string
		rev         string
		local, a, b []string
		aDown       bool
		bDown       bool
		want        string
		wantErr     string
		wantStale   bool
	}{
		{
			name: "union, newest first", rev: "zlib/1.3",
			local: []string{"zlib/1.3#r3@30"}, a: []string{"zlib/1.3#r1@10", "zlib/1.3#r4@40"}, b: []string{"zlib/1.3#r2@20"},
			want: "r4@40 r3@30 r2@20 r1@10",
		},
		{
			name: "earliest time of a revision in several", rev: "zlib/1.3",
			local: []string{"zlib/1.3#r1@500*"}, a: []string{"zlib/1.3#r1@10", "zlib/1.3#r2@20"}, b: []string{"zlib/1.3#r1@700"},
			want: "r2@20 r1@10",
		},
		{
			name: "equal times keep the order of members", rev: "zlib/1.3",
			local: []string{"zlib/1.3#c@10"}, a: []string{"zlib/1.3#b@10"}, b: []string{"zlib/1.3#a@10"},
			want: "c@10 b@10 a@10",
		},
		{name: "nobody", rev: "zlib/1.3", wantErr: "not found"},
		{name: "first down", rev: "zlib/1.3", aDown: true, b: []string{"zlib/1.3#r2@20"}, wantErr: "unavailable a"},
		{name: "second down", rev: "zlib/1.3", a: []string{"zlib/1.3#r1@10"}, bDown: true, want: "r1@10", wantStale: true},
		{name: "second down and nothing in the first", rev: "zlib/1.3", bDown: true, wantErr: "unavailable b"},
		{name: "upstreams down, own here", rev: "zlib/1.3", local: []string{"zlib/1.3#r3@30"}, aDown: true, bDown: true, want: "r3@30", wantStale: true},
		{name: "upstreams down, adopted here", rev: "zlib/1.3", local: []string{"zlib/1.3#r3@30*"}, aDown: true, want: "r3@30", wantStale: true},
		{
			name: "package: union over all that know the recipe revision", rev: "zlib/1.3#r1:p1",
			local: []string{"zlib/1.3#r1@10*", "zlib/1.3#r1:p1#x3@30"}, a: []string{"zlib/1.3#r1@10", "zlib/1.3#r1:p1#x1@11"},
			b:    []string{"zlib/1.3#r1@10", "zlib/1.3#r1:p1#x1@5", "zlib/1.3#r1:p1#x2@12"},
			want: "x3@30 x2@12 x1@5",
		},
		{name: "package: nobody", rev: "zlib/1.3#r1:p1", a: []string{"zlib/1.3#r1@10"}, wantErr: "not found"},
		{name: "package: could not be told", rev: "zlib/1.3#r1:p1", bDown: true, wantErr: "unavailable b"},
		{name: "package: first down", rev: "zlib/1.3#r1:p1", aDown: true, b: []string{"zlib/1.3#r1:p1#x1@11"}, wantErr: "unavailable a"},
		{
			name: "package of an own recipe, upstreams down", rev: "zlib/1.3#r1:p1", local: []string{"zlib/1.3#r1@10", "zlib/1.3#r1:p1#x3@30"},
			aDown: true, bDown: true, want: "x3@30",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local, a, b := threeFakes(t, tt.local, tt.a, tt.b, tt.aDown, tt.bDown)
			var origin conan.Origin
			got, err := newReader(t, local, a, b).Revisions(tracing(t, &origin), mustRevision(t, tt.rev))
			if word(err) != tt.wantErr {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if show(got) != tt.want {
				t.Errorf("got %s, want %s", show(got), tt.want)
			}
			if (origin.State == conan.StateStale) != tt.wantStale {
				t.Errorf("stale: %+v, want %v", origin, tt.wantStale)
			}
		})
	}
}

func TestLatestPackage(t *testing.T) {
	tests := []struct {
		name          string
		local, a, b   []string
		aDown, bDown  bool
		want, wantErr string
		wantSource    string
		wantA         []string
	}{
		{
			name: "local first, although older", local: []string{"zlib/1.3#r1@1*", "zlib/1.3#r1:p1#mine@5"},
			a: []string{"zlib/1.3#r1:p1#x@50"}, want: "mine@5", wantSource: "local",
		},
		{
			name: "else the newest of all", a: []string{"zlib/1.3#r1:p1#x@50"}, b: []string{"zlib/1.3#r1:p1#y@60"},
			want: "y@60", wantSource: "b", wantA: []string{"Latest zlib/1.3#r1:p1"},
		},
		{
			name: "the newest is the first's", a: []string{"zlib/1.3#r1:p1#x@50"}, b: []string{"zlib/1.3#r1:p1#y@40"},
			want: "x@50", wantSource: "a", wantA: []string{"Latest zlib/1.3#r1:p1"},
		},
		{name: "nobody", wantErr: "not found", wantA: []string{"Latest zlib/1.3#r1:p1"}},
		{name: "first down", aDown: true, b: []string{"zlib/1.3#r1:p1#y@60"}, wantErr: "unavailable a", wantA: []string{"Latest zlib/1.3#r1:p1"}},
		{name: "second down", a: []string{"zlib/1.3#r1:p1#x@50"}, bDown: true, want: "x@50", wantSource: "a", wantA: []string{"Latest zlib/1.3#r1:p1"}},
		{name: "second down, first has it not", bDown: true, wantErr: "unavailable b", wantA: []string{"Latest zlib/1.3#r1:p1"}},
		{
			name: "recipe here and upstream, package only here", local: []string{"zlib/1.3#r1@1", "zlib/1.3#r1:p1#mine@5"},
			a: []string{"zlib/1.3#r1@1"}, want: "mine@5", wantSource: "local",
		},
		{
			name: "adopted recipe, package only upstream", local: []string{"zlib/1.3#r1@1*"},
			a: []string{"zlib/1.3#r1@1", "zlib/1.3#r1:p1#x@50"}, want: "x@50", wantSource: "a", wantA: []string{"Latest zlib/1.3#r1:p1"},
		},
		{
			name: "own recipe that upstream lists, package only upstream", local: []string{"zlib/1.3#r1@1"},
			a: []string{"zlib/1.3#r1@1", "zlib/1.3#r1:p1#x@50"}, want: "x@50", wantSource: "a",
			wantA: []string{"Revisions zlib/1.3", "Latest zlib/1.3#r1:p1"},
		},
		{
			name: "own recipe that upstream does not list is no question for it", local: []string{"zlib/1.3#r1@1"},
			a: []string{"zlib/1.3#r2@1", "zlib/1.3#r1:p1#x@50"}, wantErr: "not found", wantA: []string{"Revisions zlib/1.3"},
		},
		{
			name: "own recipe, upstreams down, package not built yet", local: []string{"zlib/1.3#r1@1"},
			aDown: true, bDown: true, wantErr: "not found", wantA: []string{"Revisions zlib/1.3"},
		},
		{
			name: "adopted recipe, upstream down, package not here", local: []string{"zlib/1.3#r1@1*"},
			aDown: true, wantErr: "unavailable a", wantA: []string{"Latest zlib/1.3#r1:p1"},
		},
		{
			name: "adopted recipe beside an own one, upstream down", local: []string{"zlib/1.3#r1@1*", "zlib/1.3#mine@2"},
			aDown: true, wantErr: "unavailable a", wantA: []string{"Latest zlib/1.3#r1:p1"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local, a, b := threeFakes(t, tt.local, tt.a, tt.b, tt.aDown, tt.bDown)
			var origin conan.Origin
			got, err := newReader(t, local, a, b).Latest(tracing(t, &origin), mustRevision(t, "zlib/1.3#r1:p1"))
			if word(err) != tt.wantErr {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if err == nil && show([]conan.RevisionTime{got}) != tt.want {
				t.Errorf("got %s, want %s", show([]conan.RevisionTime{got}), tt.want)
			}
			if tt.wantSource != "" && origin.Member != tt.wantSource {
				t.Errorf("the answer is of %q, want %q", origin.Member, tt.wantSource)
			}
			if diff := cmp.Diff(tt.wantA, a.asked()); diff != "" {
				t.Errorf("a was asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPackages(t *testing.T) {
	tests := []struct {
		name         string
		local, a, b  []string
		aDown, bDown bool
		want         []conan.Package
		wantErr      string
	}{
		{
			name:  "union by id, local first",
			local: []string{"zlib/1.3#r1@1*", "zlib/1.3#r1:p2#x@5"}, a: []string{"zlib/1.3#r1@1", "zlib/1.3#r1:p2#y@5", "zlib/1.3#r1:p3#y@5"},
			b:    []string{"zlib/1.3#r1@1", "zlib/1.3#r1:p1#z@5", "zlib/1.3#r1:p3#z@5"},
			want: []conan.Package{{ID: "p1", Info: "b"}, {ID: "p2", Info: "local"}, {ID: "p3", Info: "a"}},
		},
		{name: "known without binaries", a: []string{"zlib/1.3#r1@1"}, want: []conan.Package{}},
		{name: "unknown", wantErr: "not found"},
		{name: "known without binaries and one down", a: []string{"zlib/1.3#r1@1"}, bDown: true, wantErr: "unavailable b"},
		{name: "first down", aDown: true, b: []string{"zlib/1.3#r1@1", "zlib/1.3#r1:p1#z@5"}, wantErr: "unavailable a"},
		{name: "own, upstreams down", local: []string{"zlib/1.3#r1@1"}, aDown: true, bDown: true, want: []conan.Package{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local, a, b := threeFakes(t, tt.local, tt.a, tt.b, tt.aDown, tt.bDown)
			got, err := newReader(t, local, a, b).Packages(t.Context(), mustRevision(t, "zlib/1.3#r1"), false)
			if word(err) != tt.wantErr {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
		})
	}
}

// The mutable revision is another content in every member: its packages are not merged.
func TestMutableRecipe(t *testing.T) {
	a := newFake(t, "a", "zlib/1.3#0@1", "zlib/1.3#0:p1#0@2")
	b := newFake(t, "b", "zlib/1.3#0@9", "zlib/1.3#0:p1#0@9", "zlib/1.3#0:p2#0@9")
	reader := newReader(t, newFake(t, localName), a, b)
	got, err := reader.Packages(t.Context(), mustRevision(t, "zlib/1.3#0"), false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]conan.Package{{ID: "p1", Info: "a"}}, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if _, err := reader.Latest(t.Context(), mustRevision(t, "zlib/1.3#0:p2")); word(err) != "not found" {
		t.Errorf("a package of another content: error %v, want not found", err)
	}
	a.set(down("a"))
	for _, rev := range []string{"zlib/1.3#0:p1", "zlib/1.3#0:p2"} {
		if _, err := reader.Latest(t.Context(), mustRevision(t, rev)); word(err) != "unavailable a" {
			t.Errorf("%s with its member down: error %v, want unavailable a", rev, err)
		}
	}
}

func TestUnpinnedPackagesAreInvalid(t *testing.T) {
	reader := newReader(t, newFake(t, localName), newFake(t, "a"))
	_, err := reader.Packages(t.Context(), mustRevision(t, "zlib/1.3"), false)
	if !errors.Is(err, conan.ErrInvalid) {
		t.Errorf("Packages without a revision: error %v, want invalid", err)
	}
	if _, err := reader.Latest(t.Context(), mustRevision(t, "zlib/1.3:p1")); !errors.Is(err, conan.ErrInvalid) {
		t.Errorf("Latest of a package without a recipe revision: error %v, want invalid", err)
	}
}

// A failure of the local store is never taken for absence.
func TestLocalFailure(t *testing.T) {
	broken := errors.New("disk I/O error")
	for _, method := range []string{"OwnRevisions", "Latest", "Revisions", "Packages", "Search"} {
		t.Run(method, func(t *testing.T) {
			local, a := newFake(t, localName), newFake(t, "a")
			if method != "Latest" {
				a = newFake(t, "a", "zlib/1.3#r1@1", "zlib/1.3#r1:p1#x@2")
			}
			local.errOn[method] = broken
			reader := newReader(t, local, a)
			var err error
			switch method {
			case "OwnRevisions", "Latest":
				_, err = reader.Latest(t.Context(), mustRevision(t, "zlib/1.3"))
			case "Revisions":
				_, err = reader.Revisions(t.Context(), mustRevision(t, "zlib/1.3"))
			case "Packages":
				_, err = reader.Packages(t.Context(), mustRevision(t, "zlib/1.3#r1"), true)
			case "Search":
				_, err = reader.Search(t.Context(), conan.Pattern{})
			}
			if !errors.Is(err, broken) {
				t.Errorf("error %v, want the local store's", err)
			}
		})
	}
}

// What the local store owns does not wait for a slow upstream longer than its addTimeout, and
// after the first time not even that long.
func TestSlowUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local := newFake(t, localName, "zlib/1.3#r5@50", "zlib/1.3#r5:p1#x@51")
		a := newFake(t, "a", "zlib/1.3#r9@99")
		a.delay = time.Minute
		reader := newReader(t, local, a)
		took := func(ask func() error) time.Duration {
			t.Helper()
			start := time.Now()
			if err := ask(); err != nil {
				t.Error(err)
			}
			return time.Since(start)
		}
		latest := func() error {
			rt, err := reader.Latest(t.Context(), mustRevision(t, "zlib/1.3"))
			if err == nil && rt.ID != "r5" {
				t.Errorf("latest is %s, want r5", rt.ID)
			}
			return err
		}
		if got := took(latest); got != addTimeout {
			t.Errorf("the first question took %v, want %v", got, addTimeout)
		}
		if got := took(latest); got != degradedTimeout {
			t.Errorf("the second question took %v, want %v", got, degradedTimeout)
		}
		list := func() error {
			_, err := reader.Revisions(t.Context(), mustRevision(t, "zlib/1.3"))
			return err
		}
		if got := took(list); got != degradedTimeout {
			t.Errorf("the list took %v, want %v", got, degradedTimeout)
		}
		search := func() error {
			_, err := reader.Search(t.Context(), conan.Pattern{})
			return err
		}
		if got := took(search); got != searchTimeout {
			t.Errorf("the search took %v, want %v", got, searchTimeout)
		}
		time.Sleep(degradedFor)
		a.mu.Lock()
		a.delay = time.Second
		a.mu.Unlock()
		if got := took(latest); got != time.Second {
			t.Errorf("after a while the question took %v, want the upstream's second", got)
		}
	})
}

// What only an upstream can answer waits as long as the upstream takes.
func TestPatientWithTheOnlySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake(t, "a", "zlib/1.3#r9@99", "zlib/1.3#r9:p1#x@99")
		a.delay = 25 * time.Second
		reader := newReader(t, newFake(t, localName), a)
		if _, err := reader.Latest(t.Context(), mustRevision(t, "zlib/1.3")); err != nil {
			t.Errorf("Latest: %v", err)
		}
		if _, err := reader.Revisions(t.Context(), mustRevision(t, "zlib/1.3")); err != nil {
			t.Errorf("Revisions: %v", err)
		}
		if _, err := reader.Latest(t.Context(), mustRevision(t, "zlib/1.3#r9:p1")); err != nil {
			t.Errorf("Latest of a package: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := reader.Revisions(ctx, mustRevision(t, "zlib/1.3"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller who left: error %v, want the caller's own", err)
		}
	})
}

// Members of a merge are asked at once.
func TestMergeAsksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake(t, "a", "zlib/1.3#r1@1"), newFake(t, "b", "zlib/1.3#r2@2")
		a.delay, b.delay = 3*time.Second, 5*time.Second
		reader := newReader(t, newFake(t, localName), a, b)
		start := time.Now()
		got, err := reader.Revisions(t.Context(), mustRevision(t, "zlib/1.3"))
		if err != nil || show(got) != "r2@2 r1@1" {
			t.Errorf("got %s, %v", show(got), err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v, want the slower one's 5s", took)
		}
	})
}

func TestUpstreamsWith(t *testing.T) {
	local := newFake(t, localName, "zlib/1.3#r1@1", "zlib/1.3#r1:p1#x@2")
	a := newFake(t, "a", "zlib/1.3#r1@1", "zlib/1.3#r1:p1#x@2")
	b := newFake(t, "b", "zlib/1.3#r2@1")
	c := newFake(t, "c")
	c.set(down("c"))
	reader := newReader(t, local, a, b, c)
	tests := []struct {
		rev  string
		want []string
	}{
		{"zlib/1.3", []string{"a", "b"}},
		{"zlib/1.3#r1", []string{"a"}},
		{"zlib/1.3#r1:p1", []string{"a"}},
		{"zlib/1.3:p1", []string{"a"}},
		{"zlib/1.3#r1:p1#x", []string{"a"}},
		{"zlib/1.3#r1:p1#y", nil},
		{"zlib/1.4", nil},
	}
	for _, tt := range tests {
		t.Run(tt.rev, func(t *testing.T) {
			got := reader.UpstreamsWith(t.Context(), mustRevision(t, tt.rev))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("upstreams (-want +got):\n%s", diff)
			}
		})
	}
}
