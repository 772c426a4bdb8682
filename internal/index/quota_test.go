package index

import (
	"errors"
	"strings"
	"testing"

	"conanproxy/internal/conan"
)

// TestQuota: what adds bytes above the quota is refused and changes nothing; what adds none, or
// stays below it, is not. The same bytes and the trash count once and not at all.
func TestQuota(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	dev, release := mustMember(t, db, "dev"), mustMember(t, db, "release")
	put := func(store MemberID, rrev string, files ...conan.FileInfo) error {
		return db.PutRevision(ctx, store, recipeOf("aa/1", rrev), PutOptions{Time: noon, Files: files})
	}
	is := func(store MemberID, want int64) {
		t.Helper()
		if got, err := db.StoreBytes(ctx, store); err != nil || got != want {
			t.Errorf("it has %d bytes, %v; want %d", got, err, want)
		}
	}
	denied := func(err error) {
		t.Helper()
		if !errors.Is(err, conan.ErrDenied) || !strings.Contains(err.Error(), `the store "dev" has a quota of 100 bytes`) {
			t.Errorf("got %v; want a refusal that names the store and its quota", err)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	small, large, other := testFile("a", 1, 30), testFile("b", 2, 60), testFile("c", 3, 20)

	db.SetQuota(dev, 100)
	ok(put(dev, "r1", small, large))
	ok(put(dev, "r2", small)) // the same bytes
	is(dev, 90)
	denied(put(dev, "r3", other))
	is(dev, 90)
	if _, err := db.Find(ctx, dev, recipeOf("aa/1", "r3")); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("what was refused is there: %v", err)
	}
	ok(db.CheckQuota(ctx, dev, 10))
	denied(db.CheckQuota(ctx, dev, 11))
	db.SetQuota(dev, 90)
	for _, size := range []int64{-1, 0, 1} {
		if err := db.CheckQuota(ctx, dev, size); err == nil || !strings.Contains(err.Error(), "has a quota of 90 bytes, and would have 91 with this") {
			t.Errorf("an upload of the size %d to a full store: %v", size, err)
		}
	}
	db.SetQuota(dev, 100)

	ok(put(release, "r3", other)) // no quota
	ok(db.CheckQuota(ctx, release, 1<<40))
	for _, dry := range []bool{true, false} {
		_, err := db.Promote(ctx, Promotion{From: release, To: dev, Now: noon, Dry: dry, Items: []PromotionItem{
			{Revision: recipeOf("aa/1", "r3"), Source: map[string]string{"c": other.SHA256}},
		}})
		denied(err)
	}

	ok(onlyError(db.RemovePinned(ctx, dev, []conan.Revision{recipeOf("aa/1", "r1")}, RemoveOptions{Now: noon, Trash: true})))
	is(dev, 30) // r2 has it still
	ok(put(dev, "r3", other))
	is(dev, 50)
	_, err := db.Restore(ctx, dev, []conan.Revision{recipeOf("aa/1", "r1")}, Audit{}, noon, false)
	denied(err)
	ok(db.FoldBytes(ctx))
	is(dev, 50)

	db.SetQuota(dev, 10)
	ok(put(dev, "r2", small)) // adds nothing
	db.SetQuota(dev, 0)
	_, err = db.Restore(ctx, dev, []conan.Revision{recipeOf("aa/1", "r1")}, Audit{}, noon, false)
	ok(err)
	is(dev, 110)
}

// TestStoreBytesOfReplacedFiles: the sum follows a file whose bytes are replaced.
func TestStoreBytesOfReplacedFiles(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	dev := mustMember(t, db, "dev")
	for _, step := range []struct {
		rrev string
		file conan.FileInfo
		want int64
	}{
		{"r1", testFile("a", 1, 30), 30},
		{"r2", testFile("a", 1, 30), 30},
		{"r1", testFile("a", 2, 50), 80}, // r2 has the old ones
		{"r2", testFile("a", 2, 50), 50},
	} {
		if err := db.PutRevision(ctx, dev, recipeOf("aa/1", step.rrev), PutOptions{Time: noon, Files: []conan.FileInfo{step.file}}); err != nil {
			t.Fatal(err)
		}
		if got, err := db.StoreBytes(ctx, dev); err != nil || got != step.want {
			t.Errorf("after %s got %d bytes: the store has %d, %v; want %d", step.rrev, step.file.Size, got, err, step.want)
		}
	}
}

func mustMember(t *testing.T, db *DB, name string) MemberID {
	t.Helper()
	id, err := db.Member(t.Context(), name, KindStore)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
