package localstore

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"conanproxy/internal/bundle"
	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/index"
	"conanproxy/internal/transfer"
)

// importing is an import from a source into the store under test.
func importing(e *env, from transfer.From) Import {
	return Import{Incoming: transfer.Incoming{From: from, Name: "old"}, To: e.Store}
}

// atOnce makes all revisions of an import in one transaction.
func (i Import) atOnce() Import {
	i.Complete = func() error { return nil }
	return i
}

func revisionsOf(sets ...conantest.Set) []conan.Revision {
	var revs []conan.Revision
	for _, set := range sets {
		revs = append(revs, set.Revision)
	}
	return revs
}

func TestImportKeepsTimesAndOrder(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	first := conantest.Recipe("zlib", "1.3", conantest.Code("a"), conantest.Published(at))
	second := conantest.Recipe("zlib", "1.3", conantest.Code("b"), conantest.Published(at)) // in the same second
	pkg := conantest.Package(first, conantest.File("lib/a", "a"), conantest.Metadata("build.log", "ok"), conantest.Published(at.Add(time.Hour)))
	from := conantest.NewSource("old", conan.StateLocal, first, second, pkg)
	by := conan.Actor{Name: "ann"}

	want := []conan.Moved{{Revision: first.Revision}, {Revision: pkg.Revision, Newest: true}, {Revision: second.Revision, Newest: true}}
	for _, dry := range []bool{true, false} {
		moved, err := importing(e, from).Take(t.Context(), revisionsOf(second, pkg), by, dry)
		wantError(t, err, nil)
		wantEqual(t, "the recipe of a package comes along", moved, want)
		if _, err := e.db.Find(t.Context(), e.member, pkg.Revision); (err == nil) == dry {
			t.Errorf("after a dry run %v: %v", dry, err)
		}
	}
	list, err := e.Revisions(t.Context(), conan.Revision{Ref: first.Ref})
	wantError(t, err, nil)
	wantEqual(t, "revisions", list, []conan.RevisionTime{{ID: second.RRev, Time: at}, {ID: first.RRev, Time: at}})
	wantEqual(t, "metadata", content(t, e, pkg.Revision)["metadata/build.log"], "ok")
	packages, err := e.Packages(t.Context(), first.Revision, false)
	wantError(t, err, nil)
	wantEqual(t, "packages", packages, []conan.Package{{ID: pkg.PackageID, Info: string(pkg.Files[conan.InfoFile])}})

	moved, err := importing(e, from).Take(t.Context(), revisionsOf(first, second, pkg), by, false)
	wantError(t, err, nil)
	for n := range want {
		want[n].Skipped = true
	}
	wantEqual(t, "again", moved, want)
	lines, err := e.db.AuditLines(t.Context(), index.AuditFilter{Action: index.ActionImport, Limit: 10})
	wantError(t, err, nil)
	wantEqual(t, "audit lines, one for each revision", len(lines), 3)
	noStages(e)

	first.Time = at.Add(2 * time.Hour) // published again at the source
	from = conantest.NewSource("old", conan.StateLocal, second, first, pkg)
	moved, err = importing(e, from).Take(t.Context(), revisionsOf(first, second), by, false)
	wantError(t, err, nil)
	wantEqual(t, "published again", moved, []conan.Moved{
		{Revision: second.Revision, Skipped: true}, {Revision: first.Revision, Newest: true},
	})
	latest, err := e.Latest(t.Context(), conan.Revision{Ref: first.Ref})
	wantError(t, err, nil)
	wantEqual(t, "latest", latest, conan.RevisionTime{ID: first.RRev, Time: first.Time})
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	recipe := conantest.Recipe("zlib", "1.3")
	pkg := conantest.Package(recipe, conantest.File("lib/a", "a"))
	other := conantest.Package(recipe, conantest.File("lib/a", "b"))
	broken := errors.New("the end is broken")
	for name, tc := range map[string]struct {
		sets     []conantest.Set
		rev      conan.Revision
		complete func() error
		err      error
		says     string
	}{
		"other contents":      {[]conantest.Set{recipe, pkg.With("conan_package.tgz", string(other.Files["conan_package.tgz"]))}, pkg.Revision, nil, conan.ErrInvalid, "md5"},
		"another manifest":    {[]conantest.Set{recipe, other.As(pkg.PRev)}, other.As(pkg.PRev).Revision, nil, conan.ErrInvalid, "gives the package revision"},
		"a missing archive":   {[]conantest.Set{recipe, pkg.Without("conan_package.tgz")}, pkg.Revision, nil, conan.ErrIncomplete, "conan_package.tgz"},
		"a broken end":        {[]conantest.Set{recipe, pkg}, pkg.Revision, func() error { return broken }, broken, ""},
		"no recipe":           {[]conantest.Set{pkg}, pkg.Revision, nil, conan.ErrNotFound, ""},
		"a mutable revision":  {[]conantest.Set{recipe.As("0")}, recipe.As("0").Revision, nil, conan.ErrInvalid, "has no revision"},
		"one that is unknown": {[]conantest.Set{recipe}, pkg.Revision, nil, conan.ErrNotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			i := importing(e, conantest.NewSource("old", conan.StateLocal, tc.sets...)).atOnce()
			if tc.complete != nil {
				i.Complete = tc.complete
			}
			_, err := i.Take(t.Context(), []conan.Revision{tc.rev}, conan.Actor{}, false)
			wantError(t, err, tc.err, tc.says)
			if _, err := e.db.Find(t.Context(), e.member, tc.rev); !errors.Is(err, conan.ErrNotFound) {
				t.Errorf("the revision is there: %v", err)
			}
		})
	}
}

