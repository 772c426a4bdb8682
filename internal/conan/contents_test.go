package conan

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCheckContentsOfClients checks what the real clients of both generations uploaded: with
// symlinks to files, to folders, to nothing and outside, hard links, empty folders, odd names.
func TestCheckContentsOfClients(t *testing.T) {
	for _, set := range []string{"conan1/recipe", "conan1/package", "conan2/recipe", "conan2/package"} {
		entries, err := os.ReadDir("testdata/" + set)
		if err != nil {
			t.Fatal(err)
		}
		archives, small := make(map[string][]Member), make(map[string]string)
		for _, entry := range entries {
			name := entry.Name()
			b := readTestdata(t, set+"/"+name)
			switch {
			case IsArchive(name):
				if archives[name], err = ListArchive(name, bytes.NewReader(b)); err != nil {
					t.Errorf("%s: %v", set, err)
				}
			case name != ManifestFile:
				small[name] = md5Hex(string(b))
			}
		}
		m := mustManifest(t, string(readTestdata(t, set+"/"+ManifestFile)))
		diff, err := CheckContents(m, strings.HasSuffix(set, "package"), archives, small, true)
		if err != nil || diff != (Differences{}) {
			t.Errorf("%s: got %+v, %v", set, diff, err)
		}
		for name, members := range archives {
			if diff, err := CheckArchive(m, name, members); err != nil || diff != (Differences{}) {
				t.Errorf("%s, %s alone: got %+v, %v", set, name, diff, err)
			}
		}
	}
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

func TestCheckContents(t *testing.T) {
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
		want     Differences
		fill     string // a word of the error without strict; empty: no error
		publish  string // a word of the error with strict
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
			archives: pkgOf(), small: info, fill: "conaninfo.txt", publish: "conaninfo.txt",
		},
		{
			name: "changed recipe", manifest: lines("conanfile.py", "other"),
			small: recipe, fill: "conanfile.py", publish: "conanfile.py",
		},
		{
			name: "conanfile.py hidden in an archive", manifest: lines("conanfile.py", "py", "a", "1"),
			archives: map[string][]Member{"conan_export.tgz": {file("a", "1"), file("conanfile.py", "evil")}}, small: recipe,
			fill: "conanfile.py", publish: "conanfile.py",
		},
		{
			name: "manifest hidden in an archive", manifest: lines("conaninfo.txt", "info"), pkg: true,
			archives: pkgOf(file("conanmanifest.txt", "evil")), small: info,
			want: Differences{Unlisted: 1}, publish: `"conanmanifest.txt" is not in the manifest`,
		},
		{
			name: "unlisted member", manifest: lines("conaninfo.txt", "info"), pkg: true,
			archives: pkgOf(file("a", "1")), small: info, want: Differences{Unlisted: 1}, publish: `"a" is not in the manifest`,
		},
		{
			name: "line without member", manifest: lines("conaninfo.txt", "info", "a", "1"), pkg: true,
			archives: pkgOf(), small: info, want: Differences{Absent: 1}, publish: `"a" of the manifest is in no archive`,
		},
		{
			name: "folder in place of a file", manifest: lines("conaninfo.txt", "info", "a", "1"), pkg: true,
			archives: pkgOf(Member{Path: "a", Type: DirMember}), small: info, want: Differences{Absent: 1}, publish: `"a" of the manifest`,
		},
		{
			name: "member in the wrong archive", manifest: lines("conanfile.py", "py", "a", "1"),
			archives: map[string][]Member{"conan_export.tgz": {}, "conan_sources.tgz": {file("a", "1")}}, small: recipe,
			want: Differences{Unlisted: 1, Absent: 1}, publish: `"export_source/a" is not in the manifest`,
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
			name: "no line for conaninfo", manifest: lines(), pkg: true, archives: pkgOf(), small: info,
			want: Differences{Unlisted: 1}, publish: `"conaninfo.txt" is not in the manifest`,
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
			archives: pkgOf(file("a", "1"), link("b", "a")), small: info, want: Differences{Unlisted: 1}, publish: `"b" is not in the manifest`,
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
			want: Differences{Unlisted: 5}, publish: "and 2 more",
		},
	}
	for _, tt := range tests {
		m := mustManifest(t, tt.manifest)
		for _, strict := range []bool{false, true} {
			word := tt.fill
			if strict {
				word = tt.publish
			}
			got, err := CheckContents(m, tt.pkg, tt.archives, tt.small, strict)
			switch {
			case word == "" && err != nil:
				t.Errorf("%s, strict %v: %v", tt.name, strict, err)
			case word != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), word)):
				t.Errorf("%s, strict %v: got %v, want a word about %q", tt.name, strict, err, word)
			}
			if !strict {
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
				}
			}
		}
	}
}

// TestCheckContentsArchiveNotThere: at a publication a line whose archive is missing is a
// difference; a fill sees single archives.
func TestCheckContentsArchiveNotThere(t *testing.T) {
	m := mustManifest(t, lines("conanfile.py", "py", "a", "1", "export_source/b", "2"))
	small := map[string]string{RecipeFile: md5Hex("py")}
	_, err := CheckContents(m, false, map[string][]Member{"conan_export.tgz": {file("a", "1")}}, small, true)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "export_source/b") {
		t.Errorf("publication: got %v", err)
	}
	diff, err := CheckContents(m, false, map[string][]Member{"conan_export.tgz": {file("a", "1")}}, nil, false)
	if err != nil || diff.Absent != 1 { // conanfile.py
		t.Errorf("fill: got %+v, %v", diff, err)
	}
	if diff, err := CheckArchive(m, "conan_sources.tgz", []Member{file("b", "2")}); err != nil || diff != (Differences{}) {
		t.Errorf("one archive: got %+v, %v", diff, err)
	}
	if _, err := CheckArchive(m, "conan_sources.tgz", []Member{file("b", "3")}); !errors.Is(err, ErrInvalid) {
		t.Errorf("one changed archive: got %v", err)
	}
}

// TestResolveIsBounded: ten thousand symlinks that each lead through forty others end soon.
func TestResolveIsBounded(t *testing.T) {
	var members []Member
	for i := range 10_000 {
		members = append(members, link(fmt.Sprintf("l%d", i), strings.Repeat("x/../", 500)+fmt.Sprintf("l%d", i+1)))
	}
	members = append(members, file("x/a", ""))
	tree := memberTree{members: members}
	for i := range members[:10_000] {
		tree.resolve(&members[i])
	}
	if tree.work > maxWork+100*10_000 {
		t.Errorf("%d lookups", tree.work)
	}
}
