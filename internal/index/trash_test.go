package index

import (
	"errors"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

// trashWorld is an index with a recipe revision, two packages of it, and another recipe revision.
func trashWorld(t *testing.T) (db *DB, recipe, other conan.Revision, pkgs []conan.Revision) {
	t.Helper()
	db = openForTest(t, t.TempDir())
	recipe, other = recipeOf("aa/1@me/test", "r1"), recipeOf("aa/1@me/test", "r2")
	publishAt(t, db, recipe, noon)
	for i, id := range []string{"p1", "p2"} {
		pkg := recipe
		pkg.PackageID, pkg.PRev = id, "v"
		publishAt(t, db, pkg, noon.Add(time.Duration(i+1)*time.Minute))
		pkgs = append(pkgs, pkg)
	}
	publishAt(t, db, other, noon.Add(time.Hour))
	return db, recipe, other, pkgs
}

func trashed(t *testing.T, db *DB) []string {
	t.Helper()
	rows, err := db.Trash(t.Context(), store, 0, 100)
	failsWith(t, "trash", err, nil)
	texts := []string{}
	for _, row := range rows {
		texts = append(texts, row.Revision.String())
	}
	return texts
}

func remove(t *testing.T, db *DB, at time.Time, revs ...conan.Revision) {
	t.Helper()
	o := RemoveOptions{Audit: Audit{By: conan.Actor{Name: "ann", Address: "::1"}, Action: "remove", Target: "x"}, Now: at, Trash: true}
	failsWith(t, "remove", onlyError(db.RemovePinned(t.Context(), store, revs, o)), nil)
}

func TestARecipeComesBackWithItsPackages(t *testing.T) {
	ctx := t.Context()
	db, recipe, other, pkgs := trashWorld(t)
	before, err := db.Held(ctx, store, pkgs[1])
	failsWith(t, "held", err, nil)

	remove(t, db, noon.Add(2*time.Hour), recipe)
	if _, err := db.Find(ctx, store, pkgs[0]); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("a package of the removed recipe is still there: %v", err)
	}
	same(t, "trash", len(trashed(t, db)), 3)
	if named, err := db.BlobNamed(ctx, before.Files[0].SHA256); err != nil || !named {
		t.Errorf("bytes in the trash are not kept: %v, %v", named, err)
	}

	back, err := db.Restore(ctx, store, []conan.Revision{recipe, pkgs[0]}, Audit{Action: "restore"}, noon.Add(3*time.Hour), false)
	failsWith(t, "restore", err, nil)
	same(t, "restored", len(back), 3)
	after, err := db.Held(ctx, store, pkgs[1])
	failsWith(t, "held again", err, nil)
	after.RowID = before.RowID
	same(t, "the package", after, before)
	same(t, "trash afterwards", trashed(t, db), []string{})
	list, err := db.Revisions(ctx, store, conan.Revision{Ref: recipe.Ref})
	failsWith(t, "revisions", err, nil)
	same(t, "the order by the old times", []string{list[0].RRev, list[1].RRev}, []string{other.RRev, recipe.RRev})
}

func TestWhatCannotBeRestored(t *testing.T) {
	ctx := t.Context()
	db, recipe, other, pkgs := trashWorld(t)
	restore := func(revs ...conan.Revision) error {
		_, err := db.Restore(ctx, store, revs, Audit{Action: "restore"}, noon.Add(3*time.Hour), false)
		return err
	}
	failsWith(t, "what was never removed", restore(recipe), conan.ErrNotFound)
	remove(t, db, noon.Add(2*time.Hour), pkgs[0])
	remove(t, db, noon.Add(2*time.Hour), recipe)
	failsWith(t, "a package without its recipe", restore(pkgs[0]), conan.ErrNotFound)
	publishAt(t, db, recipe, noon.Add(150*time.Minute))
	failsWith(t, "what is published again", restore(recipe), conan.ErrConflict)
	remove(t, db, noon.Add(160*time.Minute), other)
	failsWith(t, "one of two", restore(other, recipe), conan.ErrConflict)
	if _, err := db.Find(ctx, store, other); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("a restoration that failed restored a part: %v", err)
	}
	failsWith(t, "a package beside its recipe that was published again", restore(pkgs[0]), nil)
}

// A package that was removed by itself, before its recipe, does not come back with it.
func TestARestorationBringsNoMoreThanItsRemovalTook(t *testing.T) {
	ctx := t.Context()
	db, recipe, _, pkgs := trashWorld(t)
	remove(t, db, noon.Add(2*time.Hour), pkgs[0]) // a bad binary
	remove(t, db, noon.Add(3*time.Hour), recipe)
	restore := func(dry bool, revs ...conan.Revision) []conan.Revision {
		t.Helper()
		back, err := db.Restore(ctx, store, revs, Audit{Action: "restore"}, noon.Add(4*time.Hour), dry)
		failsWith(t, "restore", err, nil)
		return back
	}
	want := []conan.Revision{recipe, pkgs[1]}
	same(t, "a dry run", restore(true, recipe, pkgs[0], pkgs[1]), want)
	same(t, "the trash after it", len(trashed(t, db)), 3)
	same(t, "restored", restore(false, recipe, pkgs[0], pkgs[1]), want)
	same(t, "what stays", trashed(t, db), []string{pkgs[0].String()})
	same(t, "the recipe of a package that was removed alone stands for nothing", restore(false, recipe, pkgs[0]), []conan.Revision{pkgs[0]})
}

