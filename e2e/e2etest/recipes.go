package e2etest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Recipe copies e2e/testdata/recipes/NAME into a new folder and returns it. Each pair of edits
// replaces a text in every file. All recipes but alias load in Conan 1.66 and in Conan 2.
func Recipe(t testing.TB, name string, edits ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(Root(t), "e2e", "testdata", "recipes", name))); err != nil {
		t.Fatal(err)
	}
	replacer := strings.NewReplacer(edits...)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || len(edits) == 0 {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(replacer.Replace(string(text))), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
