package conantest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"conanproxy/internal/conan"
)

// Store is a Publisher whose readers see the published sets.
type Store interface {
	conan.Source
	conan.Publisher
}

// Publish uploads a set file by file to its own revision, as Conan 2 does.
func Publish(ctx context.Context, p conan.Publisher, set Set) error {
	for _, name := range set.Names() {
		if err := p.Put(ctx, uploadOf(set, name)); err != nil {
			return fmt.Errorf("publish %s of %s: %w", name, set.Revision, err)
		}
	}
	return nil
}

// uploadOf is the upload of one file by the user "ann".
func uploadOf(set Set, name string) conan.Upload {
	b := set.Files[name]
	return conan.Upload{Revision: set.Revision, Name: name, By: conan.Actor{Name: "ann"}, Size: int64(len(b)), SHA1: sha1Of(b), Body: bytes.NewReader(b)}
}

// TestPublisher is the contract suite of conan.Publisher. newStore makes an empty store, without an
// upstream behind it; it is called once for each test of the suite.
func TestPublisher(t *testing.T, newStore func(t *testing.T) Store) {
	tests := map[string]func(publisherTest){
		"WholeSets":     publisherTest.wholeSets,
		"DeclaredSets":  publisherTest.declaredSets,
		"UnknownStage":  publisherTest.unknownStage,
		"UnknownRecipe": publisherTest.unknownRecipe,
		"Incomplete":    publisherTest.incomplete,
		"WrongBytes":    publisherTest.wrongBytes,
		"Again":         publisherTest.again,
		"Metadata":      publisherTest.metadata,
		"Link":          publisherTest.link,
		"Remove":        publisherTest.remove,
		"RemoveFiles":   publisherTest.removeFiles,
		"CheckSpace":    publisherTest.checkSpace,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(publisherTest{T: t, Store: newStore(t)}) })
	}
}

// publisherTest is one test of the suite.
type publisherTest struct {
	*testing.T
	Store
}

func (p publisherTest) publish(sets ...Set) {
	p.Helper()
	for _, set := range sets {
		if err := Publish(p.Context(), p, set); err != nil {
			p.Fatal(err)
		}
	}
}

// stage declares a set without its ids.
func (p publisherTest) stage(set Set) (target conan.Revision, stage string) {
	p.Helper()
	sizes := make(map[string]int64)
	for name, b := range set.Files {
		sizes[name] = int64(len(b))
	}
	target = conan.Revision{Ref: set.Ref, PackageID: set.PackageID}
	stage, err := p.Stage(p.Context(), target, conan.Actor{Name: "ann"}, sizes)
	if err != nil {
		p.Fatal(err)
	}
	return target, stage
}

