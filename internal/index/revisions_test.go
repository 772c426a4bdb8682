package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// put records a revision with files and fails the test if that fails.
func put(t *testing.T, db *DB, member MemberID, rev conan.Revision, seconds int64, files ...conan.FileInfo) {
	t.Helper()
	if err := db.PutRevision(t.Context(), member, rev, PutOptions{Time: time.Unix(seconds, 0), Files: files}); err != nil {
		t.Fatal(err)
	}
}

func recipeOf(ref, rrev string) conan.Revision {
	r, err := conan.ParseRef(ref)
	if err != nil {
		panic(err)
	}
	return conan.Revision{Ref: r, RRev: rrev}
}

func packageOf(ref, rrev, id, prev string) conan.Revision {
	r := recipeOf(ref, rrev)
	r.PackageID, r.PRev = id, prev
	return r
}

func texts(list []Stored) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Revision.String())
	}
	return out
}

func find(t *testing.T, db *DB, member MemberID, rev conan.Revision) Stored {
	t.Helper()
	s, err := db.Find(t.Context(), member, rev)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sumOf(id int) string { return testFile("", id, 0).SHA256 }

func garbage(t *testing.T, db *DB) []string {
	t.Helper()
	list, err := db.Garbage(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestListsOfRevisions(t *testing.T) {
	db := openForTest(t, t.TempDir())
	for i, rev := range []conan.Revision{
		recipeOf("aa/1", "old"), recipeOf("aa/1", "new"),
		packageOf("aa/1", "old", "p1", "x"), packageOf("aa/1", "new", "p2", "x"), packageOf("aa/1", "new", "p1", "x"),
		packageOf("aa/1", "new", "p1", "y"), packageOf("aa/1", "new", "p1", "z"),
		recipeOf("aa/1@me/test", "other"), recipeOf("aa/2", "other"), packageOf("aa/1@me/test", "new", "p1", "other"),
	} {
		put(t, db, center, rev, int64(i))
	}
	put(t, db, center, recipeOf("aa/1", "same"), 1) // as old as "new", recorded later
	put(t, db, store, recipeOf("aa/1", "local"), 99)
	put(t, db, store, packageOf("aa/1", "new", "p1", "local"), 99)

	tests := []struct {
		name string
		list func() ([]Stored, error)
		want []string
	}{
		{"recipe revisions, newest first", func() ([]Stored, error) { return db.Revisions(t.Context(), center, recipeOf("aa/1", "")) },
			[]string{"aa/1#same", "aa/1#new", "aa/1#old"}},
		{"a named recipe revision does not narrow", func() ([]Stored, error) { return db.Revisions(t.Context(), center, recipeOf("aa/1", "old")) },
			[]string{"aa/1#same", "aa/1#new", "aa/1#old"}},
		{"of another member", func() ([]Stored, error) { return db.Revisions(t.Context(), store, recipeOf("aa/1", "")) },
			[]string{"aa/1#local"}},
		{"of nobody", func() ([]Stored, error) { return db.Revisions(t.Context(), center, recipeOf("bb/1", "")) }, nil},
		{"case counts", func() ([]Stored, error) { return db.Revisions(t.Context(), center, recipeOf("AA/1", "")) }, nil},
		{"package revisions", func() ([]Stored, error) {
			return db.Revisions(t.Context(), center, packageOf("aa/1", "new", "p1", ""))
		},
			[]string{"aa/1#new:p1#z", "aa/1#new:p1#y", "aa/1#new:p1#x"}},
		{"package revisions of an older recipe", func() ([]Stored, error) {
			return db.Revisions(t.Context(), center, packageOf("aa/1", "old", "p1", ""))
		},
			[]string{"aa/1#old:p1#x"}},
		{"package revisions of nothing", func() ([]Stored, error) {
			return db.Revisions(t.Context(), center, packageOf("aa/1", "old", "p2", ""))
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.list()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, texts(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFind(t *testing.T) {
	db := openForTest(t, t.TempDir())
	when := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.FixedZone("east", 7200))
	rev := packageOf("aa/1@me/test", "r", "p", "v")
	if err := db.PutRevision(t.Context(), center, rev, PutOptions{Time: when, Adopted: true}); err != nil {
		t.Fatal(err)
	}
	got := find(t, db, center, rev)
	want := Stored{RowID: got.RowID, Revision: rev, Time: time.Date(2024, 5, 6, 5, 8, 9, 123456000, time.UTC), Adopted: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, ask := range map[string]struct {
		member MemberID
		rev    conan.Revision
	}{
		"another member":     {store, rev},
		"its recipe":         {center, recipeOf("aa/1@me/test", "r")},
		"another user":       {center, packageOf("aa/1@you/test", "r", "p", "v")},
		"another package":    {center, packageOf("aa/1@me/test", "r", "q", "v")},
		"newest, not pinned": {center, packageOf("aa/1@me/test", "r", "p", "")},
	} {
		if _, err := db.Find(t.Context(), ask.member, ask.rev); !errors.Is(err, conan.ErrNotFound) {
			t.Errorf("%s: Find = %v, want ErrNotFound", name, err)
		}
	}
}

func TestPutRevisionAgain(t *testing.T) {
	db := openForTest(t, t.TempDir())
	rev := packageOf("aa/1", "r", "p", "v")
	info := "[settings]\n"
	first, second := testFile("conaninfo.txt", 1, 10), testFile("conanmanifest.txt", 2, 20)
	err := db.PutRevision(t.Context(), center, rev, PutOptions{Time: time.Unix(1, 0), Adopted: true, Info: &info, Files: []conan.FileInfo{first, second}})
	if err != nil {
		t.Fatal(err)
	}
	before := find(t, db, center, rev)
	replaced, added := testFile("conanmanifest.txt", 3, 30), testFile("conan_package.tgz", 4, 40)
	put(t, db, center, rev, 2, replaced, added, first)

	after := find(t, db, center, rev)
	if after.RowID != before.RowID || !after.Time.Equal(time.Unix(2, 0)) || after.Adopted {
		t.Errorf("row %+v became %+v; want the same row with the new time, not adopted", before, after)
	}
	files, err := db.Files(t.Context(), center, rev)
	if diff := cmp.Diff(conan.Snapshot{added, first, replaced}, files); diff != "" || err != nil {
		t.Errorf("files (-want +got):\n%s%v", diff, err)
	}
	if diff := cmp.Diff([]string{second.SHA256}, garbage(t, db)); diff != "" {
		t.Errorf("garbage (-want +got):\n%s", diff)
	}
	packages, err := db.Packages(t.Context(), center, rev.Recipe(), false)
	if diff := cmp.Diff([]conan.Package{{ID: "p", Info: info}}, packages); diff != "" || err != nil {
		t.Errorf("the info was not kept (-want +got):\n%s%v", diff, err)
	}
}

func TestPutRevisionRefusesUnknownSums(t *testing.T) {
	db := openForTest(t, t.TempDir())
	good := testFile("conanfile.py", 1, 1)
	for name, spoil := range map[string]func(*conan.FileInfo){
		"sha256": func(f *conan.FileInfo) { f.SHA256 = "" },
		"sha1":   func(f *conan.FileInfo) { f.SHA1 = "" },
		"md5":    func(f *conan.FileInfo) { f.MD5 = "" },
		"size":   func(f *conan.FileInfo) { f.Size = -1 },
	} {
		bad := good
		bad.Name = "conanmanifest.txt"
		spoil(&bad)
		err := db.PutRevision(t.Context(), center, testRevision(1), PutOptions{Files: []conan.FileInfo{good, bad}})
		if err == nil {
			t.Errorf("a file without %s was recorded", name)
		}
	}
	if refs, err := db.Refs(t.Context(), center); len(refs) != 0 || err != nil {
		t.Errorf("Refs = %v, %v; a refused revision left a row", refs, err)
	}
	if has, err := db.HasBlob(t.Context(), good.SHA256); has || err != nil {
		t.Errorf("HasBlob = %v, %v; a refused revision left a blob", has, err)
	}
}

func TestFiles(t *testing.T) {
	db := openForTest(t, t.TempDir())
	rev := testRevision(1)
	b, a, same := testFile("b", 2, 20), testFile("a", 1, 10), testFile("metadata/same", 1, 10)
	put(t, db, center, rev, 1, b, a, same)
	got, err := db.Files(t.Context(), center, rev)
	if diff := cmp.Diff(conan.Snapshot{a, b, same}, got); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s%v", diff, err)
	}
	if got, err := db.Files(t.Context(), center, testRevision(2)); len(got) != 0 || err != nil {
		t.Errorf("Files of nothing = %v, %v", got, err)
	}
}

func TestPutRevisionAddsAndReplacesFiles(t *testing.T) {
	db := openForTest(t, t.TempDir())
	rev := testRevision(1)
	put(t, db, center, rev, 1, testFile("a", 1, 1))
	if err := db.PutRevision(t.Context(), center, rev, PutOptions{Files: []conan.FileInfo{testFile("a", 2, 2), testFile("b", 3, 3)}}); err != nil {
		t.Fatal(err)
	}
	got, err := db.Files(t.Context(), center, rev)
	if diff := cmp.Diff(conan.Snapshot{testFile("a", 2, 2), testFile("b", 3, 3)}, got); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s%v", diff, err)
	}
	if diff := cmp.Diff([]string{sumOf(1)}, garbage(t, db)); diff != "" {
		t.Errorf("garbage (-want +got):\n%s", diff)
	}
	if err := db.PutRevision(t.Context(), center, rev, PutOptions{Files: []conan.FileInfo{testFile("c", 4, 4), {Name: "d", Size: 1}}}); err == nil {
		t.Error("a file without digests was recorded")
	}
	if has, err := db.HasBlob(t.Context(), sumOf(4)); has || err != nil {
		t.Errorf("HasBlob = %v, %v; half of the files were recorded", has, err)
	}
}

func TestPackages(t *testing.T) {
	db := openForTest(t, t.TempDir())
	recipe := recipeOf("aa/1", "r")
	if got, err := db.Packages(t.Context(), center, recipe, false); len(got) != 0 || err != nil {
		t.Errorf("Packages of nothing = %v, %v", got, err)
	}
	info := func(s string) *string { return &s }
	for i, p := range []struct {
		id, prev string
		info     *string
	}{
		{"p2", "x", info("[settings]\r\n\tüé\x00")}, {"p1", "old", info("old")}, {"p1", "new", info("new")}, {"p0", "x", nil}, {"p3", "x", info("")},
	} {
		err := db.PutRevision(t.Context(), center, packageOf("aa/1", "r", p.id, p.prev), PutOptions{Time: time.Unix(int64(i), 0), Info: p.info})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(t, db, center, recipe, 1)
	put(t, db, center, packageOf("aa/1", "other", "p9", "x"), 1)
	put(t, db, other, packageOf("aa/1", "r", "p9", "x"), 1)
	for idsOnly, want := range map[bool][]conan.Package{
		false: {{ID: "p0"}, {ID: "p1", Info: "new"}, {ID: "p2", Info: "[settings]\r\n\tüé\x00"}, {ID: "p3"}},
		true:  {{ID: "p0"}, {ID: "p1"}, {ID: "p2"}, {ID: "p3"}},
	} {
		got, err := db.Packages(t.Context(), center, recipe, idsOnly)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("idsOnly %v (-want +got):\n%s%v", idsOnly, diff, err)
		}
	}
}

func TestRefs(t *testing.T) {
	db := openForTest(t, t.TempDir())
	put(t, db, center, recipeOf("aa/1", "r"), 1)
	put(t, db, center, recipeOf("aa/1", "s"), 1)
	put(t, db, center, packageOf("bb/1@me/test", "r", "p", "v"), 1)
	put(t, db, other, recipeOf("cc/1", "r"), 1)
	got, err := db.Refs(t.Context(), center)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range got {
		names = append(names, r.String())
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"aa/1", "bb/1@me/test"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := db.Refs(t.Context(), 999); len(got) != 0 || err != nil {
		t.Errorf("Refs of nobody = %v, %v", got, err)
	}
}

func TestTouch(t *testing.T) {
	db := openForTest(t, t.TempDir())
	for i := range 3 {
		put(t, db, center, testRevision(i), 1)
	}
	rows := map[int64]time.Time{999: time.Unix(1, 0)} // a row that is gone meanwhile
	for i, seconds := range []int64{300, 100, 200} {
		rows[find(t, db, center, testRevision(i)).RowID] = time.Unix(seconds, 5000)
	}
	if err := db.Touch(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	cold, err := db.Coldest(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cold {
		got = append(got, fmt.Sprint(c.Version, " ", c.Used.UnixMicro()))
	}
	if diff := cmp.Diff([]string{"1.1 100000005", "1.2 200000005", "1.0 300000005"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := db.Touch(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestRemoveRevisions(t *testing.T) {
	db := openForTest(t, t.TempDir())
	shared := testFile("conanfile.py", 1, 1)
	put(t, db, store, recipeOf("aa/1", "r"), 1, shared, testFile("conanmanifest.txt", 2, 1))
	put(t, db, store, packageOf("aa/1", "r", "p", "v"), 1, testFile("conan_package.tgz", 3, 1))
	put(t, db, store, recipeOf("bb/1", "r"), 1, shared)

	recipe := find(t, db, store, recipeOf("aa/1", "r")).RowID
	if err := db.RemoveRevisions(t.Context(), []int64{recipe, 12345}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Find(t.Context(), store, recipeOf("aa/1", "r")); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("the removed revision: %v", err)
	}
	if refs, err := db.Refs(t.Context(), store); len(refs) != 2 || err != nil {
		t.Errorf("Refs = %v, %v; aa/1 still has a package", refs, err)
	}
	if diff := cmp.Diff([]string{sumOf(1), sumOf(2)}, garbage(t, db)); diff != "" {
		t.Errorf("garbage (-want +got):\n%s", diff)
	}

	pkg := find(t, db, store, packageOf("aa/1", "r", "p", "v")).RowID
	if err := db.RemoveRevisions(t.Context(), []int64{pkg}); err != nil {
		t.Fatal(err)
	}
	if refs, err := db.Refs(t.Context(), store); err != nil || len(refs) != 1 || refs[0].Name != "bb" {
		t.Errorf("Refs = %v, %v; want bb/1 only", refs, err)
	}
	if diff := cmp.Diff([]string{sumOf(1), sumOf(2), sumOf(3)}, garbage(t, db)); diff != "" {
		t.Errorf("garbage (-want +got):\n%s", diff)
	}
	if err := db.RemoveRevisions(t.Context(), nil); err != nil {
		t.Errorf("RemoveRevisions of nothing = %v", err)
	}
}

// More rows than one statement takes parameters for.
func TestRemoveManyRevisions(t *testing.T) {
	db := openForTest(t, t.TempDir())
	const n = 1203
	err := db.update(t.Context(), func(_ context.Context, tx *transaction) error {
		for i := range n {
			rev := packageOf("aa/1", "r", fmt.Sprint("p", i), "v")
			if err := putRevision(t.Context(), tx, center, rev, PutOptions{Files: []conan.FileInfo{testFile("conaninfo.txt", i, 1)}}, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := column[int64](t.Context(), db.read, "read", `SELECT id FROM revisions`)
	if err != nil || len(ids) != n {
		t.Fatalf("%d rows, %v", len(ids), err)
	}
	if err := db.RemoveRevisions(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	if refs, err := db.Refs(t.Context(), center); len(refs) != 0 || err != nil {
		t.Errorf("Refs = %v, %v", refs, err)
	}
	for limit, want := range map[int]int{0: 0, 5: 5, 5000: n} {
		if got, err := db.Garbage(t.Context(), limit); len(got) != want || err != nil {
			t.Errorf("Garbage(%d) = %d digests, %v; want %d", limit, len(got), err, want)
		}
	}
}

func TestForgetBlob(t *testing.T) {
	db := openForTest(t, t.TempDir())
	put(t, db, center, testRevision(1), 1, testFile("conanfile.py", 1, 1))
	put(t, db, store, testRevision(2), 1, testFile("conanfile.py", 1, 1))
	stage := Stage{Member: store, ID: "s", Revision: testRevision(3), Touched: time.Unix(1, 0)}
	if _, err := db.PutStaged(t.Context(), stage, StagedFile{FileInfo: testFile("conanfile.py", 1, 1)}); err != nil {
		t.Fatal(err)
	}
	removeRow := func(member MemberID, version int) func() error {
		return func() error {
			id := find(t, db, member, testRevision(version)).RowID
			return db.RemoveRevisions(t.Context(), []int64{id})
		}
	}
	steps := []struct {
		name  string
		do    func() error
		named bool
	}{
		{"three rows", func() error { return nil }, true},
		{"one row less", removeRow(center, 1), true},
		{"the stage only", removeRow(store, 2), true},
		{"no row", func() error {
			return db.update(t.Context(), func(_ context.Context, tx *transaction) error { return dropStage(t.Context(), tx, "s") })
		}, false},
		{"forgotten already", func() error { return nil }, false},
	}
	for i, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if marked := len(garbage(t, db)) == 1; marked != (i >= 1 && i <= 3) {
			t.Errorf("%s: garbage %v", step.name, marked)
		}
		if named, err := db.BlobNamed(t.Context(), sumOf(1)); named != step.named || err != nil {
			t.Errorf("%s: BlobNamed = %v, %v; want %v", step.name, named, err, step.named)
		}
		if named, err := db.ForgetBlob(t.Context(), sumOf(1)); named != step.named || err != nil {
			t.Errorf("%s: ForgetBlob = %v, %v; want %v", step.name, named, err, step.named)
		}
		if has, err := db.HasBlob(t.Context(), sumOf(1)); has != step.named || err != nil {
			t.Errorf("%s: HasBlob = %v, %v; want %v", step.name, has, err, step.named)
		}
		if left := garbage(t, db); len(left) != 0 {
			t.Errorf("%s: garbage after ForgetBlob: %v", step.name, left)
		}
	}
}

// A blob whose row is named cannot be deleted, whoever tries.
func TestNamedBlobsAreProtected(t *testing.T) {
	db := openForTest(t, t.TempDir())
	put(t, db, center, testRevision(1), 1, testFile("conanfile.py", 1, 1))
	if _, err := db.write.db.Exec(`DELETE FROM blobs`); err == nil {
		t.Error("the row of a named blob was deleted")
	}
	if _, err := db.write.db.Exec(`INSERT INTO files (revision_id, name, sha256) VALUES (1, 'x', 'no such blob')`); err == nil {
		t.Error("a file that names no blob was recorded")
	}
}
