package index

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

// feedAfter is the feed after a cursor in short, and the cursor of its last line.
func feedAfter(t *testing.T, db *DB, cursor string) (lines []string, last string) {
	t.Helper()
	all, err := db.FeedAfter(t.Context(), cursor, 1000)
	failsWith(t, "feed", err, nil)
	for _, l := range all {
		text := fmt.Sprint(l.Action, " ", l.Member, " ", l.Revision)
		if l.View != "" {
			text += " in " + l.View
		}
		for _, f := range l.Files {
			text += fmt.Sprintf(" %s %.8s>%.8s", f.Name, f.Was, f.Now)
		}
		lines, cursor = append(lines, text), l.Cursor
	}
	return lines, cursor
}

func newestCursor(t *testing.T, db *DB) string {
	t.Helper()
	cursor, err := db.FeedCursor(t.Context())
	failsWith(t, "cursor", err, nil)
	return cursor
}

func TestFeedTellsEveryChangeInOrder(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	cursor := newestCursor(t, db)
	release, err := db.Member(ctx, "release", KindStore)
	failsWith(t, "member", err, nil)
	by := conan.Actor{Name: "ann"}
	rev, pkg := recipeOf("aa/1@me/test", "r"), packageOf("aa/1@me/test", "r", "p", "v")
	one, other, info := testFile("conanfile.py", 1, 1), testFile("conanfile.py", 2, 1), testFile("conaninfo.txt", 3, 1)
	short := func(f conan.FileInfo) string { return f.SHA256[:8] }

	put(t, db, center, rev, 1, one) // cached: no line
	put(t, db, store, rev, 1, one)
	put(t, db, store, pkg, 2, info)
	put(t, db, store, rev, 3, one) // again, with a new time
	put(t, db, store, rev, 4, other)
	_, err = db.PutStaged(ctx, Stage{Member: store, ID: "s", Revision: rev, Touched: noon}, StagedFile{FileInfo: testFile("metadata/b", 4, 1)})
	failsWith(t, "add metadata", err, nil)
	failsWith(t, "remove a file", db.RemoveFiles(ctx, store, rev, []string{"metadata/b", "none"}, Audit{}, noon), nil)
	failsWith(t, "remove no file", db.RemoveFiles(ctx, store, rev, []string{"none"}, Audit{}, noon), nil)
	item := PromotionItem{Revision: rev, Source: map[string]string{"conanfile.py": other.SHA256}}
	_, err = db.Promote(ctx, Promotion{From: store, To: release, Items: []PromotionItem{item}, Now: noon})
	failsWith(t, "promote", err, nil)
	hide := Hide{ID: 1, Member: "release", View: "team", Revision: rev, Reason: "bad"}
	failsWith(t, "hide", db.Hide(ctx, []Hide{hide}, by, noon), nil)
	failsWith(t, "show", db.Unhide(ctx, []Hide{hide}, by, noon), nil)
	failsWith(t, "remove", db.Remove(ctx, store, conan.Removal{Revision: rev}, RemoveOptions{Now: noon, Trash: true}), nil)
	_, err = db.Restore(ctx, store, []conan.Revision{rev}, Audit{}, noon, true)
	failsWith(t, "restore, a dry run", err, nil)
	_, err = db.Restore(ctx, store, []conan.Revision{rev}, Audit{}, noon, false)
	failsWith(t, "restore", err, nil)
	failsWith(t, "remove what is not there", db.Remove(ctx, release, conan.Removal{Revision: pkg}, RemoveOptions{Now: noon}), conan.ErrNotFound)

	added := short(testFile("metadata/b", 4, 1))
	lines, last := feedAfter(t, db, cursor)
	same(t, "feed", lines, []string{
		"published local aa/1@me/test#r", "published local aa/1@me/test#r:p#v", "published local aa/1@me/test#r",
		"overwritten local aa/1@me/test#r conanfile.py " + short(one) + ">" + short(other),
		"published local aa/1@me/test#r metadata/b >" + added, "overwritten local aa/1@me/test#r metadata/b " + added + ">",
		"promoted release aa/1@me/test#r", "hidden release aa/1@me/test#r in team", "shown release aa/1@me/test#r in team",
		"removed local aa/1@me/test#r", "removed local aa/1@me/test#r:p#v", "restored local aa/1@me/test#r", "restored local aa/1@me/test#r:p#v",
	})
	same(t, "the last cursor", last, newestCursor(t, db))
	lines, _ = feedAfter(t, db, last)
	same(t, "after the last line", len(lines), 0)
	first, err := db.FeedAfter(ctx, cursor, 2)
	failsWith(t, "a short page", err, nil)
	rest, _ := feedAfter(t, db, first[1].Cursor)
	same(t, "pages join", len(first)+len(rest), 13)
}

