package index

import (
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/memory"
)

// TestWritesPublishChanges tells which writes raise which counters, before they return.
func TestWritesPublishChanges(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	recipe, pkg := recipeOf("aa/1", "r"), packageOf("aa/1", "r", "p", "v")
	file := testFile("conanfile.py", 1, 1)
	var told []conan.Ref
	db.Changes().Subscribe(func(ref conan.Ref) { told = append(told, ref) })
	for _, w := range []struct {
		name       string
		write      func() error
		ref, names bool
	}{
		{"a recipe", func() error {
			return db.PutRevision(ctx, center, recipe, PutOptions{Files: []conan.FileInfo{file}})
		}, true, true},
		{"a package", func() error { return db.PutRevision(ctx, center, pkg, PutOptions{}) }, true, false},
		{"a use", func() error { return db.Touch(ctx, map[int64]time.Time{1: noon}) }, false, false},
		{"a document", func() error { return db.PutDocument(ctx, center, "list", "k", Document{Body: []byte("{}")}) }, false, false},
		{"damaged bytes", func() error { return db.DropCachedFiles(ctx, file.SHA256) }, true, true},
		{"a removed package", func() error { return db.RemoveRevisions(ctx, []int64{find(t, db, center, pkg).RowID}) }, true, false},
		{"a removed recipe", func() error { return db.RemoveRevisions(ctx, []int64{find(t, db, center, recipe).RowID}) }, true, true},
		{"a publication", func() error { publishAt(t, db, recipe, noon); return nil }, true, true},
		{"a file taken out", func() error {
			return db.RemoveFiles(ctx, store, recipe, []string{"conanfile.py"}, Audit{}, noon)
		}, true, true},
		{"a removal", func() error {
			return db.Remove(ctx, store, conan.Removal{Revision: conan.Revision{Ref: recipe.Ref}}, RemoveOptions{Now: noon})
		}, true, true},
	} {
		told = nil
		ref, names := db.Changes().Of(recipe.Ref), db.Changes().Names()
		if err := w.write(); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		for what, c := range map[string]struct {
			stamp   memory.Stamp
			changes bool
		}{"the reference": {ref, w.ref}, "names": {names, w.names}} {
			if got := !c.stamp.Valid(); got != c.changes {
				t.Errorf("%s changes %s: %v, want %v", w.name, what, got, c.changes)
			}
		}
		if got := len(told) > 0; got != w.names {
			t.Errorf("%s tells the subscriber: %v, want %v", w.name, told, w.names)
		}
	}
}
