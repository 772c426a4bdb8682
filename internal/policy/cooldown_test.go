package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

const minAge = 168 * time.Hour

// now is the time of the tests: an hour after the last set without a time of its own was published.
var now = conantest.DefaultTime.Add(1000 * time.Hour)

func ago(d time.Duration) conantest.Option { return conantest.Published(now.Add(-d)) }

// counting counts the lists that are asked for, and has a Since for some revisions.
type counting struct {
	conan.Source
	asked atomic.Int32
	since map[string]time.Time

	dropped string // the revision that is listed as such
}

func (s *counting) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	a, err := s.Source.Latest(ctx, rev)
	a.Value.Since = s.since[a.Value.ID]
	return a, err
}

func (s *counting) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	s.asked.Add(1)
	a, err := s.Source.Revisions(ctx, rev)
	for i := range a.Value {
		a.Value[i].Since = s.since[a.Value[i].ID]
		a.Value[i].Dropped = a.Value[i].ID == s.dropped
	}
	return a, err
}

// coolDown makes a cool-down over sets, and a clock that can be moved.
func coolDown(o CoolDownOptions, since map[string]time.Time, sets ...conantest.Set) (*CoolDown, *counting, *time.Time) {
	clock := now
	source := &counting{Source: conantest.NewSource("up", conan.StateHit, sets...), since: since}
	o.Member, o.MinAge, o.Now = "up", minAge, func() time.Time { return clock }
	return NewCoolDown(source, o), source, &clock
}

// A cool-down that all revisions have passed changes nothing.
func TestCoolDownIsASource(t *testing.T) {
	conantest.TestSource(t, func(t *testing.T, sets ...conantest.Set) conan.Source {
		c, _, _ := coolDown(CoolDownOptions{}, nil, sets...)
		return c
	})
}

func TestCoolDownGivesTheNewestMatureRevision(t *testing.T) {
	old := conantest.Recipe("zlib", "1.3", ago(200*time.Hour))
	young := conantest.Recipe("zlib", "1.3", ago(time.Hour), conantest.Code("# young"))
	c, _, clock := coolDown(CoolDownOptions{}, nil, old, young)
	rev := conan.Revision{Ref: old.Ref}
	latest, err := c.Latest(t.Context(), rev)
	if err != nil || latest.Value.ID != old.RRev {
		t.Errorf("latest: %v, %v; want %s", latest.Value, err, old.RRev)
	}
	mature := young.Time.Add(minAge)
	if !latest.Origin.Expires.Equal(mature) {
		t.Errorf("the answer expires at %v, want %v", latest.Origin.Expires, mature)
	}
	list, err := c.Revisions(t.Context(), rev)
	why := &conan.HiddenError{Member: "up", Until: mature, Reason: "it is younger than 168h0m0s and becomes available at " + minute(mature) +
		" (setting min_age); the server's administrator can except it"}
	want := []conan.RevisionTime{{ID: old.RRev, Time: old.Time}, {ID: young.RRev, Time: young.Time, Hidden: true, Why: why}}
	if diff := cmp.Diff(want, list.Value); diff != "" || err != nil {
		t.Errorf("revisions: %v (-want +got)\n%s", err, diff)
	}
	if _, err := c.Snapshot(t.Context(), old.Revision); err != nil {
		t.Errorf("files of the old one: %v", err)
	}
	*clock = mature.Add(-time.Microsecond)
	if latest, _ := c.Latest(t.Context(), rev); latest.Value.ID != old.RRev {
		t.Errorf("just before: %v", latest.Value)
	}
	*clock = mature
	if latest, err := c.Latest(t.Context(), rev); err != nil || latest.Value.ID != young.RRev {
		t.Errorf("at its time: %v, %v", latest.Value, err)
	}
	if _, err := c.Snapshot(t.Context(), young.Revision); err != nil {
		t.Errorf("files at its time: %v", err)
	}
}

