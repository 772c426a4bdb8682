package index

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// staging makes an item of a revision whose manifest is staged.
func staging(t *testing.T, db *DB, rev conan.Revision, at time.Time) ImportItem {
	t.Helper()
	s := Stage{Member: store, ID: "import-" + rev.String(), Revision: rev, Touched: noon}
	return ImportItem{Revision: rev, Time: at, Uploader: "ann", StageID: s.ID, Staged: mustStage(t, db, s, "conanmanifest.txt")}
}

func importOf(items ...ImportItem) Import {
	return Import{Member: store, Items: items, Now: noon, Audit: Audit{By: conan.Actor{Name: "ann"}, Action: ActionImport, Member: "local", Target: "x"}}
}

func TestImport(t *testing.T) {
	db := openForTest(t, t.TempDir())
	ctx := t.Context()
	old := noon.Add(-time.Hour)
	first, second, pkg := recipeOf("aa/1", "r"), recipeOf("aa/1", "s"), packageOf("aa/1", "r", "p", "v")
	info := "[settings]\n"
	item := staging(t, db, pkg, old)
	item.Info = &info
	// Both recipes have one time: the later row is the newer one.
	if err := db.Import(ctx, importOf(staging(t, db, second, old), staging(t, db, first, old), item)); err != nil {
		t.Fatal(err)
	}
	list, err := db.Revisions(ctx, store, first)
	if diff := cmp.Diff([]string{first.String(), second.String()}, texts(list)); err != nil || diff != "" {
		t.Errorf("revisions, newest first: %v\n%s", err, diff)
	}
	if !list[0].Time.Equal(old) {
		t.Errorf("time %s, want %s", list[0].Time, old)
	}
	packages, err := db.Packages(ctx, store, first, false)
	if diff := cmp.Diff([]conan.Package{{ID: "p", Info: info}}, packages); err != nil || diff != "" {
		t.Errorf("packages: %v\n%s", err, diff)
	}
	if was, err := db.WasVisible(ctx, store, first, time.Now().Add(time.Minute)); err != nil || !was {
		t.Errorf("history: %t, %v", was, err)
	}
	if there, err := db.StageExists(ctx, item.StageID); err != nil || there {
		t.Errorf("the stage is there: %t, %v", there, err)
	}
	again := ImportItem{Revision: second, Time: noon, Existing: staging(t, db, second, noon).Staged}
	if err := db.Import(ctx, importOf(again)); err != nil {
		t.Fatal(err)
	}
	if got := find(t, db, store, second); !got.Time.Equal(noon) {
		t.Errorf("published again: time %s, want %s", got.Time, noon)
	}
	lines, err := db.AuditLines(ctx, AuditFilter{Action: ActionImport, Limit: 10})
	if err != nil || len(lines) != 2 {
		t.Errorf("audit: %v, %v", lines, err)
	}
}

func TestImportFailsAsAWhole(t *testing.T) {
	db := openForTest(t, t.TempDir())
	recipe, pkg := recipeOf("aa/1", "r"), packageOf("aa/1", "x", "p", "v")
	there := recipeOf("aa/1", "t")
	publishAt(t, db, there, noon)
	for name, tc := range map[string]struct {
		bad  ImportItem
		want error
	}{
		"no recipe":            {staging(t, db, pkg, noon), conan.ErrNotFound},
		"no stage":             {ImportItem{Revision: recipeOf("aa/1", "b"), StageID: "gone"}, ErrStageChanged},
		"another stage":        {ImportItem{Revision: recipeOf("aa/1", "b"), StageID: "import-" + recipe.String(), Staged: map[string]string{"x": "y"}}, ErrStageChanged},
		"one that came":        {staging(t, db, there, noon), ErrStageChanged},
		"one that was removed": {ImportItem{Revision: recipeOf("aa/1", "b"), Existing: map[string]string{"x": "y"}}, ErrStageChanged},
	} {
		failsWith(t, name, db.Import(t.Context(), importOf(staging(t, db, recipe, noon), tc.bad)), tc.want)
		if _, err := db.Find(t.Context(), store, recipe); !errors.Is(err, conan.ErrNotFound) {
			t.Errorf("%s: a part was imported: %v", name, err)
		}
	}
}
