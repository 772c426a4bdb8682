package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func TestOpenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	rev := testRevision(1)
	var versions []int
	for range 3 {
		db, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		addTestMembers(t, db)
		if err := db.PutRevision(t.Context(), center, rev, PutOptions{Time: time.Unix(1, 0)}); err != nil {
			t.Error(err)
		}
		list, err := db.Revisions(t.Context(), center, conan.Revision{Ref: rev.Ref})
		if err != nil || len(list) != 1 {
			t.Errorf("Revisions = %v, %v; want the one that was put", list, err)
		}
		var applied int
		if err := db.read.db.QueryRow(`SELECT COUNT(*) FROM goose_db_version`).Scan(&applied); err != nil {
			t.Error(err)
		}
		versions = append(versions, applied)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if versions[0] != versions[1] || versions[1] != versions[2] {
		t.Errorf("migrations applied after each start: %v", versions)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the write-ahead log stays after Close: %v", err)
	}
}

func TestOpenOddPaths(t *testing.T) {
	for _, name := range []string{"a b", "100%", "%41", "q?mode=memory", "#x", "ü", "a&b=c", "file:x"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			openForTest(t, dir)
			if _, err := os.Stat(filepath.Join(dir, "index.db")); err != nil {
				t.Error(err)
			}
		})
	}
	t.Chdir(t.TempDir())
	openForTest(t, ".")
	if _, err := os.Stat("index.db"); err != nil {
		t.Error(err)
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, open := range map[string]func() (*DB, error){
		"no database":       func() (*DB, error) { return Open(t.Context(), garbage) },
		"folder is missing": func() (*DB, error) { return Open(t.Context(), filepath.Join(dir, "no", "index.db")) },
		"cancelled":         func() (*DB, error) { return Open(cancelled, filepath.Join(dir, "new.db")) },
	} {
		if db, err := open(); err == nil {
			t.Errorf("%s: Open succeeded", name)
			db.Close()
		}
	}
}

func TestOpenExisting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	_, err := OpenExisting(t.Context(), path)
	failsWith(t, "no file", err, ErrNoIndex)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = OpenExisting(t.Context(), path)
	failsWith(t, "an empty file", err, ErrNoIndex)
	for _, open := range []func(context.Context, string) (*DB, error){Open, OpenExisting} {
		db, err := open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefusesALaterSchema(t *testing.T) {
	dir := t.TempDir()
	db := openForTest(t, dir)
	if _, err := db.write.db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), filepath.Join(dir, "index.db"))
	failsWith(t, "open", err, ErrNewerSchema)
}

// Names and answers that rules hide are not for other users of the machine.
func TestIndexIsPrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "index.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	db := openForTest(t, dir)
	put(t, db, store, testRevision(1), 1)
	copied := filepath.Join(dir, "copy.db")
	failsWith(t, "snapshot", Snapshot(t.Context(), path, copied), nil)
	for _, name := range []string{path, path + "-wal", path + "-shm", copied} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// A snapshot is taken beside a server that writes.