func TestCoolDownOfPinnedRevisions(t *testing.T) {
	young := conantest.Recipe("zlib", "1.3", ago(time.Hour))
	for name, tc := range map[string]struct {
		options CoolDownOptions
		since   map[string]time.Time
		refused bool
	}{
		"refused":  {refused: true},
		"allowed":  {options: CoolDownOptions{AllowPinned: true}},
		"excepted": {options: CoolDownOptions{Except: globs(t, "zlib/*")}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := coolDown(tc.options, tc.since, young)
			_, files := c.Snapshot(t.Context(), young.Revision)
			_, file := c.Open(t.Context(), young.Revision, conan.RecipeFile)
			for _, err := range []error{files, file} {
				var hidden *conan.HiddenError
				if errors.As(err, &hidden) != tc.refused || !tc.refused && err != nil {
					t.Errorf("error %v", err)
				}
				if tc.refused && (!strings.Contains(err.Error(), `"up"`) || !strings.Contains(err.Error(), young.Time.Add(minAge).Format("2006-01-02"))) {
					t.Errorf("the sentence lacks the upstream or the date: %v", err)
				}
				if conan.IsAbsent(err) {
					t.Errorf("it looks absent: %v", err)
				}
			}
		})
	}
}

// What an upstream has taken back is not the newest while it lists other revisions.
func TestCoolDownPassesDroppedRevisionsOver(t *testing.T) {
	old := conantest.Recipe("zlib", "1.3", ago(200*time.Hour))
	young := conantest.Recipe("zlib", "1.3", ago(time.Hour), conantest.Code("# young"))
	c, source, _ := coolDown(CoolDownOptions{}, nil, old, young)
	source.dropped = old.RRev
	if a, err := c.Latest(t.Context(), conan.Revision{Ref: old.Ref}); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("latest: %v, %v", a.Value, err)
	}
	if _, err := c.Snapshot(t.Context(), old.Revision); err != nil {
		t.Errorf("a client that names it: %v", err)
	}
}