// TestImportNamesOtherBytes: the same revision with other file modes is a conflict, one that is
// packed in another way is not.
func TestImportNamesOtherBytes(t *testing.T) {
	t.Parallel()
	from, e := newEnv(t), newEnv(t)
	recipe := from.publishRecipe(hi, plainRecipe("class A"))
	contents := files{"bin/a": "a"}
	pkg := from.publishPackage(recipe, pid2, packedAs(contents, regular("bin/a", 0o755)))
	_, err := importing(e, source{from}).Take(t.Context(), []conan.Revision{pkg}, conan.Actor{}, false)
	wantError(t, err, nil)
	before := sha256Of(content(t, e, pkg)["conan_package.tgz"])

	from.publishPackage(recipe, pid2, packedAs(contents, regular("bin/a", 0o644)))
	now := sha256Of(content(t, from, pkg)["conan_package.tgz"])
	_, err = importing(e, source{from}).atOnce().Take(t.Context(), []conan.Revision{pkg}, conan.Actor{}, false)
	wantError(t, err, conan.ErrConflict, "other bytes", "sha256:"+now+` in "old"`, "sha256:"+before+` in "local"`)
	wantEqual(t, "the stored bytes", sha256Of(content(t, e, pkg)["conan_package.tgz"]), before)

	again := newEnv(t)
	again.publishRecipe(hi, plainRecipe("class A"))
	again.publishPackage(recipe, pid2, packedAs(contents, regular("bin/a", 0o755)).with(files{"conan_package.tgz": tgz(contents, 1)}))
	_, err = importing(again, source{from}).atOnce().Take(t.Context(), []conan.Revision{pkg}, conan.Actor{}, false)
	wantError(t, err, nil)
}

// onceSource fails when bytes are opened twice.
type onceSource struct {
	transfer.From
	opened map[string]bool
}

func (s onceSource) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	list, err := s.Snapshot(ctx, rev)
	if err != nil {
		return conan.Answer[*conan.File]{}, err
	}
	f, _ := list.Value.Find(name)
	if s.opened[f.SHA256] {
		return conan.Answer[*conan.File]{}, errors.New(name + " was opened already")
	}
	s.opened[f.SHA256] = true
	return s.From.Open(ctx, rev, name)
}

func TestImportOpensBytesOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	recipe := conantest.Recipe("zlib", "1.3")
	pkg := conantest.Package(recipe, conantest.File("lib/a", "a"))
	from := onceSource{conantest.NewSource("old", conan.StateLocal, recipe, pkg), map[string]bool{}}
	i := importing(e, from)
	i.Complete = func() error { return errors.New("ended") }
	_, err := i.Take(t.Context(), []conan.Revision{pkg.Revision}, conan.Actor{}, false)
	if err == nil {
		t.Fatal("no error")
	}
	_, err = i.atOnce().Take(t.Context(), []conan.Revision{pkg.Revision}, conan.Actor{}, false)
	wantError(t, err, nil) // what was staged is taken from there
}

// TestImportGoesOn: where each revision is made by itself, a wrong one is told and the others are
// copied.
func TestImportGoesOn(t *testing.T) {
	t.Parallel()
	broken, whole := conantest.Recipe("alib", "1.3"), conantest.Recipe("zlib", "1.3")
	pkg := conantest.Package(broken, conantest.File("lib/a", "a"))
	for name, tc := range map[string]struct {
		from transfer.From
		says string
	}{
		"a missing file": {conantest.NewSource("old", conan.StateLocal, broken.Without(conan.RecipeFile), pkg, whole), conan.RecipeFile},
		"a wrong digest": {mistaken{conantest.NewSource("old", conan.StateLocal, broken, pkg, whole), broken.Revision}, "digest it should have"},
	} {
		e := newEnv(t)
		moved, err := importing(e, tc.from).Take(t.Context(), revisionsOf(broken, pkg, whole), conan.Actor{}, false)
		wantError(t, err, nil)
		if len(moved) != 3 || !strings.Contains(moved[0].Problem, tc.says) || !strings.Contains(moved[1].Problem, "its recipe") {
			t.Errorf("%s: got %v, want the problems of two revisions", name, moved)
			continue
		}
		wantEqual(t, "the whole one", moved[2], conan.Moved{Revision: whole.Revision, Newest: true})
		noStages(e)
	}
}

// mistaken tells wrong digests of the files of a revision.
type mistaken struct {
	transfer.From
	rev conan.Revision
}

func (s mistaken) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	a, err := s.From.Open(ctx, rev, name)
	if err == nil && rev == s.rev {
		a.Value.FileInfo = conan.FileInfo{Name: name, Size: -1, MD5: strings.Repeat("0", 32)}
	}
	return a, err
}

// slowSource opens a file only when so many are asked for at the same time.
type slowSource struct {
	transfer.From
	want int
	mu   sync.Mutex
	open int
	met  chan struct{}
}

func (s *slowSource) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	s.mu.Lock()
	if s.open++; s.open == s.want {
		close(s.met)
	}
	s.mu.Unlock()
	select {
	case <-s.met:
		return s.From.Open(ctx, rev, name)
	case <-ctx.Done():
		return conan.Answer[*conan.File]{}, ctx.Err()
	}
}

// TestImportReadsAhead: several revisions are read at the same time, and made in their order.
func TestImportReadsAhead(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	sets := []conantest.Set{}
	for _, version := range []string{"1.0", "1.1", "1.2", "1.3", "1.4", "1.5"} {
		sets = append(sets, conantest.Recipe("zlib", version))
	}
	i := importing(e, &slowSource{From: conantest.NewSource("old", conan.StateLocal, sets...), want: 3, met: make(chan struct{})})
	i.Ahead = 3
	moved, err := i.Take(t.Context(), revisionsOf(sets...), conan.Actor{}, false)
	wantError(t, err, nil)
	for n, m := range moved {
		wantEqual(t, "moved", m, conan.Moved{Revision: sets[n].Revision, Newest: true})
	}
	wantEqual(t, "all", len(moved), len(sets))
}

