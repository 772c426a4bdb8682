package retention

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/internal/conan"
)

// write makes files in a new folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRoots(t *testing.T) {
	dir := write(t, map[string]string{
		"two.lock": `{"version": "0.5", "requires": ["lib/1#r1%1.5", ["lib/1#r2", {"a": "p1"}]], "build_requires": ["tool/1"]}`,
		"one.lock": `{"graph_lock": {"nodes": {"0": {"ref": "app/1", "path": "conanfile.py"}, "1": {"ref": "old/1#r1", "package_id": "a", "prev": "0"},
			"2": {"ref": "older/1#0", "package_id": "a", "prev": "0"}}}, "version": "0.4"}`,
		"list.json": `{"team": {"lib/1": {"revisions": {"r3": {"packages": {"a": {"revisions": {"p1": {}}}}}, "r4": {}}}}}`,
		"graph.json": `{"graph": {"nodes": {"1": {"ref": "lib/1#r5", "recipe": "Cache", "package_id": "b", "prev": "p2", "binary": "Cache"},
			"2": {"ref": "lib/1#r6", "recipe": "Cache", "package_id": "b", "prev": null, "binary": "Skip"}}}}`,
	})
	roots, err := ReadRoots([]string{filepath.Join(dir, "*.lock"), filepath.Join(dir, "*.json"), filepath.Join(dir, "two.lock")})
	if err != nil {
		t.Fatal(err)
	}
	for text, file := range map[string]string{
		"lib/1#r1": "two.lock", "lib/1#r1:any#p": "two.lock", "lib/1#r2": "two.lock", "lib/1#r2:a#p1": "two.lock", "lib/1#r2:a#p2": "two.lock",
		"tool/1#any": "two.lock", "tool/1#any:a#p": "two.lock",
		"old/1#r1": "one.lock", "old/1#r1:b#p": "one.lock", "old/1#r2": "", "older/1#r9:a#p": "one.lock", "app/1#r1": "",
		"lib/1#r3": "list.json", "lib/1#r3:a#p1": "list.json", "lib/1#r3:a#p2": "", "lib/1#r3:b#p1": "", "lib/1#r4": "list.json", "lib/1#r4:a#p": "",
		"lib/1#r5": "graph.json", "lib/1#r5:b#p2": "graph.json", "lib/1#r5:b#p1": "", "lib/1#r6": "graph.json", "lib/1#r6:b#p1": "",
		"lib/1#r7": "", "lib/2#r1": "",
	} {
		ref, rest, _ := strings.Cut(text, "#")
		name, version, _ := strings.Cut(ref, "/")
		r := rev(rest, 0).Revision
		r.Ref = conan.Ref{Name: name, Version: version}
		want := ""
		if file != "" {
			want = "rooted by " + filepath.Join(dir, file)
		}
		if reason, stays := roots.Keeps(r); reason != want || stays != (want != "") {
			t.Errorf("%s: %q, %v; want %q", text, reason, stays, want)
		}
	}
	if _, stays := (Roots{}).Keeps(rev("r1", 0).Revision); stays {
		t.Error("no roots keep something")
	}
}

// A root that is missing or broken is one sentence that names it.
func TestBrokenRoots(t *testing.T) {
	dir := write(t, map[string]string{
		"half.lock": `{"version": "0.5", "requires": ["lib/1#`, "old.lock": `{"version": "0.3", "requires": []}`,
		"empty.lock": ``, "none.lock": `{"version": "0.5", "requires": []}`, "text.json": `"hello"`, "good.lock": `{"version": "0.5", "requires": ["lib/1#r"]}`,
		"error.json": `{"team": {"error": "no remote"}}`,
	})
	if err := os.Mkdir(filepath.Join(dir, "folder.lock"), 0o700); err != nil {
		t.Fatal(err)
	}
	for pattern, says := range map[string]string{
		"missing/*.lock": "matches no file", "half.lock": "broken at byte", "old.lock": `version "0.3"`, "empty.lock": "broken at byte 0",
		"none.lock": "names no package", "text.json": "JSON string", "folder.lock": "it is no file", "error.json": "no remote", "h*.lock": "half.lock",
	} {
		_, err := ReadRoots([]string{filepath.Join(dir, "good.lock"), filepath.Join(dir, pattern)})
		if !errors.Is(err, conan.ErrInvalid) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), dir) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: %v; want %q", pattern, err, says)
		}
	}
}