func globs(t *testing.T, patterns ...string) Globs {
	t.Helper()
	g, err := ParseGlobs("test", patterns)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Upstream's clock cannot make a revision old that an answer lacked.
func TestCoolDownCountsFromTheAnswerThatLackedIt(t *testing.T) {
	set := conantest.Recipe("zlib", "1.3", ago(1000*time.Hour))
	c, _, _ := coolDown(CoolDownOptions{}, map[string]time.Time{set.RRev: now.Add(-time.Hour)}, set)
	if a, err := c.Latest(t.Context(), conan.Revision{Ref: set.Ref}); !errors.Is(err, conan.ErrNotFound) || !a.Origin.Expires.Equal(now.Add(minAge-time.Hour)) {
		t.Errorf("latest: %+v, %v; want not found for a time", a, err)
	}
}

func TestCoolDownOfSearchesAndPackages(t *testing.T) {
	old := conantest.Recipe("zlib", "1.9", ago(500*time.Hour))
	oldLib := conantest.Package(old, ago(400*time.Hour))
	newLib := conantest.Package(old, ago(time.Hour), conantest.Setting("os", "Windows"))
	young := conantest.Recipe("zlib", "1.10", ago(time.Hour))
	c, source, _ := coolDown(CoolDownOptions{}, nil, old, oldLib, newLib, young)
	for _, tc := range []struct {
		text string
		want []conan.Ref
	}{
		{"*", []conan.Ref{young.Ref, old.Ref}}, // nothing is known yet
		{"zlib/*", []conan.Ref{old.Ref}},
		{"*", []conan.Ref{old.Ref}},
	} {
		p, err := conan.ParsePattern(tc.text, true)
		if err != nil {
			t.Fatal(err)
		}
		found, err := c.Search(t.Context(), p)
		if diff := cmp.Diff(tc.want, found.Value); diff != "" || err != nil {
			t.Errorf("search for %q: %v (-want +got)\n%s", tc.text, err, diff)
		}
		if len(tc.want) == 1 && !found.Origin.Expires.Equal(young.Time.Add(minAge)) {
			t.Errorf("search for %q expires at %v", tc.text, found.Origin.Expires)
		}
	}
	if asked := source.asked.Load(); asked != 2 {
		t.Errorf("%d lists were asked for, want one of each version", asked)
	}
	packages, err := c.Packages(t.Context(), old.Revision, true)
	if err != nil || len(packages.Value) != 1 || packages.Value[0].ID != oldLib.PackageID {
		t.Errorf("packages: %v, %v; want %s", packages.Value, err, oldLib.PackageID)
	}
}

func TestSearchesThatFixTheName(t *testing.T) {
	for text, want := range map[string]bool{"zlib": true, "zlib/*": true, "zlib/1.?": true, "": false, "*": false, "zl*/1.3": false, "[z]lib/1.3": false} {
		p, err := conan.ParsePattern(text, true)
		if err != nil {
			t.Fatal(err)
		}
		if fixesName(p) != want {
			t.Errorf("%q: %v, want %v", text, !want, want)
		}
	}
}

// One search asks for the times of the newest versions only.
func TestSearchAsksForTheNewestVersions(t *testing.T) {
	var sets []conantest.Set
	for i := range mostVersions + 5 {
		sets = append(sets, conantest.Recipe("zlib", fmt.Sprintf("1.%d", i), ago(time.Hour)))
	}
	c, source, _ := coolDown(CoolDownOptions{}, nil, sets...)
	p, _ := conan.ParsePattern("zlib/*", true)
	found, err := c.Search(t.Context(), p)
	want := []conan.Ref{sets[0].Ref, sets[1].Ref, sets[2].Ref, sets[3].Ref, sets[4].Ref}
	if diff := cmp.Diff(want, found.Value); diff != "" || err != nil {
		t.Errorf("error %v (-want +got)\n%s", err, diff)
	}
	if asked := source.asked.Load(); asked != mostVersions {
		t.Errorf("%d lists were asked for, want %d", asked, mostVersions)
	}
}

// Whatever an upstream lists: what is old enough is never hidden, and what is too young is never
// the newest.
func TestCoolDownAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		since := make(map[string]time.Time)
		var sets []conantest.Set
		hours := rapid.SliceOfN(rapid.IntRange(0, 400), 1, 6).Draw(t, "ages")
		for i, h := range hours {
			set := conantest.Recipe("zlib", "1.3", ago(time.Duration(h)*time.Hour), conantest.Code(fmt.Sprint("#", i)))
			if rapid.Bool().Draw(t, "was lacking") {
				since[set.RRev] = now.Add(-time.Duration(rapid.IntRange(0, 400).Draw(t, "since")) * time.Hour)
			}
			sets = append(sets, set)
		}
		c, _, clock := coolDown(CoolDownOptions{}, since, sets...)
		*clock = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "later")) * time.Hour)
		isMature := func(set conantest.Set) bool {
			lacking, known := since[set.RRev]
			return clock.Sub(set.Time) >= minAge && (!known || clock.Sub(lacking) >= minAge)
		}
		list, err := c.Revisions(t.Context(), conan.Revision{Ref: sets[0].Ref})
		if err != nil || len(list.Value) != len(sets) {
			t.Fatalf("revisions: %v, %v", list.Value, err)
		}
		wasHidden, mature := false, 0
		for _, r := range list.Value {
			if wasHidden && !r.Hidden {
				t.Errorf("%s stands after a hidden one", r.ID)
			}
			wasHidden = r.Hidden
		}
		for _, set := range sets {
			_, err := c.Snapshot(t.Context(), set.Revision)
			if isMature(set) != (err == nil) {
				t.Errorf("files of %s: %v", set, err)
			}
			if isMature(set) {
				mature++
			}
		}
		latest, err := c.Latest(t.Context(), conan.Revision{Ref: sets[0].Ref})
		if (mature == 0) != errors.Is(err, conan.ErrNotFound) {
			t.Fatalf("latest with %d mature revisions: %v", mature, err)
		}
		if err == nil && (list.Value[0].Hidden || latest.Value.ID != list.Value[0].ID) {
			t.Errorf("latest is %s, the first of the list is %+v", latest.Value.ID, list.Value[0])
		}
	})
}

// A moment in the past is a source too, if all had appeared.
func TestPastIsASource(t *testing.T) {
	conantest.TestSource(t, func(t *testing.T, sets ...conantest.Set) conan.Source {
		c, _, _ := coolDown(CoolDownOptions{Except: globs(t, "*")}, nil, sets...)
		return c.At(now)
	})
}