// A reader wakes up once a change is in force: what it asks for then is not older.
func TestFeedWakesReaders(t *testing.T) {
	db := openForTest(t, t.TempDir())
	cursor, changed := newestCursor(t, db), db.FeedChanged()
	inForce := false
	db.HidesInForce(func() error {
		inForce = true
		lines, _ := feedAfter(t, db, cursor)
		same(t, "lines before hides are in force", len(lines), 0)
		return nil
	})
	put(t, db, center, recipeOf("cc/1", "r"), 1)
	select {
	case <-changed:
		t.Error("a cached revision is no line of the feed")
	default:
	}
	failsWith(t, "hide", db.Hide(t.Context(), []Hide{{Revision: recipeOf("aa/1", "r")}}, conan.Actor{}, noon), nil)
	<-changed
	lines, _ := feedAfter(t, db, cursor)
	same(t, "lines", lines, []string{"hidden  aa/1#r"})
	if !inForce {
		t.Error("hides were not put in force")
	}
}

func TestFeedKnowsItsCursors(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	db := openForTest(t, dir)
	begin := newestCursor(t, db)
	for i := range 3 {
		put(t, db, store, testRevision(i), int64(i))
	}
	backup := filepath.Join(t.TempDir(), "index.db")
	failsWith(t, "back up", Snapshot(ctx, filepath.Join(dir, "index.db"), backup), nil)
	common := newestCursor(t, db)
	put(t, db, store, testRevision(8), 8)
	undone := newestCursor(t, db)

	restored, err := Open(ctx, backup)
	failsWith(t, "restore", err, nil)
	defer restored.Close()
	addTestMembers(t, restored)
	put(t, restored, store, testRevision(9), 9) // has the number of the change that the backup undid
	lines, _ := feedAfter(t, restored, common)
	same(t, "a cursor from before the backup", len(lines), 1)
	other := openForTest(t, t.TempDir())
	for name, tt := range map[string]struct {
		db     *DB
		cursor string
	}{
		"of a change that a restored backup undid": {restored, undone}, "of another server": {other, begin}, "none": {db, ""},
		"no number": {db, "elephant"}, "another spelling": {db, "+" + begin[1:]}, "too long": {db, "0" + begin},
	} {
		_, err := tt.db.FeedAfter(ctx, tt.cursor, 10)
		failsWith(t, name, err, ErrFeedGone)
	}

	failsWith(t, "sweep nothing", db.SweepFeed(ctx, noon.Add(-time.Hour)), nil)
	feedAfter(t, db, begin)
	failsWith(t, "sweep all", db.SweepFeed(ctx, time.Now().Add(time.Hour)), nil)
	_, err = db.FeedAfter(ctx, begin, 10)
	failsWith(t, "a cursor that is too old", err, ErrFeedGone)
	same(t, "the newest cursor stays", newestCursor(t, db), undone)
	put(t, db, store, testRevision(10), 10)
	lines, _ = feedAfter(t, db, undone)
	same(t, "what comes after it", len(lines), 1)
	if _, err := db.write.db.Exec(`UPDATE sqlite_sequence SET seq = $1 WHERE name = 'feed'`, 2*MostFeed); err != nil {
		t.Fatal(err)
	}
	put(t, db, store, testRevision(11), 11)
	failsWith(t, "sweep too many", db.SweepFeed(ctx, noon.Add(-time.Hour)), nil)
	_, err = db.FeedAfter(ctx, undone, 10)
	failsWith(t, "a cursor of a row that is one too many", err, ErrFeedGone)
}
