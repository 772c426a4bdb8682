package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/journal"
)

func journalLines(t *testing.T, path string) []journal.Line {
	t.Helper()
	var out []journal.Line
	for l, err := range journal.Read(path) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// journaled opens an index that keeps a journal at path, in its own folder.
func journaled(t *testing.T) (db *DB, path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "journal")
	db = openForTest(t, dir)
	failsWith(t, "keep", db.KeepJournal(t.Context(), path), nil)
	return db, path
}

// brief is the event and the revision of each line with the names of its files.
func brief(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	for _, l := range journalLines(t, path) {
		rev, err := l.Revision()
		if err != nil {
			t.Error(err)
		}
		text := []string{string(l.Event), l.Store, rev.String()}
		for _, f := range l.Files {
			text = append(text, f.Name)
		}
		out = append(out, strings.Join(text, " "))
	}
	return out
}

func TestJournalTellsWhatBecameOfStores(t *testing.T) {
	ctx := t.Context()
	db, path := journaled(t)

	rev, pkg := recipeOf("aa/1@me/test", "r"), packageOf("aa/1@me/test", "r", "p", "v")
	put(t, db, center, rev, 1, testFile("conanfile.py", 9, 1)) // cached: not journaled
	put(t, db, store, rev, 1, testFile("conanfile.py", 1, 1), testFile("metadata/a", 2, 1))
	put(t, db, store, pkg, 2, testFile("conaninfo.txt", 3, 1))
	failsWith(t, "remove a file", db.RemoveFiles(ctx, store, rev, []string{"metadata/a"}, Audit{}, noon), nil)
	_, err := db.PutStaged(ctx, Stage{Member: store, ID: "s", Revision: rev, Touched: noon}, StagedFile{FileInfo: testFile("metadata/b", 4, 1)})
	failsWith(t, "add metadata", err, nil)
	failsWith(t, "a failing removal", db.Remove(ctx, store, conan.Removal{Revision: recipeOf("aa/1@me/test", "no")}, RemoveOptions{Now: noon}), conan.ErrNotFound)
	failsWith(t, "remove", db.Remove(ctx, store, conan.Removal{Revision: rev}, RemoveOptions{Now: noon}), nil)
	same(t, "journal", brief(t, path), []string{
		"published local aa/1@me/test#r conanfile.py metadata/a",
		"published local aa/1@me/test#r:p#v conaninfo.txt",
		"published local aa/1@me/test#r conanfile.py",
		"published local aa/1@me/test#r conanfile.py metadata/b",
		"removed local aa/1@me/test#r",
		"removed local aa/1@me/test#r:p#v",
	})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// What was committed before a crash and not yet appended is appended by the next process; half a
// line goes.
func TestJournalCatchesUp(t *testing.T) {
	ctx := t.Context()
	db, path := journaled(t)
	for i := range 3 {
		put(t, db, store, testRevision(i), int64(i))
	}
	whole := brief(t, path)
	text, err := os.ReadFile(path)
	failsWith(t, "read", err, nil)
	lines := strings.SplitAfter(string(text), "\n")
	for name, left := range map[string]string{
		"the last line is missing":  lines[0] + lines[1],
		"the last line is cut":      lines[0] + lines[1] + lines[2][:20],
		"lines are missing":         lines[0],
		"the journal is missing":    "",
		"the journal is not behind": string(text),
	} {
		if err := os.WriteFile(path, []byte(left), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Open(ctx, filepath.Join(filepath.Dir(path), "index.db"))
		if err != nil {
			t.Fatal(err)
		}
		failsWith(t, name, again.KeepJournal(ctx, path), nil)
		same(t, name, brief(t, path), whole)
		again.journal.file.Close()
		again.journal.file = nil
		again.Close()
	}
	failsWith(t, "remove", os.Remove(path), nil)
	failsWith(t, "no journal", db.KeepJournal(ctx, path), nil)
	same(t, "no journal", brief(t, path), whole)
	put(t, db, store, testRevision(7), 7)
	same(t, "goes on", len(brief(t, path)), 4)
}

func TestJournalAheadOfTheIndexIsRefused(t *testing.T) {
	ctx := t.Context()
	db, path := journaled(t)
	dir := filepath.Dir(path)
	put(t, db, store, testRevision(1), 1)
	older := filepath.Join(dir, "older.db")
	failsWith(t, "snapshot", Snapshot(ctx, filepath.Join(dir, "index.db"), older), nil)
	put(t, db, store, testRevision(2), 2)

	restored, err := Open(ctx, older)
	failsWith(t, "open", err, nil)
	defer restored.Close()
	failsWith(t, "an older copy of the index", restored.KeepJournal(ctx, path), ErrJournalAhead)
	failsWith(t, "an empty index", openForTest(t, t.TempDir()).KeepJournal(ctx, path), ErrJournalAhead)
}

// A journal that cannot be written fails the write, shows in Ping, and gets its lines later.
func TestJournalThatCannotBeWritten(t *testing.T) {
	ctx := t.Context()
	db, path := journaled(t)
	failsWith(t, "close the file", db.journal.file.Close(), nil)
	if err := db.PutRevision(ctx, store, testRevision(1), PutOptions{}); err == nil {
		t.Error("a write that is not in the journal succeeded")
	}
	if err := db.PutRevision(ctx, center, testRevision(1), PutOptions{}); err != nil {
		t.Errorf("a write that needs no journal: %v", err)
	}
	if err := db.Ping(ctx); err == nil {
		t.Error("Ping does not tell")
	}
	file, err := journal.Open(path)
	failsWith(t, "open", err, nil)
	db.journal.file = file
	put(t, db, store, testRevision(2), 2)
	failsWith(t, "ping", db.Ping(ctx), nil)
	same(t, "lines", len(brief(t, path)), 2)
}

func TestReplay(t *testing.T) {
	ctx := t.Context()
	db, path := journaled(t)
	kept, gone := recipeOf("aa/1", "r"), recipeOf("bb/1", "r")
	put(t, db, store, kept, 1, testFile("conanfile.py", 1, 10), testFile("metadata/x", 2, 10))
	put(t, db, store, gone, 2, testFile("conanfile.py", 3, 10))
	failsWith(t, "remove a file", db.RemoveFiles(ctx, store, kept, []string{"metadata/x"}, Audit{}, noon), nil)
	failsWith(t, "remove", db.Remove(ctx, store, conan.Removal{Revision: gone}, RemoveOptions{Now: noon}), nil)

	var changes []Change
	for _, l := range journalLines(t, path) {
		changes = append(changes, Change{Line: l})
	}
	again, err := Open(ctx, filepath.Join(t.TempDir(), "index.db"))
	failsWith(t, "open", err, nil)
	defer again.Close()
	failsWith(t, "replay", again.Replay(ctx, changes), nil)
	id, err := again.Member(ctx, "local", KindStore)
	failsWith(t, "member", err, nil)
	same(t, "files", mustFiles(t, again, id, kept), conan.Snapshot{testFile("conanfile.py", 1, 10)})
	same(t, "time", find(t, again, id, kept).Time, time.Unix(1, 0).UTC())
	_, err = again.Find(ctx, id, gone)
	failsWith(t, "removed", err, conan.ErrNotFound)

	before := brief(t, path)
	failsWith(t, "the journal fits", again.KeepJournal(ctx, path), nil)
	same(t, "journal", brief(t, path), before)
	put(t, again, id, gone, 3)
	same(t, "goes on", len(brief(t, path)), len(before)+1)
}
