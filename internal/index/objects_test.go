package index

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/blob"
)

func object(key string, n int) blob.Object {
	return blob.Object{Key: key, Digest: blob.Digest(sumOf(n)), Size: 10}
}

func upload(t *testing.T, db *DB, o blob.Object) {
	t.Helper()
	if err := db.BeginObject(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := db.CompleteObject(t.Context(), o.Key); err != nil {
		t.Fatal(err)
	}
}

func wantObject(t *testing.T, db *DB, n int, key string) {
	t.Helper()
	o, err := db.FindObject(t.Context(), blob.Digest(sumOf(n)))
	if o.Key != key || key != "" && err != nil || key == "" && !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("the object of blob %d is %q, %v; want %q", n, o.Key, err, key)
	}
}

func wantDead(t *testing.T, db *DB, want ...string) {
	t.Helper()
	dead, err := db.DeadObjects(t.Context(), 10)
	if diff := cmp.Diff(want, dead); diff != "" || err != nil {
		t.Errorf("dead objects: %v (-want +got):\n%s", err, diff)
	}
}

// A blob has one object; that of a second upload is dead, and so is that of a blob that was
// dropped.
func TestObjects(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	if err := db.BeginObject(ctx, object("a", 1)); err != nil {
		t.Fatal(err)
	}
	wantObject(t, db, 1, "")
	if err := db.CompleteObject(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	wantObject(t, db, 1, "a")
	upload(t, db, object("b", 1))
	wantObject(t, db, 1, "a")
	wantDead(t, db, "b")
	if size, err := db.DropObject(ctx, blob.Digest(sumOf(1))); size != 10 || err != nil {
		t.Errorf("dropped %d bytes, %v", size, err)
	}
	wantObject(t, db, 1, "")
	upload(t, db, object("c", 1))
	wantObject(t, db, 1, "c")
	wantDead(t, db, "b", "a")
	if err := db.ForgetObjects(ctx, []string{"a", "b", "c"}); err != nil {
		t.Fatal(err)
	}
	wantDead(t, db)
	wantObject(t, db, 1, "c")
	if err := db.SetObjectAside(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	wantObject(t, db, 1, "")
	upload(t, db, object("d", 1))
	wantObject(t, db, 1, "d")
}

// The object of a blob that a revision names is not dropped, whatever a caller asked before.
func TestNamedObjectIsNotDropped(t *testing.T) {
	db := openForTest(t, t.TempDir())
	put(t, db, center, testRevision(1), 1, testFile("conanfile.py", 1, 10))
	upload(t, db, object("a", 1))
	if size, err := db.DropObject(t.Context(), blob.Digest(sumOf(1))); size != 0 || err != nil {
		t.Errorf("dropped %d bytes, %v", size, err)
	}
	wantObject(t, db, 1, "a")
}

// What nothing came of is dead after its time, and an upload that was given up does not come back.
func TestRetireObjects(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	if err := db.BeginObject(ctx, object("pending", 1)); err != nil {
		t.Fatal(err)
	}
	upload(t, db, object("stored", 2))
	upload(t, db, object("unnamed", 3))
	upload(t, db, object("aside", 4))
	if err := db.SetObjectAside(ctx, "aside"); err != nil {
		t.Fatal(err)
	}
	put(t, db, center, testRevision(1), 1, testFile("conanfile.py", 2, 10))
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if err := db.RetireObjects(ctx, past, past); err != nil {
		t.Fatal(err)
	}
	wantDead(t, db)
	if err := errors.Join(db.RetireObjects(ctx, future, past), db.GiveUpUnnamedObjects(ctx, past)); err != nil {
		t.Fatal(err)
	}
	wantDead(t, db, "pending")
	if err := db.CompleteObject(ctx, "pending"); err == nil {
		t.Error("an upload that was given up is complete")
	}
	if err := errors.Join(db.RetireObjects(ctx, past, future), db.GiveUpUnnamedObjects(ctx, future)); err != nil {
		t.Fatal(err)
	}
	wantDead(t, db, "pending", "aside")
	if garbage, err := db.Garbage(ctx, 10); err != nil || !cmp.Equal(garbage, []string{sumOf(3)}) {
		t.Errorf("garbage %q, %v; want only the blob that the index does not know", garbage, err)
	}
}

// What was set aside is listed and taken back only where a revision has no other bytes.
func TestTakeObjectBack(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	put(t, db, center, testRevision(1), 1, testFile("conanfile.py", 1, 10))
	put(t, db, center, testRevision(2), 1, testFile("conanfile.py", 2, 10))
	aside := func(key string, n int) blob.Object {
		t.Helper()
		upload(t, db, object(key, n))
		if err := db.SetObjectAside(ctx, key); err != nil {
			t.Fatal(err)
		}
		return object(key, n)
	}
	first, last := aside("a1", 1), aside("a2", 1)
	replaced, unnamed := aside("b", 2), aside("c", 3)
	upload(t, db, object("b2", 2))

	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for before, want := range map[time.Time][]blob.Digest{past: nil, future: {first.Digest}} {
		if lost, err := db.LostBlobs(ctx, before); err != nil || !cmp.Equal(lost, want) {
			t.Errorf("lost %q, %v; want %q", lost, err, want)
		}
	}
	if list, err := db.AsideObjects(ctx, first.Digest); err != nil || !cmp.Equal(list, []blob.Object{last, first}) {
		t.Errorf("aside %v, %v", list, err)
	}
	for _, o := range []blob.Object{last, first, replaced, unnamed} {
		if err := db.TakeObjectBack(ctx, o); err != nil {
			t.Error(err)
		}
	}
	wantObject(t, db, 1, "a2")
	wantObject(t, db, 2, "b2")
	wantObject(t, db, 3, "")
}

// Rows are made again of a list; the last key of a blob counts.
func TestAdoptObjects(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	if err := db.AdoptObjects(ctx, []blob.Object{object("b", 1), object("a", 1), object("c", 1), object("x", 2)}); err != nil {
		t.Fatal(err)
	}
	wantObject(t, db, 1, "c")
	wantObject(t, db, 2, "x")
	unknown, err := db.UnknownObjects(ctx, []string{"c", "new", "x"})
	if err != nil || !cmp.Equal(unknown, []string{"new"}) {
		t.Errorf("unknown %q, %v", unknown, err)
	}
	var all []string
	err = db.EachObject(ctx, func(o blob.Object) error { all = append(all, o.Key); return nil })
	if err != nil || !cmp.Equal(all, []string{"c", "x"}) {
		t.Errorf("objects %q, %v", all, err)
	}
}

// The id of a bucket is written once.
func TestInstallation(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	if id, err := db.Installation(ctx); id != "" || err != nil {
		t.Errorf("before: %q, %v", id, err)
	}
	if err := db.SetInstallation(ctx, "ours"); err != nil {
		t.Fatal(err)
	}
	if id, err := db.Installation(ctx); id != "ours" || err != nil {
		t.Errorf("after: %q, %v", id, err)
	}
	listed := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	if err := db.SetObjectsListed(ctx, listed); err != nil {
		t.Fatal(err)
	}
	if at, err := db.ObjectsListed(ctx); !at.Equal(listed) || err != nil {
		t.Errorf("listed at %v, %v; want %v", at, err, listed)
	}
	if err := db.SetInstallation(ctx, "another"); err == nil {
		t.Error("the id was replaced")
	}
}