func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	db := openForTest(t, dir)
	path := filepath.Join(dir, "index.db")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				rev := testRevision(i)
				o := PutOptions{Files: []conan.FileInfo{testFile("conanfile.py", 2*i, 1), testFile("conanmanifest.txt", 2*i+1, 1)}}
				if err := db.PutRevision(t.Context(), store, rev, o); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	put(t, db, center, testRevision(1000), 1, testFile("conanfile.py", 1, 1))
	failsWith(t, "snapshot", Snapshot(t.Context(), path, filepath.Join(dir, "copy.db")), nil)
	close(stop)
	wg.Wait()
	copied, err := OpenExisting(t.Context(), filepath.Join(dir, "copy.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	find(t, copied, center, testRevision(1000))
	refs, err := copied.Refs(t.Context(), store)
	failsWith(t, "references", err, nil)
	for i := range refs {
		if n := len(mustFiles(t, copied, store, testRevision(i))); n != 2 {
			t.Errorf("revision %d has %d files in the copy", i, n)
		}
	}
	failsWith(t, "snapshot of nothing", Snapshot(t.Context(), filepath.Join(dir, "no.db"), filepath.Join(dir, "copy2.db")), ErrNoIndex)
	if size, err := db.Size(); err != nil || size < 4096 {
		t.Errorf("Size = %d, %v", size, err)
	}
}

func TestUsage(t *testing.T) {
	db := openForTest(t, t.TempDir())
	shared := testFile("conanfile.py", 1, 10)
	put(t, db, store, recipeOf("aa/1", "r"), 1, shared)
	put(t, db, store, recipeOf("aa/1", "s"), 2, shared, testFile("conanmanifest.txt", 2, 300))
	put(t, db, store, packageOf("aa/1", "s", "p", "v"), 3)
	put(t, db, center, recipeOf("bb/1", "r"), 4, shared)
	got, err := db.Usage(t.Context())
	failsWith(t, "usage", err, nil)
	same(t, "usage", got, []Usage{
		{Member: Member{center, "center", KindUpstream}, References: 1, Recipes: 1, Bytes: 10},
		{Member: Member{store, "local", KindStore}, References: 1, Recipes: 2, Packages: 1, Bytes: 310},
		{Member: Member{other, "other", KindUpstream}},
	})
}

func TestClosed(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Ping(t.Context()); err == nil {
		t.Error("a closed index answers")
	}
	if err := db.PutRevision(t.Context(), center, testRevision(1), PutOptions{}); err == nil {
		t.Error("a closed index takes rows")
	}
}

func TestConnectionSettings(t *testing.T) {
	db := openForTest(t, t.TempDir())
	want := map[string]string{"journal_mode": "wal", "foreign_keys": "1", "synchronous": "2", "busy_timeout": "5000"}
	for name, pool := range map[string]*sql.DB{"read": db.read.db, "write": db.write.db} {
		got := map[string]string{}
		for pragma := range want {
			var value string
			if err := pool.QueryRow(`PRAGMA ` + pragma).Scan(&value); err != nil {
				t.Fatal(err)
			}
			got[pragma] = value
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s pool (-want +got):\n%s", name, diff)
		}
	}
	if _, err := db.read.db.Exec(`DELETE FROM refs`); err == nil {
		t.Error("the reading pool writes")
	}
}

// A failing or panicking transaction leaves nothing behind and frees the one writing connection.
func TestUpdateRollsBack(t *testing.T) {
	db := openForTest(t, t.TempDir())
	insert := func(tx *transaction) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO garbage (sha256) VALUES ('x')`)
		return err
	}
	failure := errors.New("enough")
	err := db.update(t.Context(), func(_ context.Context, tx *transaction) error { return errors.Join(insert(tx), failure) })
	if !errors.Is(err, failure) {
		t.Errorf("update = %v, want %v", err, failure)
	}
	func() {
		defer func() { recover() }()
		db.update(t.Context(), func(_ context.Context, tx *transaction) error {
			if err := insert(tx); err != nil {
				t.Error(err)
			}
			panic("in a transaction")
		})
	}()
	if got, err := db.Garbage(t.Context(), 10); len(got) != 0 || err != nil {
		t.Errorf("Garbage = %v, %v", got, err)
	}
	if err := db.update(t.Context(), func(_ context.Context, tx *transaction) error { return insert(tx) }); err != nil {
		t.Error(err)
	}
}

// Writers and readers side by side never see SQLITE_BUSY nor half a transaction.
func TestConcurrentWriters(t *testing.T) {
	db := openForTest(t, t.TempDir())
	ctx := t.Context()
	const writers, rounds = 6, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				rev := testRevision(w)
				rev.RRev = fmt.Sprint("r", i)
				id := w*rounds + i
				err := db.PutRevision(ctx, center, rev, PutOptions{Time: time.Unix(int64(i), 0), Files: []conan.FileInfo{
					testFile("conanfile.py", 2*id, 10), testFile("conanmanifest.txt", 2*id+1, 10),
				}})
				if err != nil {
					t.Error(err)
					return
				}
				files, err := db.Files(ctx, center, rev)
				if err != nil || len(files) != 2 {
					t.Errorf("own rows are not seen: %v, %v", files, err)
				}
			}
		})
		wg.Go(func() {
			for i := range rounds {
				rev := testRevision((w + 1) % writers)
				rev.RRev = fmt.Sprint("r", i)
				files, err := db.Files(ctx, center, rev)
				if err != nil || len(files) == 1 {
					t.Errorf("Files = %v, %v; want all or nothing", files, err)
				}
				if err := db.Touch(ctx, map[int64]time.Time{int64(i): time.Unix(9, 0)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for w := range writers {
		list, err := db.Revisions(ctx, center, conan.Revision{Ref: testRevision(w).Ref})
		if err != nil || len(list) != rounds {
			t.Errorf("writer %d: %d revisions, %v; want %d", w, len(list), err, rounds)
		}
	}
}

// A second process that writes (a command beside the server) is waited for.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	dbs := []*DB{openForTest(t, dir), openForTest(t, dir)}
	var wg sync.WaitGroup
	for i, db := range dbs {
		wg.Go(func() {
			for j := range 30 {
				if err := db.PutRevision(t.Context(), center, testRevision(i*100+j), PutOptions{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if refs, err := dbs[0].Refs(t.Context(), center); len(refs) != 60 || err != nil {
		t.Errorf("%d references, %v; want 60", len(refs), err)
	}
}

// Going down and up again leaves the same schema.
func TestMigrationsReverse(t *testing.T) {
	db := openForTest(t, t.TempDir())
	before := schema(t, db)
	p, err := migrationsOf(db.write.db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if left := schema(t, db); len(left) != 0 {
		t.Errorf("left after going down: %v", left)
	}
	if _, err := p.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, schema(t, db)); diff != "" {
		t.Errorf("schema (-before +after):\n%s", diff)
	}
}

func schema(t *testing.T, db *DB) []string {
	t.Helper()
	list, err := column[string](t.Context(), db.write.db, "read the schema", `SELECT type || ' ' || name || ' ' || COALESCE(sql, '') FROM sqlite_master
		WHERE name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite%' ORDER BY type, name`)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