// expect checks a failure by its kind.
func (p publisherTest) expect(what string, err, want error) {
	p.Helper()
	if !errors.Is(err, want) {
		p.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// holds checks that exactly these sets can be read.
func (p publisherTest) holds(want ...Set) {
	p.Helper()
	var got, all []conan.Revision
	refs, err := p.Search(p.Context(), conan.Pattern{})
	must(err)
	for _, ref := range refs.Value {
		recipes, err := p.Revisions(p.Context(), conan.Revision{Ref: ref})
		must(err)
		for _, r := range recipes.Value {
			recipe := conan.Revision{Ref: ref, RRev: r.ID}
			got = append(got, recipe)
			got = append(got, p.packagesOf(recipe)...)
		}
	}
	for _, set := range want {
		all = append(all, set.Revision)
		files, err := p.Snapshot(p.Context(), set.Revision)
		if err != nil {
			p.Errorf("files of %s: %v", set.Revision, err)
		}
		sourceTest{T: p.T, Source: p.Store}.checkSnapshot(set, files.Value)
		sourceTest{T: p.T, Source: p.Store}.readFile(set, conan.ManifestFile)
	}
	inOrder := cmpopts.SortSlices(func(a, b conan.Revision) bool { return a.String() < b.String() })
	if diff := cmp.Diff(all, got, inOrder, cmpopts.EquateEmpty()); diff != "" {
		p.Errorf("revisions: (-want +got)\n%s", diff)
	}
}

func (p publisherTest) packagesOf(recipe conan.Revision) (revs []conan.Revision) {
	p.Helper()
	binaries, err := p.Packages(p.Context(), recipe, true)
	must(err)
	for _, b := range binaries.Value {
		id := recipe
		id.PackageID = b.ID
		list, err := p.Revisions(p.Context(), id)
		must(err)
		for _, r := range list.Value {
			revs = append(revs, id.With(r.ID))
		}
	}
	return revs
}

// wholeSets: nothing of a set can be read before its last file came.
func (p publisherTest) wholeSets() {
	recipe := Recipe("zlib", "1.3", File("a", "a"))
	pkg := Package(recipe)
	last := conan.ManifestFile
	for _, set := range []Set{recipe, pkg} {
		for _, name := range set.Names() {
			if name != last {
				p.expect(name, p.Put(p.Context(), uploadOf(set, name)), nil)
				_, err := p.Snapshot(p.Context(), set.Revision)
				p.expect("files of "+set.String()+" before its manifest", err, conan.ErrNotFound)
				_, err = p.Latest(p.Context(), set.Revision.With(""))
				p.expect("latest of "+set.String()+" before its manifest", err, conan.ErrNotFound)
			}
		}
		p.expect(last, p.Put(p.Context(), uploadOf(set, last)), nil)
	}
	p.holds(recipe, pkg)
}

// declaredSets: a declared set publishes with its last file, whichever that is, under the ids that
// its manifest makes.
func (p publisherTest) declaredSets() {
	recipe := Recipe("zlib", "1.3", Conan1(), File("a", "a"))
	pkg := Package(recipe, Conan1())
	for _, set := range []Set{recipe, pkg} {
		target, stage := p.stage(set)
		for i, name := range slices.Backward(set.Names()) { // the manifest is not the last
			up := uploadOf(set, name)
			up.Revision, up.Stage = target, stage
			p.expect(name, p.Put(p.Context(), up), nil)
			if i > 0 {
				_, err := p.Snapshot(p.Context(), set.Revision)
				p.expect("files of "+set.String()+" before its last file", err, conan.ErrNotFound)
			}
		}
	}
	p.holds(recipe, pkg)
}

func (p publisherTest) unknownStage() {
	recipe := Recipe("zlib", "1.3")
	up := uploadOf(recipe, conan.RecipeFile)
	up.Stage, up.RRev = "upload-unknown", ""
	p.expect("put", p.Put(p.Context(), up), conan.ErrNotFound)
	p.holds()
}

func (p publisherTest) unknownRecipe() {
	pkg := Package(Recipe("zlib", "1.3"))
	_, err := p.Stage(p.Context(), conan.Revision{Ref: pkg.Ref, PackageID: pkg.PackageID}, conan.Actor{Name: "ann"}, map[string]int64{conan.InfoFile: 1})
	p.expect("stage", err, conan.ErrNotFound)
	p.holds()
}

func (p publisherTest) incomplete() {
	recipe := Recipe("zlib", "1.3", File("a", "a"))
	p.expect("manifest alone", p.Put(p.Context(), uploadOf(recipe, conan.ManifestFile)), conan.ErrIncomplete)
	p.holds()
	p.publish(recipe)
	p.holds(recipe)
}

func (p publisherTest) wrongBytes() {
	recipe := Recipe("zlib", "1.3")
	tests := map[string]func(*conan.Upload){
		"another sha1": func(up *conan.Upload) { up.SHA1 = sha1Of(nil) },
		"longer":       func(up *conan.Upload) { up.Size-- },
		"shorter":      func(up *conan.Upload) { up.Size++ },
		"unknown name": func(up *conan.Upload) { up.Name = "x.py" },
	}
	for name, change := range tests {
		up := uploadOf(recipe, conan.RecipeFile)
		change(&up)
		p.expect(name, p.Put(p.Context(), up), conan.ErrInvalid)
	}
	p.holds()
	p.publish(recipe)
	p.holds(recipe)
}

// again: the answer to an upload may be lost on its way, so the same files are taken once more.
func (p publisherTest) again() {
	recipe := Recipe("zlib", "1.3", File("a", "a"))
	pkg := Package(recipe)
	p.publish(recipe, pkg, recipe, pkg)
	p.holds(recipe, pkg)
}

// metadata is added to a published revision, and does not change what the revision is.
func (p publisherTest) metadata() {
	recipe := Recipe("zlib", "1.3")
	p.publish(recipe)
	more := recipe.With("metadata/log/build.txt", "built")
	p.expect("put", p.Put(p.Context(), uploadOf(more, "metadata/log/build.txt")), nil)
	p.holds(more)
}

func (p publisherTest) link() {
	recipe := Recipe("zlib", "1.3")
	other := Recipe("zlib", "1.4", File("a", "a"))
	p.publish(other)
	archive := conan.ExportPrefix + "tgz"
	copied := Recipe("copy", "1.0", File("a", "a")) // the same archive in another recipe
	up := uploadOf(copied, archive)
	up.Body = nil
	all := func(string, conan.Ref) bool { return true }
	p.expect("readable bytes", p.Link(p.Context(), up, all), nil)
	p.expect("unreadable bytes", p.Link(p.Context(), up, func(string, conan.Ref) bool { return false }), conan.ErrNotFound)
	unknown := uploadOf(recipe, conan.RecipeFile)
	unknown.Body = nil
	p.expect("unknown bytes", p.Link(p.Context(), unknown, all), conan.ErrNotFound)
	for _, name := range []string{conan.RecipeFile, conan.ManifestFile} {
		p.expect(name, p.Put(p.Context(), uploadOf(copied, name)), nil)
	}
	p.holds(other, copied)
}

func (p publisherTest) remove() {
	old := Recipe("zlib", "1.3", Code("# old"))
	oldLib := Package(old)
	recipe := Recipe("zlib", "1.3")
	lib := Package(recipe, File("lib/libz.a", "1"))
	lib2 := Package(recipe, File("lib/libz.a", "2"))
	windows := Package(recipe, Setting("os", "Windows"))
	other := Recipe("hello", "1.0", Owner("acme", "stable"))
	whole := []Set{old, oldLib, recipe, lib, lib2, windows, other}
	id := lib.Revision.With("")
	ref := conan.Revision{Ref: recipe.Ref}
	tests := []struct {
		what    string
		removal conan.Removal
		left    []Set // nil: refused with ErrNotFound, and nothing is removed
	}{
		{"a package revision", conan.Removal{Revision: lib.Revision}, []Set{old, oldLib, recipe, lib2, windows, other}},
		{"a package id", conan.Removal{Revision: id}, []Set{old, oldLib, recipe, windows, other}},
		{"package ids of a revision", conan.Removal{Revision: recipe.Revision, PackageIDs: []string{lib.PackageID, windows.PackageID}}, []Set{old, oldLib, recipe, other}},
		{"package ids of all revisions", conan.Removal{Revision: ref, PackageIDs: []string{lib.PackageID}}, []Set{old, recipe, windows, other}},
		{"all packages of a revision", conan.Removal{Revision: recipe.Revision, AllPackages: true}, []Set{old, oldLib, recipe, other}},
		{"all packages", conan.Removal{Revision: ref, AllPackages: true}, []Set{old, recipe, other}},
		{"a recipe revision", conan.Removal{Revision: recipe.Revision}, []Set{old, oldLib, other}},
		{"a reference", conan.Removal{Revision: ref}, []Set{other}},
		{"an unknown reference", conan.Removal{Revision: conan.Revision{Ref: Recipe("none", "1.0").Ref}}, nil},
		{"an unknown recipe revision", conan.Removal{Revision: ref.With(lib.PRev)}, nil},
		{"an unknown package revision", conan.Removal{Revision: id.With(oldLib.RRev)}, nil},
		{"package ids of which one is unknown", conan.Removal{Revision: old.Revision, PackageIDs: []string{lib.PackageID, windows.PackageID}}, nil},
	}
	for _, test := range tests {
		p.publish(whole...)
		test.removal.By = conan.Actor{Name: "ann"}
		err := p.Remove(p.Context(), test.removal)
		if test.left == nil {
			p.expect(test.what, err, conan.ErrNotFound)
			p.holds(whole...)
			continue
		}
		p.expect(test.what, err, nil)
		p.holds(test.left...)
		p.expect(test.what+", again", p.Remove(p.Context(), test.removal), conan.ErrNotFound)
	}
}

func (p publisherTest) removeFiles() {
	recipe := Recipe("zlib", "1.3", File("a", "a"))
	p.publish(recipe)
	p.expect("an unknown file", p.RemoveFiles(p.Context(), recipe.Revision, conan.Actor{Name: "ann"}, []string{"conan_sources.tgz"}), nil)
	p.holds(recipe)
	p.expect("a file that the manifest implies", p.RemoveFiles(p.Context(), recipe.Revision, conan.Actor{Name: "ann"}, []string{conan.RecipeFile}), conan.ErrInvalid)
	p.holds(recipe)
}

func (p publisherTest) checkSpace() {
	p.expect("nothing", p.CheckSpace(p.Context(), 0), nil)
}