func TestPast(t *testing.T) {
	old := conantest.Recipe("zlib", "1.3", ago(500*time.Hour))
	newer := conantest.Recipe("zlib", "1.3", ago(300*time.Hour), conantest.Code("# newer"))
	backdated := conantest.Recipe("zlib", "1.3", ago(600*time.Hour), conantest.Code("# backdated"))
	next := conantest.Recipe("zlib", "1.4", ago(300*time.Hour))
	oldLib := conantest.Package(old, ago(450*time.Hour))
	newLib := conantest.Package(old, ago(300*time.Hour), conantest.Setting("os", "Windows"))
	since := map[string]time.Time{backdated.RRev: now.Add(-300 * time.Hour)}
	for name, tc := range map[string]struct {
		options CoolDownOptions
		at      time.Duration // ago
		latest  string        // empty: not found
		pinned  string        // of newer: what the sentence says; empty: it is served
	}{
		"before all":               {CoolDownOptions{Except: globs(t, "*")}, 501 * time.Hour, "", "after"},
		"between":                  {CoolDownOptions{Except: globs(t, "*")}, 400 * time.Hour, old.RRev, "after"},
		"at its time":              {CoolDownOptions{Except: globs(t, "*")}, 300 * time.Hour, newer.RRev, ""},
		"too young then":           {CoolDownOptions{}, 250 * time.Hour, old.RRev, "younger"},
		"too young then, allowed":  {CoolDownOptions{AllowPinned: true}, 250 * time.Hour, old.RRev, ""},
		"later, although allowed":  {CoolDownOptions{AllowPinned: true}, 301 * time.Hour, old.RRev, "after"},
		"all too young":            {CoolDownOptions{}, 400 * time.Hour, "", "after"},
		"old enough at the moment": {CoolDownOptions{}, 300*time.Hour - minAge, newer.RRev, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := coolDown(tc.options, since, backdated, old, newer, next, oldLib, newLib)
			past := c.At(now.Add(-tc.at))
			latest, err := past.Latest(t.Context(), conan.Revision{Ref: old.Ref})
			if latest.Value.ID != tc.latest || (tc.latest == "") != errors.Is(err, conan.ErrNotFound) {
				t.Errorf("latest: %v, %v; want %q", latest.Value, err, tc.latest)
			}
			_, err = past.Snapshot(t.Context(), newer.Revision)
			var hidden *conan.HiddenError
			if errors.As(err, &hidden) != (tc.pinned != "") || tc.pinned != "" && !strings.Contains(err.Error(), tc.pinned) {
				t.Errorf("pinned: %v, want %q", err, tc.pinned)
			}
		})
	}
	c, _, _ := coolDown(CoolDownOptions{Except: globs(t, "*")}, since, backdated, old, newer, next, oldLib, newLib)
	past := c.At(now.Add(-400 * time.Hour))
	p, _ := conan.ParsePattern("zlib/*", true)
	found, err := past.Search(t.Context(), p)
	if diff := cmp.Diff([]conan.Ref{old.Ref}, found.Value); diff != "" || err != nil {
		t.Errorf("search: %v (-want +got)\n%s", err, diff)
	}
	packages, err := past.Packages(t.Context(), old.Revision, true)
	if err != nil || len(packages.Value) != 1 || packages.Value[0].ID != oldLib.PackageID {
		t.Errorf("packages: %v, %v", packages.Value, err)
	}
	if now, err := c.Latest(t.Context(), conan.Revision{Ref: old.Ref}); err != nil || now.Value.ID != newer.RRev {
		t.Errorf("latest of today: %v, %v", now.Value, err)
	}
}

// What the upstream has taken back since was there, if it lists nothing else of that time.
func TestPastHasWhatWasDroppedSince(t *testing.T) {
	old := conantest.Recipe("zlib", "1.3", ago(500*time.Hour))
	young := conantest.Recipe("zlib", "1.3", ago(time.Hour), conantest.Code("# young"))
	c, source, _ := coolDown(CoolDownOptions{Except: globs(t, "*")}, nil, old, young)
	source.dropped = old.RRev
	if a, err := c.At(now.Add(-400*time.Hour)).Latest(t.Context(), conan.Revision{Ref: old.Ref}); err != nil || a.Value.ID != old.RRev {
		t.Errorf("latest: %v, %v", a.Value, err)
	}
}

