package index

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// TestPlans asks every question once and looks how SQLite finds the answers: nothing may read a
// whole table whose size grows with what is stored, but for the lists that are asked for whole or
// in the order of an index.
func TestPlans(t *testing.T) {
	db := openForTest(t, t.TempDir())
	ctx := t.Context()
	recipe, pkg := recipeOf("aa/1", "r"), packageOf("aa/1", "r", "p", "v")
	put(t, db, center, pkg, 1, testFile("conaninfo.txt", 1, 1))
	for name, ask := range map[string]func() error{
		"Revisions":       func() error { _, err := db.Revisions(ctx, center, recipe); return err },
		"Revisions (pkg)": func() error { _, err := db.Revisions(ctx, center, pkg); return err },
		"Detail":          func() error { _, err := db.Detail(ctx, "conancenter", pkg); return err },
		"Find":            func() error { _, err := db.Find(ctx, center, pkg); return err },
		"Files":           func() error { _, err := db.Files(ctx, center, pkg); return err },
		"Held":            func() error { _, err := db.Held(ctx, center, pkg); return err },
		"Packages":        func() error { _, err := db.Packages(ctx, center, recipe, false); return err },
		"Packages (ids)":  func() error { _, err := db.Packages(ctx, center, recipe, true); return err },
		"RevisionsAt":     func() error { _, err := db.RevisionsAt(ctx, center, recipe, time.Now()); return err },
		"PackagesAt":      func() error { _, err := db.PackagesAt(ctx, center, recipe, time.Now(), false); return err },
		"RefsAt":          func() error { _, err := db.RefsAt(ctx, center, "a", time.Now()); return err },
		"Refs":            func() error { _, err := db.Refs(ctx, center); return err },
		"RecipeRefs":      func() error { _, err := db.RecipeRefs(ctx, center); return err },
		"BlobNamed":       func() error { _, err := db.BlobNamed(ctx, sumOf(1)); return err },
		"HasBlob":         func() error { _, err := db.HasBlob(ctx, sumOf(1)); return err },
		"BlobSums": func() error {
			if _, err := db.BlobSums(ctx, sumOf(2)); !errors.Is(err, conan.ErrNotFound) {
				return err
			}
			return nil
		},
		"FilesOf":       func() error { _, err := db.FilesOf(ctx, sumOf(1)); return err },
		"HoldersBySHA1": func() error { _, err := db.HoldersBySHA1(ctx, "x"); return err },
		"Garbage":       func() error { _, err := db.Garbage(ctx, 10); return err },
		"Blobs":         func() error { _, err := db.Blobs(ctx, "", 10); return err },
		"FindObject": func() error {
			_, err := db.FindObject(ctx, blob.Digest(sumOf(1)))
			if errors.Is(err, blob.ErrNotFound) {
				err = nil
			}
			return err
		},
		"DeadObjects":      func() error { _, err := db.DeadObjects(ctx, 10); return err },
		"AsideObjects":     func() error { _, err := db.AsideObjects(ctx, blob.Digest(sumOf(1))); return err },
		"UnknownObjects":   func() error { _, err := db.UnknownObjects(ctx, []string{"k"}); return err },
		"Coldest":          func() error { _, err := db.Coldest(ctx, 10); return err },
		"Frees":            func() error { _, err := db.Frees(ctx, []int64{1}); return err },
		"StageExists":      func() error { _, err := db.StageExists(ctx, "s"); return err },
		"OldDocuments":     func() error { _, err := db.OldDocuments(ctx, center, "list", time.Now(), "", 10); return err },
		"SurplusDocuments": func() error { _, err := db.SurplusDocuments(ctx, center, "list", 1, 10); return err },
		"WasVisible":       func() error { _, err := db.WasVisible(ctx, center, pkg, time.Now()); return err },
		"Trash":            func() error { _, err := db.Trash(ctx, center, 0, 10); return err },
		"TrashedOf":        func() error { _, err := db.TrashedOf(ctx, center, pkg.Ref); return err },
		"TrashRefs":        func() error { _, err := db.TrashRefs(ctx, center); return err },
		"TrashFrees":       func() error { _, err := db.TrashFrees(ctx); return err },
		"StoreBytes":       func() error { _, err := db.StoreBytes(ctx, center); return err },
		"TrashBytes":       func() error { _, err := db.TrashBytes(ctx, center); return err },
		"FeedCursor":       func() error { _, err := db.FeedCursor(ctx); return err },
		"FeedAfter":        func() error { _, err := db.FeedAfter(ctx, newestCursor(t, db), 10); return err },
		"Jobs":             func() error { _, err := db.Jobs(ctx, JobFilter{Limit: 10}); return err },
		"Jobs (own)":       func() error { _, err := db.Jobs(ctx, JobFilter{Owner: "ann", Limit: 10}); return err },
		"Pins":             func() error { _, err := db.Pins(ctx, center, 0, 10); return err },
		"PinsOf":           func() error { _, err := db.PinsOf(ctx, center, pkg.Ref); return err },
		"PinRefs":          func() error { _, err := db.PinRefs(ctx, center, "ann"); return err },
		"PinAdds":          func() error { _, err := db.PinAdds(ctx, sumOf(1)); return err },
		"PinnedBytes":      func() error { _, err := db.PinnedBytes(ctx); return err },
		"RevisionsOf":      func() error { _, err := db.RevisionsOf(ctx, center, pkg.Ref); return err },
		"AuditLines":       func() error { _, err := db.AuditLines(ctx, AuditFilter{Limit: 10}); return err },
		"UsesOf":           func() error { _, err := db.UsesOf(ctx, center, pkg.Ref); return err },
		"TrashedFiles": func() error {
			if _, err := db.TrashedFiles(ctx, center, pkg); !errors.Is(err, conan.ErrNotFound) {
				return err
			}
			return nil
		},
		"Tokens": func() error { _, err := db.Tokens(ctx, "ann"); return err },
		"TokenOf": func() error {
			if _, err := db.TokenOf(ctx, sumOf(1)); !errors.Is(err, conan.ErrNotFound) {
				return err
			}
			return nil
		},
		"TokenNamed": func() error {
			if _, err := db.TokenNamed(ctx, "bot"); !errors.Is(err, conan.ErrNotFound) {
				return err
			}
			return nil
		},
		"Document": func() error {
			if _, err := db.Document(ctx, center, "list", "k"); !errors.Is(err, conan.ErrNotFound) {
				return err
			}
			return nil
		},
		"Stage": func() error {
			if _, err := db.Stage(ctx, "s"); !errors.Is(err, ErrNoStage) {
				return err
			}
			return nil
		},
	} {
		if err := ask(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, query := range db.read.texts() {
		checkPlan(t, db, query)
	}
}

// TestWritePlans does the same for what transactions look for.
func TestWritePlans(t *testing.T) {
	db := openForTest(t, t.TempDir())
	ctx := t.Context()
	recipe, pkg, cached := recipeOf("aa/1", "r"), packageOf("aa/1", "r", "p", "v"), recipeOf("bb/1", "r")
	publishAt(t, db, recipe, noon)
	publishAt(t, db, pkg, noon)
	bare := recipeOf("cc/1", "r")
	publishAt(t, db, bare, noon)
	put(t, db, center, cached, 1, testFile("conanfile.py", 1, 1))
	held := find(t, db, center, cached)
	adopted := Stage{Member: store, ID: "adopt", Revision: cached, Declared: map[string]int64{"conanmanifest.txt": 10}, Touched: noon}
	if err := db.CreateStage(ctx, adopted); err != nil {
		t.Fatal(err)
	}
	staged := mustStage(t, db, adopted, "conanmanifest.txt")
	audit := Audit{By: conan.Actor{Name: "ann"}, Action: "remove", Target: "x"}
	for _, write := range []struct {
		name string
		err  error
	}{
		{"Adopt", db.Adopt(ctx, store, adopted.ID, cached, noon, staged)},
		{"Import", db.Import(ctx, importOf(staging(t, db, recipeOf("aa/1", "new"), noon), staging(t, db, packageOf("aa/1", "new", "p", "v"), noon)))},
		{"WriteAudit", db.WriteAudit(ctx, audit, noon)},
		{"Touch", db.Touch(ctx, map[int64]time.Time{held.RowID: noon})},
		{"Used", db.Used(ctx, store, map[conan.Revision]time.Time{pkg: noon})},
		{"RemoveUnneeded", db.RemoveUnneeded(ctx, store, pkg.Ref, func(Uses) []conan.Revision { return []conan.Revision{pkg} }, RemoveOptions{Audit: audit, Now: noon, Trash: true})},
		{"RemoveRevisions", db.RemoveRevisions(ctx, []int64{held.RowID})},
		{"PurgeRevisions", purgeError(db.PurgeRevisions(ctx, []int64{held.RowID}, false))},
		{"PurgeRevisions with pins", purgeError(db.PurgeRevisions(ctx, []int64{held.RowID}, true))},
		{"DropCachedFiles", db.DropCachedFiles(ctx, sumOf(1))},
		{"SetScrubCursor", db.SetScrubCursor(ctx, sumOf(1))},
		{"RemoveFiles", db.RemoveFiles(ctx, store, recipe, []string{"conan_export.tgz"}, audit, noon)},
		{"Remove", db.Remove(ctx, store, conan.Removal{Revision: conan.Revision{Ref: recipe.Ref}}, RemoveOptions{Audit: audit, Now: noon, Trash: true})},
		{"Restore", onlyError(db.Restore(ctx, store, []conan.Revision{recipe}, audit, noon, false))},
		{"RemovePinned", onlyError(db.RemovePinned(ctx, store, []conan.Revision{recipe}, RemoveOptions{Audit: audit, Now: noon, Trash: true}))},
		{"Pin", onlyError(db.Pin(ctx, store, []conan.Revision{bare}, "ann", audit, noon, false, func(int64) error { return nil }))},
		{"Unpin", onlyError(db.Unpin(ctx, store, []conan.Revision{bare}, "ann", audit, noon, false))},
		{"Erase", onlyError(db.Erase(ctx, store, []conan.Revision{bare}, audit, noon, false))},
		{"EmptyTrash", onlyError(db.EmptyTrash(ctx, store, noon.Add(time.Hour), 10))},
		{"EmptyOldest", onlyError(db.EmptyOldest(ctx))},
		{"Hide", db.Hide(ctx, []Hide{{Revision: recipe}}, audit.By, noon)},
		{"Unhide", db.Unhide(ctx, []Hide{{ID: 1}}, audit.By, noon)},
		{"CreateJob", onlyError(db.CreateJob(ctx, Job{Owner: "ann"}, noon))},
		{"ClaimJob", onlyError(db.ClaimJob(ctx, noon))},
		{"JobProgress", db.JobProgress(ctx, conan.Claim{Job: 1, Fence: 1}, nil)},
		{"EndJob", db.EndJob(ctx, conan.Claim{Job: 1, Fence: 1}, nil, "", noon)},
		{"RequeueJobs", db.RequeueJobs(ctx)},
		{"SweepJobs", db.SweepJobs(ctx, noon)},
		{"SweepFeed", db.SweepFeed(ctx, noon)},
		{"PutDocument", db.PutDocument(ctx, center, "list", "k", Document{Body: []byte("{}")})},
		{"BeginObject", db.BeginObject(ctx, blob.Object{Key: "k", Digest: blob.Digest(sumOf(9))})},
		{"CompleteObject", db.CompleteObject(ctx, "k")},
		{"DropObject", onlyError(db.DropObject(ctx, blob.Digest(sumOf(9))))},
		{"TakeObjectBack", db.TakeObjectBack(ctx, blob.Object{Key: "k", Digest: blob.Digest(sumOf(9))})},
		{"ForgetObjects", db.ForgetObjects(ctx, []string{"k"})},
		{"DeleteDocuments", db.DeleteDocuments(ctx, center, "list", "k")},
	} {
		if write.err != nil {
			t.Fatalf("%s: %v", write.name, write.err)
		}
	}
	if _, err := db.ForgetBlob(ctx, sumOf(1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.SweepStages(ctx, noon); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, query := range db.write.texts() {
		if isQuery.MatchString(query) {
			checkPlan(t, db, query)
			checked++
		}
	}
	if checked < 20 {
		t.Errorf("only %d texts were looked at", checked)
	}
}

func purgeError(_ int, _ int64, err error) error { return err }

func onlyError[T any](_ T, err error) error { return err }

var isQuery = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE)`)

// texts are what is prepared.
func (s *statements) texts() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Keys(s.prepared))
}

// mayScan are the steps that read a whole table or index on purpose.
var mayScan = regexp.MustCompile(`^SCAN (` +
	`CONSTANT ROW|` + // no table at all
	`cached_bytes|store_bytes.*|` + // a few rows
	`\(subquery-\d+\)|` + // what another step found
	`garbage|` + // in order, up to a limit
	`objects USING COVERING INDEX objects_dead|` + // in order, up to a limit
	`json_each VIRTUAL TABLE INDEX 1:|` + // the argument
	`stages|` + // uploads under way; not asked for by requests that read
	`trash_files USING COVERING INDEX trash_files_sha256|in_trash|` + // all of the trash, when the disk is full
	`pins|` + // all of them, when space is needed
	`removals USING COVERING INDEX removals_time|` + // in order, up to a limit
	`r USING INDEX revisions_used` + // in order, up to a limit
	`)$`)

// peeked compares a bound value with the column that a partial index is about: SQLite plans such a
// statement anew for each value.
var peeked = regexp.MustCompile(`package_id (=|<>|IN) *\(?\$`)

func checkPlan(t *testing.T, db *DB, query string) {
	t.Helper()
	if m := peeked.FindString(query); m != "" {
		t.Errorf("%s\nin %s", m, query)
	}
	for _, step := range plan(t, db, query) {
		if strings.HasPrefix(step, "SCAN") && !mayScan.MatchString(step) || strings.Contains(step, "AUTOMATIC") {
			t.Errorf("%s\nin %s", step, query)
		}
	}
}

// plan returns the steps that SQLite takes to answer a query.
func plan(t *testing.T, db *DB, query string) []string {
	t.Helper()
	highest := 0
	for _, m := range regexp.MustCompile(`\$(\d+)`).FindAllStringSubmatch(query, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		highest = max(highest, n)
	}
	rows, err := db.write.db.Query(`EXPLAIN QUERY PLAN `+query, make([]any, highest)...)
	if err != nil {
		t.Fatalf("%v in %s", err, query)
	}
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}

// Every foreign key is found from its parent's side by an index, or deleting one parent would read
// the whole child.
func TestForeignKeysHaveIndexes(t *testing.T) {
	db := openForTest(t, t.TempDir())
	tables, err := column[string](t.Context(), db.read, "read the schema", `SELECT name FROM sqlite_master WHERE type = 'table'`)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, table := range tables {
		keys, err := column[string](t.Context(), db.read, "read the schema", `SELECT "from" FROM pragma_foreign_key_list('`+table+`')`)
		if err != nil {
			t.Fatal(err)
		}
		leading, err := column[string](t.Context(), db.read, "read the schema", `SELECT c.name FROM pragma_index_list('`+table+`') i
			JOIN pragma_index_info(i.name) c ON c.seqno = 0`)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			checked++
			if !slices.Contains(leading, key) {
				t.Errorf("%s.%s has no index; indexes begin with %v", table, key, leading)
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d foreign keys were found", checked)
	}
}

// TestPlansOfLongHistories looks at references of which thousands of revisions are kept: what is
// asked for all the time must not read them all.
func TestPlansOfLongHistories(t *testing.T) {
	db := openForTest(t, t.TempDir())
	ctx := t.Context()
	tests := []struct {
		name string
		ask  func() error
		want string
	}{
		{"recipe revisions, in order, without the packages", func() error { _, err := db.Revisions(ctx, center, recipeOf("aa/1", "")); return err },
			"SEARCH r USING INDEX revisions_recipes (ref_id=?)"},
		{"revisions of one package, not of all with its id", func() error { _, err := db.Revisions(ctx, center, packageOf("aa/1", "r", "p", "")); return err },
			"SEARCH r USING INDEX sqlite_autoindex_revisions_1 (ref_id=? AND rrev=? AND package_id=?)"},
		{"packages of one recipe revision", func() error { _, err := db.Packages(ctx, center, recipeOf("aa/1", "r"), true); return err },
			"SEARCH r USING INDEX sqlite_autoindex_revisions_1 (ref_id=? AND rrev=?)"},
		{"the feed, from a cursor on", func() error {
			if _, err := db.FeedAfter(ctx, "0123456789abcdef", 10); !errors.Is(err, ErrFeedGone) {
				return err
			}
			return nil
		}, "SEARCH feed USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
	}
	for _, tt := range tests {
		clear(db.read.prepared)
		if err := tt.ask(); err != nil {
			t.Fatal(err)
		}
		for _, query := range db.read.texts() {
			steps := plan(t, db, query)
			if !slices.Contains(steps, tt.want) {
				t.Errorf("%s: plan %q, want %q", tt.name, steps, tt.want)
			}
			if tt.name == tests[0].name && strings.Contains(strings.Join(steps, " "), "TEMP B-TREE") {
				t.Errorf("%s: is sorted: %q", tt.name, steps)
			}
		}
	}
}
