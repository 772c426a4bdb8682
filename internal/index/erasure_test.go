package index

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/journal"
)

func erase(t *testing.T, db *DB, dry bool, revs ...conan.Revision) []Erased {
	t.Helper()
	erased, err := db.Erase(t.Context(), store, revs, Audit{Action: ActionRemoveNow, Target: Targets(revs)}, noon, dry)
	failsWith(t, "erase", err, nil)
	return erased
}

// What is published, what was removed, and their history are gone; nothing can be restored.
func TestEraseTakesTrashAndHistory(t *testing.T) {
	ctx := t.Context()
	db, recipe, other, pkgs := trashWorld(t)
	remove(t, db, noon.Add(2*time.Hour), pkgs[0], other)
	moment := time.Now()
	if was, err := db.WasVisible(ctx, store, recipe, moment); err != nil || !was {
		t.Fatal(was, err)
	}
	same(t, "dry run", len(erase(t, db, true, recipe)), 3)
	if _, err := db.Find(ctx, store, recipe); err != nil {
		t.Fatalf("after a dry run: %v", err)
	}
	erased := erase(t, db, false, pkgs[0], recipe)
	same(t, "erased", []conan.Revision{erased[0].Revision, erased[1].Revision, erased[2].Revision}, []conan.Revision{pkgs[0], recipe, pkgs[1]})
	same(t, "the trash", trashed(t, db), []string{other.String()})
	for _, rev := range []conan.Revision{recipe, pkgs[0], pkgs[1]} {
		was, err := db.WasVisible(ctx, store, rev, moment)
		if err != nil || was {
			t.Errorf("%s is in the history: %v, %v", rev, was, err)
		}
		_, err = db.Restore(ctx, store, []conan.Revision{rev}, Audit{Action: ActionRestore}, noon, true)
		failsWith(t, "restore "+rev.String(), err, conan.ErrNotFound)
		_, err = db.Erase(ctx, store, []conan.Revision{rev}, Audit{}, noon, false)
		failsWith(t, "again "+rev.String(), err, conan.ErrNotFound)
	}
	same(t, "of the trash alone", len(erase(t, db, false, other)), 1)
	var removals int
	failsWith(t, "count", db.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM removals`).Scan(&removals), nil)
	same(t, "removals", removals, 0)
	garbage, err := db.Garbage(ctx, 100)
	failsWith(t, "garbage", err, nil)
	for _, sum := range garbage {
		named, err := db.BlobNamed(ctx, sum)
		failsWith(t, "named", err, nil)
		same(t, "named", named, false)
	}
	if len(garbage) == 0 {
		t.Error("no bytes became garbage")
	}
}

func TestEraseTellsWhatElseNamesTheBytes(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	second, err := db.Member(ctx, "second", KindStore)
	failsWith(t, "member", err, nil)
	rev, again := recipeOf("aa/1", "r"), recipeOf("bb/1", "r")
	shared, own := testFile("conanfile.py", 1, 10), testFile("conanmanifest.txt", 2, 5)
	put(t, db, store, rev, 1, shared, own)
	put(t, db, store, again, 1, shared)
	put(t, db, center, rev, 1, shared, own)
	put(t, db, second, rev, 1, own)
	o := RemoveOptions{Audit: Audit{Action: ActionRemove}, Now: noon, Trash: true}
	failsWith(t, "remove", onlyError(db.RemovePinned(ctx, second, []conan.Revision{rev}, o)), nil)
	s := Stage{Member: store, ID: "s", Revision: rev, Touched: noon}
	_, err = db.PutStaged(ctx, s, StagedFile{FileInfo: own})
	failsWith(t, "stage", err, nil)

	same(t, "namings", erase(t, db, false, rev)[0].Elsewhere, []Naming{
		{PlaceCached, "center", rev.Ref, shared.SHA256},
		{PlaceCached, "center", rev.Ref, own.SHA256},
		{PlacePublished, "local", again.Ref, shared.SHA256},
		{PlaceTrash, "second", rev.Ref, own.SHA256},
		{PlaceUpload, "local", rev.Ref, own.SHA256},
	})
	same(t, "when both go", len(erase(t, db, true, again)[0].Elsewhere), 1)
}

// Also what was in the trash alone leaves a line, so that history and answers follow.
func TestEraseIsJournaled(t *testing.T) {
	ctx := t.Context()
	db, recipe, _, pkgs := trashWorld(t)
	remove(t, db, noon.Add(time.Hour), pkgs[0])
	path := filepath.Join(t.TempDir(), "journal")
	failsWith(t, "keep the journal", db.KeepJournal(ctx, path), nil)
	stamp := db.Changes().Of(recipe.Ref)
	erase(t, db, false, pkgs[0])
	if stamp.Valid() {
		t.Error("remembered answers stay")
	}
	var last journal.Line
	for line, err := range journal.Read(path) {
		failsWith(t, "read", err, nil)
		last = line
	}
	same(t, "the last line", []any{last.Event, last.PackageID}, []any{journal.Removed, pkgs[0].PackageID})
}

// TestEraseOfManyPackages bounds the memory of a removal that names all packages of a reference,
// which is read once and not for each of them.
func TestEraseOfManyPackages(t *testing.T) {
	db := openForTest(t, t.TempDir())
	revs := []conan.Revision{recipeOf("aa/1", "r")}
	for i := range 300 {
		revs = append(revs, packageOf("aa/1", "r", fmt.Sprintf("%040x", i), "v"))
	}
	for _, rev := range revs {
		put(t, db, store, rev, 1, testFile("conaninfo.txt", 1, 1))
	}
	slices.Reverse(revs) // packages first
	allocs := testing.AllocsPerRun(1, func() { same(t, "erased", len(erase(t, db, true, revs...)), len(revs)) })
	if most := 1000.0 * float64(len(revs)); allocs > most {
		t.Errorf("%g allocations, want at most %g", allocs, most)
	}
}
