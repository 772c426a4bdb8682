package conan

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestCompareOfClients checks what the real clients of both generations uploaded: with
// symlinks to files, to folders, to nothing and outside, hard links, empty folders, odd names.
func TestCompareOfClients(t *testing.T) {
	for _, set := range []string{"conan1/recipe", "conan1/package", "conan2/recipe", "conan2/package"} {
		entries, err := os.ReadDir("testdata/" + set)
		if err != nil {
			t.Fatal(err)
		}
		archives, small := make(map[string]*Listing), make(map[string]string)
		c := NewChecks().Begin(t.Context())
		for _, entry := range entries {
			name := entry.Name()
			b := readTestdata(t, set+"/"+name)
			switch {
			case IsArchive(name):
				if archives[name], err = c.List(name, bytes.NewReader(b)); err != nil {
					t.Errorf("%s: %v", set, err)
				}
			case name != ManifestFile:
				small[name] = md5Hex(string(b))
			}
		}
		m := mustManifest(t, string(readTestdata(t, set+"/"+ManifestFile)))
		if extra, err := c.CompareRevision(m, strings.HasSuffix(set, "package"), archives, small); err != nil || extra != "" {
			t.Errorf("%s: got %q, %v", set, extra, err)
		}
		for name, list := range archives {
			if err := c.CompareArchive(m, name, list); err != nil {
				t.Errorf("%s, %s alone: %v", set, name, err)
			}
		}
		c.End()
	}
}

// listing packs members.
func listing(t testing.TB, members ...Member) *Listing {
	t.Helper()
	l := new(Listing)
	for _, m := range members {
		if _, err := l.add(NewChecks().Begin(t.Context()), m); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func lines(pairs ...string) string {
	var b strings.Builder
	b.WriteString("1795346689\n")
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, "%s: %s\n", pairs[i], md5Hex(pairs[i+1]))
	}
	return b.String()
}

func file(name, content string) Member {
	return Member{Path: name, Type: RegularMember, MD5: md5Hex(content)}
}

func link(name, target string) Member {
	return Member{Path: name, Type: SymlinkMember, Target: target}
}