// An answer does not depend on how many times are remembered: it has more revisions than that.
func TestSearchOfMoreRevisionsThanAreRemembered(t *testing.T) {
	source := &manyRevisions{versions: 50, revisions: maxKnown / 40}
	c := NewCoolDown(source, CoolDownOptions{Member: "up", MinAge: minAge, Now: func() time.Time { return now }})
	p, _ := conan.ParsePattern("zlib/*", true)
	found, err := c.Search(t.Context(), p)
	if err != nil || len(found.Value) != source.versions {
		t.Errorf("%d versions, %v; want %d", len(found.Value), err, source.versions)
	}
	packages, err := c.Packages(t.Context(), conan.Revision{Ref: source.refs()[0], RRev: "r"}, true)
	if err != nil || len(packages.Value) != source.versions {
		t.Errorf("%d packages, %v; want %d", len(packages.Value), err, source.versions)
	}
}

// manyRevisions has versions of zlib, or packages, with many old revisions each.
type manyRevisions struct {
	conan.Source
	versions, revisions int
}

func (s *manyRevisions) refs() (refs []conan.Ref) {
	for i := range s.versions {
		refs = append(refs, conan.Ref{Name: "zlib", Version: fmt.Sprintf("1.%d", i)})
	}
	return refs
}

func (s *manyRevisions) Search(context.Context, conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	return conan.Answer[[]conan.Ref]{Value: s.refs()}, nil
}

func (s *manyRevisions) Packages(context.Context, conan.Revision, bool) (conan.Answer[[]conan.Package], error) {
	var a conan.Answer[[]conan.Package]
	for i := range s.versions {
		a.Value = append(a.Value, conan.Package{ID: fmt.Sprint("p", i)})
	}
	return a, nil
}

func (s *manyRevisions) Revisions(context.Context, conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	var a conan.Answer[[]conan.RevisionTime]
	for i := range s.revisions {
		a.Value = append(a.Value, conan.RevisionTime{ID: fmt.Sprint("r", i), Time: now.Add(-500 * time.Hour)})
	}
	return a, nil
}

// The newest versions are the newest in the order of Conan's client: a release is newer than its
// candidates.
func TestNewestVersionsInTheOrderOfTheClient(t *testing.T) {
	var refs []conan.Ref
	for i := range mostVersions {
		refs = append(refs, conan.Ref{Name: "zlib", Version: fmt.Sprintf("2.0-rc%03d", i)})
	}
	refs = append(refs, conan.Ref{Name: "zlib", Version: "2.0"})
	if newest := newestVersions(refs); newest[0].Version != "2.0" {
		t.Errorf("the newest is %s, want the release", newest[0].Version)
	}
}

// In the past also what is hidden gives way to what the upstream has dropped since.
func TestHiddenInThePast(t *testing.T) {
	old := conantest.Recipe("zlib", "1.3", ago(500*time.Hour))
	newer := conantest.Recipe("zlib", "1.3", ago(450*time.Hour), conantest.Code("# newer"))
	c, source, _ := coolDown(CoolDownOptions{Except: globs(t, "*")}, nil, old, newer)
	source.dropped = old.RRev
	var hides Hides
	hides.Set([]Hide{{Revision: newer.Revision, Reason: "bad"}})
	then := NewHiding(c.At(now.Add(-400*time.Hour)), &hides, "up", "v")
	if a, err := then.Latest(t.Context(), conan.Revision{Ref: old.Ref}); err != nil || a.Value.ID != old.RRev {
		t.Errorf("then: %v, %v; want %s", a.Value, err, old.RRev)
	}
	today := NewHiding(c, &hides, "up", "v")
	_, err := today.Latest(t.Context(), conan.Revision{Ref: old.Ref})
	if !errors.Is(err, conan.ErrNotFound) || !strings.Contains(err.Error(), "no revision of it is visible") {
		t.Errorf("today: %v; the upstream lists another", err)
	}
}
