package conanserver

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// put writes the files of sets as the server lays them out, and the lists.
func put(t *testing.T, dir string, lists map[string]string, sets ...conantest.Set) *Folder {
	t.Helper()
	write := func(name string, content []byte) {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, set := range sets {
		for name, content := range set.Files {
			write(filesFolder(set.Revision)+"/"+name, content)
		}
	}
	for folder, revisions := range lists {
		write(folder+"/revisions.txt", []byte(`{"revisions": [`+revisions+`]}`))
	}
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func entry(id, time string) string { return fmt.Sprintf(`{"revision": %q, "time": %s}`, id, time) }

func TestFolder(t *testing.T) {
	first, second := conantest.Recipe("zlib", "1.3", conantest.Code("a")), conantest.Recipe("zlib", "1.3", conantest.Code("b"))
	cut := conantest.Recipe("zlib", "1.3", conantest.Code("c")).Without(conan.ManifestFile)
	pkg := conantest.Package(first, conantest.File("lib/a", "a"), conantest.Metadata("logs/build.log", "ok"))
	old := conantest.Recipe("old", "1.0", conantest.Owner("acme", "stable")).As(conan.MutableRevision)
	dir := t.TempDir()
	f := put(t, dir, map[string]string{
		"zlib/1.3/_/_": strings.Join([]string{
			entry(first.RRev, `"2020-01-02T03:04:05Z"`), entry(second.RRev, `1577934246.75`),
			entry(first.RRev, `"2020-01-02T03:04:07.5+00:00"`), entry(cut.RRev, `"2020-01-02T03:04:09Z"`),
		}, ", "),
		listFolder(pkg.Revision): entry(pkg.PRev, `"2020-01-02T03:04:08Z"`),
	}, first, second, cut, pkg, old)

	refs, err := f.Search(t.Context(), conan.Pattern{})
	if diff := cmp.Diff([]conan.Ref{old.Ref, first.Ref}, refs.Value); err != nil || diff != "" {
		t.Errorf("references: %v\n%s", err, diff)
	}
	list, err := f.Revisions(t.Context(), conan.Revision{Ref: first.Ref})
	want := []conan.RevisionTime{
		{ID: first.RRev, Time: time.Date(2020, 1, 2, 3, 4, 7, 500e6, time.UTC)}, {ID: second.RRev, Time: time.Date(2020, 1, 2, 3, 4, 6, 750e6, time.UTC)},
	}
	if diff := cmp.Diff(want, list.Value); err != nil || diff != "" {
		t.Errorf("revisions: %v\n%s", err, diff)
	}
	packages, err := f.Packages(t.Context(), first.Revision, false)
	if diff := cmp.Diff([]conan.Package{{ID: pkg.PackageID, Info: string(pkg.Files[conan.InfoFile])}}, packages.Value); err != nil || diff != "" {
		t.Errorf("packages: %v\n%s", err, diff)
	}
	files, err := f.Snapshot(t.Context(), pkg.Revision)
	if err != nil || len(files.Value) != len(pkg.Files) {
		t.Errorf("files: %v, %v", files.Value, err)
	}
	for _, info := range files.Value {
		file, err := f.Open(t.Context(), pkg.Revision, info.Name)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(file.Value)
		if err != nil || string(content) != string(pkg.Files[info.Name]) || info.Size != int64(len(content)) {
			t.Errorf("%s: %q, %v", info.Name, content, err)
		}
		file.Value.Close()
	}
	latest, err := f.Latest(t.Context(), conan.Revision{Ref: old.Ref})
	if err != nil || latest.Value.ID != conan.MutableRevision || latest.Value.Time.IsZero() {
		t.Errorf("without a list: %v, %v", latest.Value, err)
	}
}

// TestFolderIsNotLeft: absent things are not found, and links lead nowhere else.
func TestFolderIsNotLeft(t *testing.T) {
	recipe := conantest.Recipe("zlib", "1.3")
	dir := t.TempDir()
	f := put(t, dir, map[string]string{"zlib/1.3/_/_": entry(recipe.RRev, `"2020-01-02T03:04:05Z"`), "bad/1.0/_/_": entry("../../..", `"x"`)}, recipe)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, filepath.FromSlash(filesFolder(recipe.Revision)), "conan_export.tgz")
	_ = os.Remove(link)
	if err := os.Symlink(secret, link); err != nil {
		t.Skip(err)
	}
	if _, err := f.Open(t.Context(), recipe.Revision, "conan_export.tgz"); err == nil {
		t.Error("a link out of the folder was followed")
	}
	files, err := f.Snapshot(t.Context(), recipe.Revision)
	if _, listed := files.Value.Find("conan_export.tgz"); err != nil || listed {
		t.Errorf("files %v, %v", files.Value, err)
	}
	other := conantest.Recipe("zlib", "9.9")
	for name, ask := range map[string]func() error{
		"revisions": func() error { _, err := f.Revisions(t.Context(), other.Revision); return err },
		"snapshot":  func() error { _, err := f.Snapshot(t.Context(), other.Revision); return err },
		"file":      func() error { _, err := f.Open(t.Context(), recipe.Revision, "nothing"); return err },
		"packages":  func() error { _, err := f.Packages(t.Context(), other.Revision, true); return err },
	} {
		if err := ask(); !conan.IsAbsent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := conan.Revision{Ref: conan.Ref{Name: "bad", Version: "1.0"}}
	if _, err := f.Revisions(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "strange") {
		t.Errorf("a strange list: %v", err)
	}
}

// TestParseTime: fractions are rounded as Python does, whose double is a little less than the half.
func TestParseTime(t *testing.T) {
	for text, want := range map[string]int64{
		"1795778279.8801385":                 1795778279_880138,
		"1577934246":                         1577934246_000000,
		`"2020-01-02T03:04:06Z"`:             1577934246_000000,
		`"2020-01-02T03:04:06.5"`:            1577934246_500000,
		`"2020-01-02T04:04:06.000001+01:00"`: 1577934246_000001,
	} {
		got, err := parseTime(json.RawMessage(text))
		if err != nil || got.UnixMicro() != want {
			t.Errorf("%s: %d, %v, want %d", text, got.UnixMicro(), err, want)
		}
	}
	if _, err := parseTime(json.RawMessage(`"yesterday"`)); err == nil {
		t.Error("no error for a text that is no time")
	}
}