func TestCompare(t *testing.T) {
	info := map[string]string{InfoFile: md5Hex("info")}
	recipe := map[string]string{RecipeFile: md5Hex("py")}
	pkgOf := func(members ...Member) map[string][]Member {
		return map[string][]Member{"conan_package.tgz": members}
	}
	tests := []struct {
		name     string
		manifest string
		pkg      bool
		archives map[string][]Member
		small    map[string]string
		fill     string // a word of the error of one of its archives; empty: no error
		publish  string // a word of the error of the whole revision
		extra    string // a word of what is taken and not in the manifest
	}{
		{
			name: "package", manifest: lines("conaninfo.txt", "info", "lib/a", "1"), pkg: true,
			archives: pkgOf(file("lib/a", "1")), small: info,
		},
		{
			name: "recipe", manifest: lines("conanfile.py", "py", "conandata.yml", "d", "export_source/src/a.c", "c"),
			archives: map[string][]Member{"conan_export.tgz": {file("conandata.yml", "d")}, "conan_sources.txz": {file("src/a.c", "c")}},
			small:    recipe,
		},
		{
			name: "package with a folder export_source", manifest: lines("conaninfo.txt", "info", "export_source/a", "1"), pkg: true,
			archives: pkgOf(file("export_source/a", "1")), small: info,
		},
		{
			name: "changed file", manifest: lines("conaninfo.txt", "info", "a", "1"), pkg: true,
			archives: pkgOf(file("a", "2")), small: info, fill: `"a" has md5`, publish: `"a" has md5`,
		},
		{
			name: "first copy of two differs", manifest: lines("conaninfo.txt", "info", "a", "1"), pkg: true,
			archives: pkgOf(file("a", "2"), file("a", "1")), small: info, fill: `"a" has md5`, publish: `"a" has md5`,
		},
		{
			name: "changed hard link", manifest: lines("conaninfo.txt", "info", "a", "1", "b", "2"), pkg: true,
			archives: pkgOf(file("a", "1"), Member{Path: "b", Type: HardlinkMember, MD5: md5Hex("1"), Target: "a"}), small: info,
			fill: `"b" has md5`, publish: `"b" has md5`,
		},
		{
			name: "changed conaninfo", manifest: lines("conaninfo.txt", "other"), pkg: true,
			archives: pkgOf(), small: info, publish: "conaninfo.txt",
		},
		{
			name: "changed recipe", manifest: lines("conanfile.py", "other"),
			small: recipe, publish: "conanfile.py",
		},
		{
			name: "conanfile.py hidden in an archive", manifest: lines("conanfile.py", "py", "a", "1"),
			archives: map[string][]Member{"conan_export.tgz": {file("a", "1"), file("conanfile.py", "evil")}}, small: recipe,
			fill: "conanfile.py", publish: "conanfile.py",
		},
		{
			name: "manifest hidden in an archive", manifest: lines("conaninfo.txt", "info"), pkg: true,
			archives: pkgOf(file("conanmanifest.txt", "evil")), small: info, publish: `"conanmanifest.txt" is not in the manifest`,
		},
		{
			name: "unlisted member", manifest: lines("conaninfo.txt", "info"), pkg: true,
			archives: pkgOf(file("a", "1")), small: info, extra: `"a"`,
		},
		{
			name: "line without member", manifest: lines("conaninfo.txt", "info", "a", "1"), pkg: true,
			archives: pkgOf(), small: info, publish: `"a" of the manifest is in no archive`,
		},
		{
			name: "folder in place of a file", manifest: lines("conaninfo.txt", "info", "a", "1"), pkg: true,
			archives: pkgOf(Member{Path: "a", Type: DirMember}), small: info, publish: `"a" of the manifest`,
		},
		{
			name: "member in the wrong archive", manifest: lines("conanfile.py", "py", "a", "1"),
			archives: map[string][]Member{"conan_export.tgz": {}, "conan_sources.tgz": {file("a", "1")}}, small: recipe,
			publish: `"a" of the manifest`, extra: "export_source/a",
		},
		{
			name: "litter", manifest: lines("conaninfo.txt", "info", "m.pyc", "1", "x/.DS_Store", "2"), pkg: true,
			archives: pkgOf(file("py/__pycache__/m.cpython-311.pyc", "3"), file("__conan_x", "4")), small: info,
		},
		{
			name: "changed litter", manifest: lines("conaninfo.txt", "info", "m.pyc", "1"), pkg: true,
			archives: pkgOf(file("m.pyc", "3")), small: info, fill: `"m.pyc" has md5`, publish: `"m.pyc" has md5`,
		},
		{
			name: "no line for conaninfo", manifest: lines(), pkg: true, archives: pkgOf(), small: info, publish: `"conaninfo.txt" is not in the manifest`,
		},
		{
			name: "symlinks of Conan 2", manifest: lines("conaninfo.txt", "info", "a", "1", "b", "a", "gone", "nowhere", "out", "/etc/x"), pkg: true,
			archives: pkgOf(file("a", "1"), link("b", "a"), link("gone", "nowhere"), link("out", "/etc/x")), small: info,
		},
		{
			name: "symlinks of Conan 1", manifest: lines("conaninfo.txt", "info", "lib/a", "1", "lib/b", "1", "lib/c", "1", "up", "1", "over", "1", "out", "x", "gone", "y"), pkg: true,
			archives: pkgOf(link("lib64", "lib"), link("lib/c", "b"), link("lib/b", "./a"), link("up", "lib/../lib64/c"), link("over", "lib64/a"),
				link("out", "/etc/x"), link("gone", "../../x"), file("lib/a", "1")), small: info,
		},
		{
			name: "changed symlink", manifest: lines("conaninfo.txt", "info", "a", "1", "b", "2"), pkg: true,
			archives: pkgOf(file("a", "1"), link("b", "a")), small: info, fill: `symlink "b"`, publish: `symlink "b"`,
		},
		{
			name: "symlink to a folder with a line", manifest: lines("conaninfo.txt", "info", "d/a", "1", "b", "2"), pkg: true,
			archives: pkgOf(file("d/a", "1"), link("b", "d")), small: info, fill: `symlink "b"`, publish: `symlink "b"`,
		},
		{
			name: "symlinks without lines", manifest: lines("conaninfo.txt", "info", "d/a", "1"), pkg: true,
			archives: pkgOf(link("b", "d"), link("c", "d/"), link("e", "d/../d"), link("dot", "."), link("gone", "x"), link("out", "/usr"), file("d/a", "1")), small: info,
		},
		{
			name: "symlink to a file without a line", manifest: lines("conaninfo.txt", "info", "a", "1"), pkg: true,
			archives: pkgOf(file("a", "1"), link("b", "a")), small: info, extra: `"b"`,
		},
		{
			name: "symlinks in a circle", manifest: lines("conaninfo.txt", "info", "a", "1", "b", "1"), pkg: true,
			archives: pkgOf(link("a", "b"), link("b", "a"), link("c", "c")), small: info,
		},
		{
			name: "two archives of one kind", manifest: lines("conaninfo.txt", "info", "a", "1"), pkg: true,
			archives: map[string][]Member{"conan_package.tgz": {file("a", "1")}, "conan_package.txz": {file("a", "1")}}, small: info,
			publish: "more than one conan_package",
		},
		{
			name: "many differences", manifest: lines("conaninfo.txt", "info"), pkg: true,
			archives: pkgOf(file("a", "1"), file("b", "1"), file("c", "1"), file("d", "1"), file("e", "1")), small: info,
			extra: "and 2 more",
		},
	}
	for _, tt := range tests {
		m := mustManifest(t, tt.manifest)
		c := NewChecks().Begin(t.Context())
		archives := make(map[string]*Listing)
		var alone error
		for name, members := range tt.archives {
			archives[name] = listing(t, members...)
			alone = errors.Join(alone, c.CompareArchive(m, name, archives[name]))
		}
		extra, whole := c.CompareRevision(m, tt.pkg, archives, tt.small)
		for _, check := range []struct {
			what, word string
			err        error
		}{{"archives alone", tt.fill, alone}, {"publication", tt.publish, whole}} {
			switch {
			case check.word == "" && check.err != nil:
				t.Errorf("%s, %s: %v", tt.name, check.what, check.err)
			case check.word != "" && (!errors.Is(check.err, ErrInvalid) || !strings.Contains(check.err.Error(), check.word)):
				t.Errorf("%s, %s: got %v, want a word about %q", tt.name, check.what, check.err, check.word)
			}
		}
		if (extra == "") != (tt.extra == "") && whole == nil || !strings.Contains(extra, tt.extra) {
			t.Errorf("%s: extra %q, want %q", tt.name, extra, tt.extra)
		}
		c.End()
	}
}

