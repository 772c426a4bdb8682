package index

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
)

func openForTest(t testing.TB, dir string) *DB {
	t.Helper()
	db, err := Open(context.Background(), filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	addTestMembers(t, db)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func testFile(name string, id int, size int64) conan.FileInfo {
	return conan.FileInfo{Name: name, Size: size, MD5: fmt.Sprintf("%032x", id), SHA1: fmt.Sprintf("%040x", id), SHA256: fmt.Sprintf("%064x", id)}
}

func testRevision(version int) conan.Revision {
	return conan.Revision{Ref: conan.Ref{Name: "zlib", Version: fmt.Sprintf("1.%d", version)}, RRev: "aa"}
}

func TestHeld(t *testing.T) {
	ctx := context.Background()
	db := openForTest(t, t.TempDir())
	rev := testRevision(1)
	if _, err := db.Held(ctx, center, rev); !errors.Is(err, conan.ErrNotFound) {
		t.Fatalf("Held of nothing: %v, want ErrNotFound", err)
	}
	when := time.Date(2024, 5, 6, 7, 8, 9, 123000, time.UTC)
	if err := db.PutRevision(ctx, center, rev, PutOptions{Time: when}); err != nil {
		t.Fatal(err)
	}
	h, err := db.Held(ctx, center, rev)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Files) != 0 || !h.Time.Equal(when) || h.RowID == 0 {
		t.Errorf("Held of a revision without files = %+v", h)
	}
	b, a := testFile("conanmanifest.txt", 2, 20), testFile("conanfile.py", 1, 10)
	if err := db.PutRevision(ctx, center, rev, PutOptions{Time: h.Time, Files: []conan.FileInfo{b, a}}); err != nil {
		t.Fatal(err)
	}
	h, err = db.Held(ctx, center, rev)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(conan.Snapshot{a, b}, h.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, err := db.Held(ctx, other, rev); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("Held by another member: %v, want ErrNotFound", err)
	}
}

func TestColdest(t *testing.T) {
	ctx := context.Background()
	db := openForTest(t, t.TempDir())
	shared := testFile("conanmanifest.txt", 100, 1000)
	put := func(member MemberID, version int, files ...conan.FileInfo) int64 {
		t.Helper()
		if err := db.PutRevision(ctx, member, testRevision(version), PutOptions{Time: time.Unix(1, 0), Files: files}); err != nil {
			t.Fatal(err)
		}
		h, err := db.Held(ctx, member, testRevision(version))
		if err != nil {
			t.Fatal(err)
		}
		return h.RowID
	}
	one := put(center, 1, testFile("conanfile.py", 1, 10), shared)
	two := put(other, 2, testFile("conanfile.py", 2, 20), testFile("conan_export.tgz", 3, 5))
	three := put(center, 3, testFile("conanfile.py", 4, 40))
	local := put(store, 1, testFile("conanfile.py", 4, 40), shared)
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	if err := db.Touch(ctx, map[int64]time.Time{one: at(300), two: at(100), three: at(200), local: at(1)}); err != nil {
		t.Fatal(err)
	}
	type row struct {
		ID     int64
		Member MemberID
		Used   int64
		Frees  int64
	}
	cold, err := db.Coldest(ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []row
	for _, c := range cold {
		got = append(got, row{c.RowID, c.Member.ID, c.Used.Unix(), c.Frees})
	}
	want := []row{{two, other, 100, 25}, {three, center, 200, 0}, {one, center, 300, 10}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("coldest (-want +got):\n%s", diff)
	}
	if cold, err = db.Coldest(ctx, 1); err != nil || len(cold) != 1 || cold[0].RowID != two {
		t.Errorf("Coldest(1) = %v, %v", cold, err)
	}
}

// The order by last use must come from the index on it, or each eviction would sort all rows.
func TestColdestReadsInOrder(t *testing.T) {
	db := openForTest(t, t.TempDir())
	rows, err := db.read.db.Query(`EXPLAIN QUERY PLAN SELECT r.id FROM revisions r JOIN refs f ON f.id = r.ref_id
		WHERE f.member_id <> $1 ORDER BY r.used, r.id LIMIT $2`, store, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(detail + "\n")
	}
	if !strings.Contains(plan.String(), "revisions_used") || strings.Contains(plan.String(), "TEMP B-TREE") {
		t.Errorf("plan:\n%s", plan.String())
	}
}

// Whoever changes rows in whatever order, the running total is what a count over all rows gives.
func TestCachedBytesProperty(t *testing.T) {
	ctx := context.Background()
	db := openForTest(t, t.TempDir())
	rapid.Check(t, func(rt *rapid.T) {
		members := []MemberID{store, center, other}
		names := []string{"conanfile.py", "conanmanifest.txt"}
		exec := func(query string, args ...any) {
			if err := db.update(ctx, func(ctx context.Context, tx *transaction) error {
				_, err := tx.ExecContext(ctx, query, args...)
				return err
			}); err != nil {
				rt.Fatal(err)
			}
		}
		for _, table := range []string{"files", "revisions", "refs", "stage_files", "stages", "blobs"} {
			exec(`DELETE FROM ` + table)
		}
		exec(`INSERT INTO stages (id, ref, rrev, package_id, prev, usr, declared, base, created) VALUES ('s', 'a/1', '', '', '', '', '', '', 0)`)
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			member := rapid.SampledFrom(members).Draw(rt, "member")
			rev := testRevision(rapid.IntRange(0, 2).Draw(rt, "version"))
			blob := rapid.IntRange(1, 5).Draw(rt, "blob")
			file := testFile(rapid.SampledFrom(names).Draw(rt, "name"), blob, int64(1)<<blob)
			switch rapid.IntRange(0, 4).Draw(rt, "action") {
			case 0, 1:
				if err := db.PutRevision(ctx, member, rev, PutOptions{Time: time.Unix(1, 0), Files: []conan.FileInfo{file}}); err != nil {
					rt.Fatal(err)
				}
			case 2:
				h, err := db.Held(ctx, member, rev)
				if errors.Is(err, conan.ErrNotFound) {
					continue
				}
				if err := errors.Join(err, db.RemoveRevisions(ctx, []int64{h.RowID})); err != nil {
					rt.Fatal(err)
				}
			case 3:
				exec(`INSERT INTO blobs (sha256, size, sha1, md5) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, file.SHA256, file.Size, file.SHA1, file.MD5)
				exec(`INSERT INTO stage_files (stage_id, name, sha256) VALUES ('s', $1, $2)
					ON CONFLICT (stage_id, name) DO UPDATE SET sha256 = excluded.sha256`, file.Name, file.SHA256)
			case 4:
				exec(`DELETE FROM stage_files WHERE name = $1`, file.Name)
			}
			var want int64
			if err := db.read.db.QueryRow(`SELECT COALESCE(SUM(size), 0) FROM blobs b WHERE
				EXISTS (SELECT 1 FROM files x JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id WHERE x.sha256 = b.sha256 AND f.member_id <> 1)
				AND NOT EXISTS (SELECT 1 FROM files x JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id WHERE x.sha256 = b.sha256 AND f.member_id = 1)
				AND NOT EXISTS (SELECT 1 FROM stage_files s WHERE s.sha256 = b.sha256)`).Scan(&want); err != nil {
				rt.Fatal(err)
			}
			got, err := db.CachedBytes(ctx)
			if err != nil {
				rt.Fatal(err)
			}
			if got != want {
				rt.Fatalf("CachedBytes = %d, want %d", got, want)
			}
		}
	})
}

// What several revisions share is free when all of them go.
func TestFrees(t *testing.T) {
	db := openForTest(t, t.TempDir())
	shared, own, kept := testFile("conaninfo.txt", 1, 20), testFile("conanmanifest.txt", 2, 300), testFile("conanfile.py", 3, 4000)
	put(t, db, center, testRevision(1), 1, shared, own, kept)
	put(t, db, center, testRevision(2), 2, shared)
	put(t, db, store, testRevision(3), 3, kept)
	var ids []int64
	for i := range 2 {
		ids = append(ids, find(t, db, center, testRevision(i+1)).RowID)
	}
	for _, tt := range []struct {
		ids  []int64
		want int64
	}{{nil, 0}, {ids[:1], 300}, {ids[1:], 0}, {ids, 320}} {
		if got, err := db.Frees(t.Context(), tt.ids); got != tt.want || err != nil {
			t.Errorf("Frees(%v) = %d, %v, want %d", tt.ids, got, err, tt.want)
		}
	}
}
