package index

import (
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

func coldRevisions(t *testing.T, db *DB) []string {
	t.Helper()
	cold, err := db.Coldest(t.Context(), 100)
	failsWith(t, "coldest", err, nil)
	texts := []string{}
	for _, c := range cold {
		texts = append(texts, c.Revision.String())
	}
	return texts
}

func pin(t *testing.T, db *DB, owner string, revs ...conan.Revision) []conan.Moved {
	t.Helper()
	moved, err := db.Pin(t.Context(), center, revs, owner, Audit{Action: ActionPin}, noon, false, nil)
	failsWith(t, "pin", err, nil)
	return moved
}

func unpin(t *testing.T, db *DB, owner string, revs ...conan.Revision) []conan.Moved {
	t.Helper()
	moved, err := db.Unpin(t.Context(), center, revs, owner, Audit{Action: ActionUnpin}, noon, false)
	failsWith(t, "unpin", err, nil)
	return moved
}

// A revision is free when its last pin goes, and not before, whatever happens to its row.
func TestAPinKeepsFromEviction(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	a, b := recipeOf("aa/1", "r"), recipeOf("bb/1", "r")
	put(t, db, center, a, 1, testFile("conanfile.py", 1, 10), testFile("conanmanifest.txt", 2, 5))
	put(t, db, center, b, 1, testFile("conanfile.py", 1, 10))

	same(t, "first pin", pin(t, db, "ann", a)[0].Skipped, false)
	same(t, "again", pin(t, db, "ann", a)[0].Skipped, true)
	same(t, "of another owner", pin(t, db, "eve", a)[0].Skipped, false)
	same(t, "cold", coldRevisions(t, db), []string{b.String()})
	bytes, err := db.PinnedBytes(ctx)
	failsWith(t, "pinned bytes", err, nil)
	same(t, "pinned bytes", bytes, int64(15))

	// What is stored and used later changes nothing, also if the row was gone meanwhile.
	put(t, db, center, a, 2, testFile("conan_export.tgz", 3, 1))
	row := find(t, db, center, a).RowID
	failsWith(t, "touch", db.Touch(ctx, map[int64]time.Time{row: noon}), nil)
	same(t, "cold", coldRevisions(t, db), []string{b.String()})
	failsWith(t, "remove", db.RemoveRevisions(ctx, []int64{row}), nil)
	put(t, db, center, a, 3, testFile("conanfile.py", 1, 10))
	same(t, "cold", coldRevisions(t, db), []string{b.String()})

	same(t, "unpin of another", unpin(t, db, "bob", a)[0].Skipped, true)
	unpin(t, db, "ann", a)
	same(t, "cold", coldRevisions(t, db), []string{b.String()})
	unpin(t, db, "", a)
	same(t, "cold", len(coldRevisions(t, db)), 2)
	refs, err := db.PinRefs(ctx, center, "")
	if err != nil || len(refs) > 0 {
		t.Errorf("references with pins: %v, %v", refs, err)
	}
}

func TestPinsAreAllOrNothing(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	a, b := recipeOf("aa/1", "r"), recipeOf("bb/1", "r")
	put(t, db, center, a, 1, testFile("conanfile.py", 1, 10))
	_, err := db.Pin(ctx, center, []conan.Revision{a, b}, "ann", Audit{Action: ActionPin}, noon, false, nil)
	failsWith(t, "pin what is not there", err, conan.ErrNotFound)
	moved, err := db.Pin(ctx, center, []conan.Revision{a}, "ann", Audit{Action: ActionPin}, noon, true, nil)
	failsWith(t, "dry run", err, nil)
	same(t, "dry run", moved, []conan.Moved{{Revision: a}})
	pins, err := db.Pins(ctx, center, 0, 10)
	if err != nil || len(pins) > 0 {
		t.Errorf("pins %v, %v", pins, err)
	}
	same(t, "cold", coldRevisions(t, db), []string{a.String()})

	pin(t, db, "ann", a)
	put(t, db, center, b, 1, testFile("conanfile.py", 1, 10))
	pin(t, db, "bob", a, b)
	pins, err = db.Pins(ctx, center, 0, 2)
	failsWith(t, "pins", err, nil)
	same(t, "a page", []any{len(pins), pins[0].Revision, pins[0].Owner, pins[0].Member, pins[0].Time}, []any{2, b, "bob", "center", noon})
	next, err := db.Pins(ctx, center, pins[1].ID, 2)
	failsWith(t, "pins", err, nil)
	same(t, "the next page", []any{len(next), next[0].Revision, next[0].Owner}, []any{1, a, "ann"})
	of, err := db.PinsOf(ctx, center, a.Ref)
	failsWith(t, "pins", err, nil)
	same(t, "pins of a reference", []string{of[0].Owner, of[1].Owner}, []string{"ann", "bob"})
}

// Bytes that a pin adds are asked about with all others; what is refused has no pin. Bytes that
// another pin or a store has add nothing, and what adds nothing is not asked about.
func TestPinsFit(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	a, b, shared, published := recipeOf("aa/1", "r"), recipeOf("bb/1", "r"), recipeOf("cc/1", "r"), recipeOf("dd/1", "r")
	put(t, db, center, a, 1, testFile("conanfile.py", 1, 60))
	put(t, db, center, b, 1, testFile("conanfile.py", 2, 30))
	put(t, db, center, shared, 1, testFile("conanfile.py", 1, 60))
	put(t, db, center, published, 1, testFile("conanfile.py", 3, 40))
	put(t, db, store, published, 1, testFile("conanfile.py", 3, 40))
	for _, step := range []struct {
		rev   conan.Revision
		owner string
		adds  bool // by PinAdds
		asked int64
		err   error
	}{
		{a, "ann", true, 60, nil},
		{b, "ann", true, 90, conan.ErrConflict},
		{a, "bob", false, 0, nil},
		{shared, "ann", false, 0, nil},
		{published, "ann", false, 0, nil},
	} {
		files, err := db.Files(ctx, center, step.rev)
		failsWith(t, "files", err, nil)
		adds, err := db.PinAdds(ctx, files[0].SHA256)
		failsWith(t, "adds", err, nil)
		same(t, "adds", adds, step.adds)
		var asked int64
		_, err = db.Pin(ctx, center, []conan.Revision{step.rev}, step.owner, Audit{Action: ActionPin}, noon, false, func(bytes int64) error {
			asked = bytes
			return step.err
		})
		failsWith(t, "pin "+step.rev.String(), err, step.err)
		same(t, "asked about", asked, step.asked)
		pins, err := db.PinsOf(ctx, center, step.rev.Ref)
		failsWith(t, "pins", err, nil)
		same(t, "has a pin", len(pins) > 0, step.err == nil)
	}
}

// A removal refuses what is pinned and names the owner; one for good takes the pins along.
func TestRemovalOfWhatIsPinned(t *testing.T) {
	ctx := t.Context()
	db, recipe, _, pkgs := trashWorld(t)
	_, err := db.Pin(ctx, store, pkgs[:1], "bob", Audit{Action: ActionPin}, noon, false, nil)
	failsWith(t, "pin", err, nil)
	o := RemoveOptions{Audit: Audit{Action: ActionRemove}, Now: noon, Trash: true}
	dry := o
	dry.Dry = true
	for name, err := range map[string]error{
		"a dry run":     onlyError(db.RemovePinned(ctx, store, pkgs[:1], dry)),
		"the recipe":    onlyError(db.RemovePinned(ctx, store, []conan.Revision{recipe}, o)),
		"the package":   onlyError(db.RemovePinned(ctx, store, pkgs[:1], o)),
		"the reference": db.Remove(ctx, store, conan.Removal{Revision: conan.Revision{Ref: recipe.Ref}}, o),
	} {
		failsWith(t, name, err, conan.ErrConflict)
		if err == nil || !strings.Contains(err.Error(), pkgs[0].String()+" is pinned by bob") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, o := range []RemoveOptions{dry, o} {
		gone, err := db.RemovePinned(ctx, store, pkgs[1:], o)
		failsWith(t, "another package", err, nil)
		same(t, "what went", gone, pkgs[1:])
	}
	erased, err := db.Erase(ctx, store, []conan.Revision{recipe}, Audit{Action: ActionRemoveNow}, noon, false)
	failsWith(t, "erase", err, nil)
	same(t, "erased", len(erased), 3)
	pins, err := db.Pins(ctx, store, 0, 10)
	if err != nil || len(pins) > 0 {
		t.Errorf("pins %v, %v", pins, err)
	}
}
