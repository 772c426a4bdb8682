package conantest

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// check lists the archives of a set and compares everything with the manifest, as a publication
// does.
func check(t *testing.T, what string, s Set) {
	t.Helper()
	check := conan.NewChecks().Begin(t.Context())
	archives, small := make(map[string]*conan.Listing), make(map[string]string)
	for name, b := range s.Files {
		if err := conan.CheckFileName(name, s.IsPackage()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		switch {
		case conan.IsArchive(name):
			list, err := check.List(name, bytes.NewReader(b))
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			archives[name] = list
		case name == conan.RecipeFile || name == conan.InfoFile:
			small[name] = md5Of(b)
		}
	}
	if extra, err := check.CompareRevision(s.Manifest(), s.IsPackage(), archives, small); err != nil || extra != "" {
		t.Errorf("%s: got %q, %v", what, extra, err)
	}
	if missing := s.Manifest().Outline().Missing(s.Snapshot(), s.IsPackage()); len(missing) > 0 {
		t.Errorf("%s: lacks %q", what, missing)
	}
	if !s.Pinned() || s.ID() != s.Manifest().Summary() {
		t.Errorf("%s: %s does not follow from the manifest (%s)", what, s.Revision, s.Manifest().Summary())
	}
}

func TestSetsAreWhole(t *testing.T) {
	recipe := Recipe("zlib", "1.3", Owner("acme", "stable"), File("conandata.yml", "x"), Source("src/a.c", "int a;"),
		RandomSource("src/big", 100_000), Metadata("logs/a b.log", "log"))
	check(t, "recipe", recipe)
	check(t, "recipe of one file", Recipe("ab", "1.0"))
	check(t, "package", Package(recipe))
	links := []Option{Random("lib/liba.so.1", 5000), Symlink("lib/liba.so", "liba.so.1"), Symlink("lib/again", "liba.so"), Symlink("lib64", "lib")}
	for _, ending := range []string{"tgz", "txz", "tzst"} {
		check(t, ending, Package(recipe, append(links, Compression(ending))...))
		check(t, "Conan 1 "+ending, Package(recipe, append(links, Compression(ending), Conan1())...))
	}
	check(t, "header only", Package(Recipe("ab", "1.0", HeaderOnly()), HeaderOnly()))
}

func TestSetIDs(t *testing.T) {
	recipe := Recipe("zlib", "1.3")
	if again := Recipe("zlib", "1.3"); !cmp.Equal(recipe, again) {
		t.Error("the same arguments made other bytes")
	}
	if other := Recipe("zlib", "1.3", Code("    # fixed\n")); other.RRev == recipe.RRev {
		t.Error("another code made the same revision")
	}
	if later := Recipe("zlib", "1.3", Published(DefaultTime.Add(time.Hour))); later.RRev != recipe.RRev {
		t.Error("another time made another revision")
	}
	// The ids that Conan 1.66 and Conan 2.34 computed for settings of os=Linux.
	if id := Package(recipe).PackageID; id != "9a4eb3c8701508aa9458b1a73d0633783ecc2270" {
		t.Errorf("package id of Conan 2: %s", id)
	}
	if id := Package(recipe, Conan1()).PackageID; id != "cb054d0b3e1ca595dc66bc2339d40f1f8f04ab31" {
		t.Errorf("package id of Conan 1: %s", id)
	}
	empty := Package(Recipe("ab", "1.0", HeaderOnly()), HeaderOnly())
	if b := empty.Files[conan.InfoFile]; empty.PackageID != "da39a3ee5e6b4b0d3255bfef95601890afd80709" || len(b) != 0 {
		t.Errorf("header only: %s, conaninfo %q", empty.PackageID, b)
	}
	if b := Package(Recipe("ab", "1.0", HeaderOnly()), HeaderOnly(), Conan1()); b.PackageID != "5ab84d6acfe1f23c4fae0ab88f26e3a396351ac9" {
		t.Errorf("header only of Conan 1: %s", b.PackageID)
	}
	if hash := conan.ParseInfo(string(Package(recipe, Conan1()).Files[conan.InfoFile])).RecipeHash; hash != recipe.RRev {
		t.Errorf("recipe_hash %s of recipe %s", hash, recipe.RRev)
	}
	want := conan.Info{Settings: map[string]string{"os": "Windows", "arch": "x86"}, Options: map[string]string{"shared": "True"}, Requires: []string{"bzip2/1.0.Z"}, FullRequires: []string{}}
	got := Package(recipe, Setting("os", "Windows"), Setting("arch", "x86"), Choice("shared", "True"), Requires("bzip2/1.0.Z"))
	if diff := cmp.Diff(want, conan.ParseInfo(string(got.Files[conan.InfoFile]))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSetCopies(t *testing.T) {
	recipe := Recipe("zlib", "1.3")
	changed := recipe.With("conanfile.py", "evil").Without(conan.ManifestFile).As("0")
	if len(recipe.Files) != 2 || recipe.RRev == "0" || string(changed.Files["conanfile.py"]) != "evil" || len(changed.Files) != 1 || changed.RRev != "0" {
		t.Errorf("recipe %v, copy %v", recipe.Names(), changed.Names())
	}
}
