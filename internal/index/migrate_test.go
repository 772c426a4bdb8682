package index

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// TestMigrateMembersFromText opens an index whose rows name their members by text.
func TestMigrateMembersFromText(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	old, err := sql.Open("sqlite", dsn(filepath.Join(dir, "index.db"), false))
	if err != nil {
		t.Fatal(err)
	}
	p, err := migrationsOf(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, 2); err != nil {
		t.Fatal(err)
	}
	shared, cached := testFile("conanfile.py", 1, 10), testFile("conanmanifest.txt", 2, 300)
	for _, q := range []struct {
		text string
		args []any
	}{
		{`INSERT INTO refs (id, member, name, version, usr, channel) VALUES (7, 'local', 'aa', '1', '', ''), (8, 'far', 'aa', '1', 'me', 'test')`, nil},
		{`INSERT INTO revisions (id, ref_id, rrev, package_id, prev, time, used, adopted, info) VALUES
			(70, 7, 'r', '', '', 5000000, $1, 1, NULL), (71, 7, 'r', 'p', 'v', 6000000, $1, 0, 'text'), (80, 8, 'r', '', '', 7000000, 9000000, 0, NULL)`, []any{int64(neverCold)}},
		{`INSERT INTO blobs (sha256, size, sha1, md5) VALUES ($1, $2, $3, $4)`, []any{shared.SHA256, shared.Size, shared.SHA1, shared.MD5}},
		{`INSERT INTO blobs (sha256, size, sha1, md5) VALUES ($1, $2, $3, $4)`, []any{cached.SHA256, cached.Size, cached.SHA1, cached.MD5}},
		{`INSERT INTO files (revision_id, name, sha256) VALUES (70, 'conanfile.py', $1), (80, 'conanfile.py', $1), (80, 'conanmanifest.txt', $2)`, []any{shared.SHA256, cached.SHA256}},
		{`INSERT INTO documents (member, kind, key, body, fetched) VALUES ('far', 'list', 'k', '[]', 1000000), ('', 'scrub', 'cursor', 'abc', 0)`, nil},
		{`INSERT INTO stages (id, ref, rrev, package_id, prev, usr, declared, base, created) VALUES ('s', 'bb/1', '', '', '', 'ann', '', '', 1000000)`, nil},
		{`INSERT INTO stage_files (stage_id, name, sha256) VALUES ('s', 'conanfile.py', $1)`, []any{shared.SHA256}},
	} {
		if _, err := old.Exec(q.text, q.args...); err != nil {
			t.Fatalf("%s: %v", q.text, err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}

	db, err := Open(ctx, filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	local, err := db.Member(ctx, "local", KindStore)
	if err != nil {
		t.Fatal(err)
	}
	far, err := db.Member(ctx, "far", KindUpstream)
	if err != nil {
		t.Fatal(err)
	}
	if members, err := db.Members(ctx); err != nil || len(members) != 2 {
		t.Errorf("members %v, %v; want the two that were named", members, err)
	}
	got := find(t, db, local, recipeOf("aa/1", "r"))
	want := Stored{RowID: 70, Revision: recipeOf("aa/1", "r"), Time: time.Unix(5, 0).UTC(), Adopted: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recipe (-want +got):\n%s", diff)
	}
	if list, err := db.Packages(ctx, local, recipeOf("aa/1", "r"), false); err != nil || len(list) != 1 || list[0].Info != "text" {
		t.Errorf("packages %v, %v", list, err)
	}
	if diff := cmp.Diff(conan.Snapshot{shared, cached}, mustFiles(t, db, far, recipeOf("aa/1@me/test", "r"))); diff != "" {
		t.Errorf("cached files (-want +got):\n%s", diff)
	}
	if n, err := db.CachedBytes(ctx); n != cached.Size || err != nil {
		t.Errorf("cached bytes %d, %v; want %d", n, err, cached.Size)
	}
	if n, err := db.StoreBytes(ctx, local); n != shared.Size || err != nil {
		t.Errorf("bytes of the store %d, %v; want %d", n, err, shared.Size)
	}
	if d, err := db.Document(ctx, far, "list", "k"); err != nil || string(d.Body) != "[]" {
		t.Errorf("document %q, %v", d.Body, err)
	}
	if cursor, err := db.ScrubCursor(ctx); cursor != "abc" || err != nil {
		t.Errorf("scrub's place %q, %v", cursor, err)
	}
	if s, err := db.Stage(ctx, "s"); err != nil || s.Member != local || len(s.Files) != 1 {
		t.Errorf("stage %+v, %v", s, err)
	}
	if err := db.RemoveRevisions(ctx, []int64{80}); err != nil {
		t.Fatal(err)
	}
	if n, err := db.CachedBytes(ctx); n != 0 || err != nil {
		t.Errorf("cached bytes after the removal: %d, %v", n, err)
	}
}

func mustFiles(t *testing.T, db *DB, member MemberID, rev conan.Revision) conan.Snapshot {
	t.Helper()
	list, err := db.Files(t.Context(), member, rev)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestFoldBytesKeepsTheSum(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	for i := range 150 {
		put(t, db, center, testRevision(i), 1, testFile("conanfile.py", i, int64(i)))
	}
	before, err := db.CachedBytes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.FoldBytes(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := db.CachedBytes(ctx)
	if err != nil || after != before || before == 0 {
		t.Errorf("%d bytes before, %d after, %v", before, after, err)
	}
	rows, err := column[int](ctx, db.read, "count", `SELECT COUNT(*) FROM cached_bytes`)
	if err != nil || rows[0] != 1 {
		t.Errorf("%v rows, %v; want one", rows, err)
	}
}

// TestMigrateOperations opens an index of the release before the trash and the history.
func TestMigrateOperations(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "index.db")
	old, err := sql.Open("sqlite", dsn(path, false))
	if err != nil {
		t.Fatal(err)
	}
	p, err := migrationsOf(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, 4); err != nil {
		t.Fatal(err)
	}
	file := testFile("conanfile.py", 1, 10)
	for _, q := range []struct {
		text string
		args []any
	}{
		{`INSERT INTO members (id, name, kind) VALUES (1, 'local', 'store'), (2, 'far', 'upstream')`, nil},
		{`INSERT INTO refs (id, member_id, name, version, usr, channel) VALUES (7, 1, 'aa', '1', '', ''), (8, 2, 'bb', '1', '', '')`, nil},
		{`INSERT INTO revisions (id, ref_id, rrev, package_id, prev, time, used) VALUES (70, 7, 'r', '', '', 5000000, $1), (80, 8, 'r', '', '', 5000000, 1)`, []any{int64(neverCold)}},
		{`INSERT INTO blobs (sha256, size, sha1, md5) VALUES ($1, $2, $3, $4)`, []any{file.SHA256, file.Size, file.SHA1, file.MD5}},
		{`INSERT INTO files (revision_id, name, sha256) VALUES (70, 'conanfile.py', $1)`, []any{file.SHA256}},
		{`INSERT INTO audit (time, usr, action, target) VALUES (6000000, 'ann', 'remove', 'aa/0')`, nil},
		{`INSERT INTO stages (id, ref, rrev, package_id, prev, usr, declared, base, created, member_id) VALUES ('s', 'bb/1', '', '', '', 'ann', '', '', 1000000, 1)`, nil},
	} {
		if _, err := old.Exec(q.text, q.args...); err != nil {
			t.Fatalf("%s: %v", q.text, err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}

	db, err := Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	const local = MemberID(1)
	rev := recipeOf("aa/1", "r")
	for at, want := range map[int64]bool{4: false, 5: true, 5000: true} {
		if was, err := db.WasVisible(ctx, local, rev, time.Unix(at, 0)); err != nil || was != want {
			t.Errorf("visible at second %d: %v, %v; want %v: older rows begin at their time", at, was, err, want)
		}
	}
	if was, err := db.WasVisible(ctx, 2, recipeOf("bb/1", "r"), time.Unix(5000, 0)); err != nil || was {
		t.Errorf("an upstream has a history: %v, %v", was, err)
	}
	lines, err := db.AuditLines(ctx, AuditFilter{Limit: 10})
	want := []AuditLine{{ID: 1, Time: time.Unix(6, 0).UTC(), Audit: Audit{By: conan.Actor{Name: "ann"}, Action: "remove", Target: "aa/0"}}}
	if diff := cmp.Diff(want, lines); diff != "" || err != nil {
		t.Errorf("audit: %v (-want +got):\n%s", err, diff)
	}
	if s, err := db.Stage(ctx, "s"); err != nil || s.Uploader != "ann" || s.Address != "" {
		t.Errorf("stage %+v, %v", s, err)
	}
	remove := RemoveOptions{Audit: Audit{By: conan.Actor{Name: "bob"}, Action: "remove"}, Now: time.Now(), Trash: true}
	if err := onlyError(db.RemovePinned(ctx, local, []conan.Revision{rev}, remove)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Restore(ctx, local, []conan.Revision{rev}, Audit{Action: "restore"}, time.Now(), false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(conan.Snapshot{file}, mustFiles(t, db, local, rev)); diff != "" {
		t.Errorf("files after a restoration (-want +got):\n%s", diff)
	}
}

// TestMigrateRevisionLists opens an index whose lists of revisions are arrays, and goes back.
func TestMigrateRevisionLists(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	p, err := migrationsOf(db.write.db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.DownTo(ctx, 7); err != nil {
		t.Fatal(err)
	}
	list := `[{"ID":"r","Time":"2026-01-01T00:00:00Z"}]`
	for kind, body := range map[string]string{"revisions": list, "packages": `[]`} {
		if err := db.PutDocument(ctx, center, kind, "aa/1", Document{Body: []byte(body), Fetched: noon}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(kind, want string) {
		t.Helper()
		if d, err := db.Document(ctx, center, kind, "aa/1"); err != nil || string(d.Body) != want {
			t.Errorf("%s: %s, %v; want %s", kind, d.Body, err, want)
		}
	}
	if _, err := p.UpTo(ctx, 8); err != nil {
		t.Fatal(err)
	}
	check("revisions", `{"Listed":`+list+`,"Whole":"`+noon.UTC().Format(time.RFC3339)+`"}`)
	check("packages", `[]`)
	if _, err := p.DownTo(ctx, 7); err != nil {
		t.Fatal(err)
	}
	check("revisions", list)
}