func TestTheTrashIsEmptied(t *testing.T) {
	ctx := t.Context()
	db, recipe, other, _ := trashWorld(t)
	held, err := db.Held(ctx, store, recipe)
	failsWith(t, "held", err, nil)
	remove(t, db, noon.Add(2*time.Hour), recipe)
	remove(t, db, noon.Add(3*time.Hour), other)
	n, err := db.EmptyTrash(ctx, store, noon.Add(3*time.Hour), 10)
	failsWith(t, "empty", err, nil)
	same(t, "removals", n, 1)
	same(t, "what stays", trashed(t, db), []string{other.String()})
	garbage, err := db.Garbage(ctx, 1000)
	failsWith(t, "garbage", err, nil)
	found := false
	for _, d := range garbage {
		found = found || d == held.Files[0].SHA256
	}
	if !found {
		t.Error("bytes that left the trash are no garbage")
	}
	if some, err := db.EmptyOldest(ctx); err != nil || !some {
		t.Errorf("the oldest removal: %v, %v", some, err)
	}
	if some, err := db.EmptyOldest(ctx); err != nil || some {
		t.Errorf("an empty trash: %v, %v", some, err)
	}
}

func TestHistoryTellsWhatWasVisible(t *testing.T) {
	ctx := t.Context()
	db, recipe, other, pkgs := trashWorld(t)
	start := time.Now()
	remove(t, db, noon, recipe)
	gone := time.Now()
	for name, tc := range map[string]struct {
		at   time.Time
		want []string
	}{
		"before the first was published": {noon.Add(-time.Hour), nil},
		"while both were":                {start, []string{other.RRev, recipe.RRev}},
		"after one was removed":          {gone, []string{other.RRev}},
	} {
		list, err := db.RevisionsAt(ctx, store, conan.Revision{Ref: recipe.Ref}, tc.at)
		failsWith(t, name, err, nil)
		var got []string
		for _, r := range list {
			got = append(got, r.ID())
		}
		same(t, name, got, tc.want)
	}
	if was, err := db.WasVisible(ctx, store, pkgs[0], start); err != nil || !was {
		t.Errorf("a package that was there: %v, %v", was, err)
	}
	packages, err := db.PackagesAt(ctx, store, recipe, start, false)
	failsWith(t, "packages", err, nil)
	if len(packages) != 2 || packages[0].ID != "p1" || packages[1].ID != "p2" {
		t.Errorf("packages: %v", packages)
	}
	files, err := db.TrashedFiles(ctx, store, pkgs[0])
	if err != nil || len(files) == 0 {
		t.Errorf("files of what was removed: %v, %v", files, err)
	}
}

// History goes with the last bytes of a revision, and stays while some are published or in the
// trash.
func TestHistoryGoesWithTheBytes(t *testing.T) {
	ctx := t.Context()
	db, recipe, other, pkgs := trashWorld(t)
	history := func(what string, want map[string]int) {
		t.Helper()
		texts, err := column[string](ctx, db.read, "history", `SELECT rrev || package_id FROM history`)
		failsWith(t, what, err, nil)
		got := map[string]int{}
		for _, text := range texts {
			got[text]++
		}
		same(t, what, got, want)
	}
	empty := func(before time.Time) {
		t.Helper()
		_, err := db.EmptyTrash(ctx, store, before, 10)
		failsWith(t, "empty", err, nil)
	}
	hour := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }

	remove(t, db, hour(2), recipe)
	publishAt(t, db, recipe, hour(3))
	history("removed and published again", map[string]int{"r1": 2, "r1p1": 1, "r1p2": 1, "r2": 1})
	empty(hour(4))
	history("of the packages no copy is left", map[string]int{"r1": 2, "r2": 1})

	publishAt(t, db, pkgs[0], hour(5))
	remove(t, db, hour(6), pkgs[0])
	publishAt(t, db, pkgs[0], hour(7))
	remove(t, db, hour(8), pkgs[0])
	empty(hour(7))
	history("the trash has the second copy", map[string]int{"r1": 2, "r1p1": 2, "r2": 1})
	_, err := db.Restore(ctx, store, pkgs[:1], Audit{Action: "restore"}, hour(9), false)
	failsWith(t, "restore", err, nil)
	history("restored", map[string]int{"r1": 2, "r1p1": 3, "r2": 1})

	remove(t, db, hour(10), recipe)
	if some, err := db.EmptyOldest(ctx); err != nil || !some {
		t.Errorf("the oldest removal: %v, %v", some, err)
	}
	history("the oldest removal is emptied", map[string]int{"r2": 1})
	withoutTrash := RemoveOptions{Audit: Audit{Action: "remove"}, Now: hour(11)}
	failsWith(t, "remove", onlyError(db.RemovePinned(ctx, store, []conan.Revision{other}, withoutTrash)), nil)
	history("removed without a trash", map[string]int{})
}