// TestImportNeedsBytesTwice: bytes that a bundle has once reach a later revision also if the first
// one that has them is wrong, or is here in another packing.
func TestImportNeedsBytesTwice(t *testing.T) {
	t.Parallel()
	one, two := conantest.Recipe("zlib", "1.3", conantest.Code("a")), conantest.Recipe("zlib", "1.3", conantest.Code("b"))
	two.Time = one.Time.Add(time.Hour)
	first, second := conantest.Package(one, conantest.File("lib/a", "a")), conantest.Package(two, conantest.File("lib/a", "a"))
	packed := conantest.Package(one, conantest.File("lib/a", "a"), conantest.Compression("txz"))
	for name, tc := range map[string]struct {
		here []conantest.Set
		sent conantest.Set // in place of first
	}{
		"wrong":                 {nil, first.With("conan_package.tgz", "damaged")},
		"packed in another way": {[]conantest.Set{one, packed}, first},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			if tc.here != nil {
				_, err := importing(e, conantest.NewSource("old", conan.StateLocal, tc.here...)).atOnce().Take(t.Context(), revisionsOf(tc.here...), conan.Actor{}, false)
				wantError(t, err, nil)
			}
			b := bundled(t, one, tc.sent, two, second)
			moved, err := importing(e, b).Take(t.Context(), revisionsOf(tc.sent, second), conan.Actor{}, false)
			wantError(t, err, nil)
			wantError(t, b.Complete(), nil)
			wantEqual(t, "the last one", moved[len(moved)-1], conan.Moved{Revision: second.Revision, Newest: true})
			noStages(e)
		})
	}
}

// TestImportOfAnotherPacking: what was staged to be compared does not stay, which would look like
// an upload under way.
func TestImportOfAnotherPacking(t *testing.T) {
	t.Parallel()
	recipe := conantest.Recipe("zlib", "1.3")
	pkg := conantest.Package(recipe, conantest.File("lib/a", "a"))
	packed := conantest.Package(recipe, conantest.File("lib/a", "a"), conantest.Compression("txz"))
	e := newEnv(t)
	_, err := importing(e, conantest.NewSource("old", conan.StateLocal, recipe, packed)).Take(t.Context(), revisionsOf(packed), conan.Actor{}, false)
	wantError(t, err, nil)
	for _, dry := range []bool{true, false} {
		moved, err := importing(e, conantest.NewSource("old", conan.StateLocal, recipe, pkg)).Take(t.Context(), revisionsOf(pkg), conan.Actor{}, dry)
		wantError(t, err, nil)
		wantEqual(t, "moved", moved[1], conan.Moved{Revision: pkg.Revision, Newest: true, Skipped: true})
		uses, err := e.db.UsesOf(t.Context(), e.member, pkg.Ref)
		wantError(t, err, nil)
		wantEqual(t, "an upload is under way", uses.Uploading, false)
	}
	noStages(e)
}

// TestImportThatEndsEarly: what was prepared ahead does not stay.
func TestImportThatEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		one, two := conantest.Recipe("zlib", "1.3"), conantest.Recipe("zlib", "1.4")
		i := importing(e, staged{conantest.NewSource("old", conan.StateLocal, one, two), one.Revision})
		i.Ahead = 2
		_, err := i.Take(t.Context(), revisionsOf(one, two), conan.Actor{}, false)
		wantError(t, err, errBroken)
		noStages(e)
	})
}

var errBroken = errors.New("the source is broken")

// staged fails to open files of a revision when all others are staged.
type staged struct {
	transfer.From
	rev conan.Revision
}

func (s staged) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	if rev == s.rev {
		synctest.Wait()
		return conan.Answer[*conan.File]{}, errBroken
	}
	return s.From.Open(ctx, rev, name)
}

// bundled reads a bundle of sets.
func bundled(t *testing.T, sets ...conantest.Set) *bundle.Reader {
	t.Helper()
	plan, err := bundle.NewPlan(t.Context(), conantest.NewSource("old", conan.StateLocal, sets...), revisionsOf(sets...), bundle.Since{})
	wantError(t, err, nil)
	var b bytes.Buffer
	wantError(t, plan.Write(t.Context(), &b), nil)
	r, err := bundle.NewReader(&b, nil)
	wantError(t, err, nil)
	return r
}