// TestCompareArchiveNotThere: at a publication a line whose archive is missing is a difference; a
// download sees single archives.
func TestCompareArchiveNotThere(t *testing.T) {
	m := mustManifest(t, lines("conanfile.py", "py", "a", "1", "export_source/b", "2"))
	small := map[string]string{RecipeFile: md5Hex("py")}
	c := NewChecks().Begin(t.Context())
	_, err := c.CompareRevision(m, false, map[string]*Listing{"conan_export.tgz": listing(t, file("a", "1"))}, small)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "export_source/b") {
		t.Errorf("publication: got %v", err)
	}
	if err := c.CompareArchive(m, "conan_sources.tgz", listing(t, file("b", "2"))); err != nil {
		t.Errorf("one archive: got %v", err)
	}
	if err := c.CompareArchive(m, "conan_sources.tgz", listing(t, file("b", "3"))); !errors.Is(err, ErrInvalid) {
		t.Errorf("one changed archive: got %v", err)
	}
}

// TestResolveIsBounded: ten thousand symlinks that each lead through forty others end soon.
func TestResolveIsBounded(t *testing.T) {
	var members []Member
	for i := range 10_000 {
		members = append(members, link(fmt.Sprintf("l%d", i), strings.Repeat("x/../", 500)+fmt.Sprintf("l%d", i+1)))
	}
	r := linkResolver{check: NewChecks().Begin(t.Context()), list: listing(t, append(members, file("x/a", ""))...)}
	for _, m := range members {
		if _, _, err := r.resolve(m); err != nil {
			t.Fatal(err)
		}
	}
	if r.work > maxWork+100*10_000 {
		t.Errorf("%d lookups", r.work)
	}
}
