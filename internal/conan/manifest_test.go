package conan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	sumA = "0cc175b9c0f1b6a831c399e269772661"
	sumB = "92eb5ffee6ae2fec3ad71c777531578f"
)

func mustManifest(t testing.TB, text string) *Manifest {
	t.Helper()
	m, err := ParseManifest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// filesOf is every path of a manifest with its md5.
func filesOf(m *Manifest) map[string]string {
	files := make(map[string]string)
	for i := range m.Len() {
		path, md5 := m.line(i)
		files[path] = md5
	}
	return files
}

// TestManifestSummary compares with the revision ids that the clients printed for these uploads.
func TestManifestSummary(t *testing.T) {
	for folder, want := range map[string]string{
		"conan1/recipe":  "555c890718b7b5c11639bfd970ce4e20",
		"conan1/package": "21ab14c11b9c15f3990a700a5ae91242",
		"conan2/recipe":  "255d6f5e462d034838a579fc0a58bccb",
		"conan2/package": "b83204496041c792abf6a1d82b60657e",
	} {
		b, err := os.ReadFile(filepath.Join("testdata", folder, ManifestFile))
		if err != nil {
			t.Fatal(err)
		}
		if got := mustManifest(t, string(b)).Summary(); got != want {
			t.Errorf("%s: got %s, want %s", folder, got, want)
		}
	}
	if got := mustManifest(t, "1\n").Summary(); got != md5Hex("\n") {
		t.Errorf("empty manifest: got %s", got)
	}
}

func TestParseManifest(t *testing.T) {
	tests := []struct {
		name, text string
		time       int64
		files      map[string]string
	}{
		{"plain", "1795346689\nconanfile.py: " + sumA + "\nb: " + sumB + "\n", 1795346689, map[string]string{"conanfile.py": sumA, "b": sumB}},
		{"no last line end", "17\nb: " + sumB, 17, map[string]string{"b": sumB}},
		{"Windows line ends", "17\r\nb: " + sumB + "\r\n", 17, map[string]string{"b": sumB}},
		{"colons in a path", "17\na: b: c: " + sumB + "\nFoo::Bar.3: " + sumA, 17, map[string]string{"a: b: c": sumB, "Foo::Bar.3": sumA}},
		{"blank lines", "17\n\n\nb: " + sumB + "\n\n", 17, map[string]string{"b": sumB}},
		{"only a time", "17", 17, map[string]string{}},
		{"lines that clients drop stand", "17\nx/__pycache__/a.pyc: " + sumA + "\n.DS_Store: " + sumB, 17, map[string]string{"x/__pycache__/a.pyc": sumA, ".DS_Store": sumB}},
	}
	for _, tt := range tests {
		m := mustManifest(t, tt.text)
		if m.Time != tt.time {
			t.Errorf("%s: time: got %d, want %d", tt.name, m.Time, tt.time)
		}
		if diff := cmp.Diff(tt.files, filesOf(m)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":             "",
		"no time":           "conanfile.py: " + sumA,
		"time with a point": "17.5\n",
		"HTML":              "<html>\n",
		"no separator":      "17\nconanfile.py " + sumA,
		"no path":           "17\n: " + sumA,
		"short md5":         "17\na: " + sumA[1:],
		"long md5":          "17\na: 0" + sumA,
		"upper-case md5":    "17\na: " + strings.ToUpper(sumA),
		"not hex":           "17\na: " + strings.Repeat("g", 32),
		"twice":             "17\na: " + sumA + "\na: " + sumB,
	} {
		if m, err := ParseManifest([]byte(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, %v; want ErrInvalid", name, m, err)
		}
	}
}

func TestManifestMissing(t *testing.T) {
	const (
		bare    = "1\nconanfile.py: " + sumA + "\n"
		exports = bare + "conandata.yml: " + sumA + "\n"
		sources = bare + "export_source/x.c: " + sumB + "\n"
		both    = exports + "export_source/x.c: " + sumB + "\n"
	)
	tests := []struct {
		name, manifest string
		pkg            bool
		files          string
		want           []string
	}{
		{"recipe of one file", bare, false, "conanfile.py conanmanifest.txt", nil},
		{"nothing", bare, false, "", []string{"conanmanifest.txt", "conanfile.py"}},
		{"exports", exports, false, "conanfile.py conanmanifest.txt", []string{"conan_export.tgz"}},
		{"sources", sources, false, "conanfile.py conanmanifest.txt", []string{"conan_sources.tgz"}},
		{"both", both, false, "conanfile.py conanmanifest.txt", []string{"conan_export.tgz", "conan_sources.tgz"}},
		{"other compression", both, false, "conan_export.txz conan_sources.tzst conanfile.py conanmanifest.txt", nil},
		{"unknown compression", exports, false, "conan_export.tar conanfile.py conanmanifest.txt", []string{"conan_export.tgz"}},
		{"package", "1\nconaninfo.txt: " + sumA, true, "conan_package.tzst conaninfo.txt conanmanifest.txt", nil},
		{"package without archive", "1\nconaninfo.txt: " + sumA, true, "conaninfo.txt conanmanifest.txt", []string{"conan_package.tgz"}},
		{"empty package", "1\n", true, "", []string{"conanmanifest.txt", "conaninfo.txt", "conan_package.tgz"}},
	}
	for _, tt := range tests {
		var s Snapshot
		for _, name := range strings.Fields(tt.files) {
			s = append(s, FileInfo{Name: name})
		}
		s.Sort()
		if diff := cmp.Diff(tt.want, mustManifest(t, tt.manifest).Outline().Missing(s, tt.pkg)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte("1795346689\nconanfile.py: " + sumA + "\nexport_source/a: b: " + sumB + "\n"))
	f.Add([]byte("1\r\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("not ErrInvalid: %v", err)
			}
			return
		}
		files := filesOf(m)
		for name, sum := range files {
			if m.MD5(name) != sum || !IsMD5(sum) {
				t.Fatalf("path %q has md5 %q, its line %q", name, m.MD5(name), sum)
			}
		}
		if m.Len() != len(files) {
			t.Fatalf("%d lines, %d files", m.Len(), len(files))
		}
		if !IsMD5(m.Summary()) {
			t.Fatalf("summary %q", m.Summary())
		}
	})
}
