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

func TestFoldCachedBytesKeepsTheSum(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	for i := range 150 {
		put(t, db, center, testRevision(i), 1, testFile("conanfile.py", i, int64(i)))
	}
	before, err := db.CachedBytes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.FoldCachedBytes(ctx); err != nil {
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
