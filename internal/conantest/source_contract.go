package conantest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
)

// TestSource is the contract suite of conan.Source: every implementation and every wrapper runs it.
// newSource makes a Source that has exactly these sets, each published after the one before it. It
// is called once for each test of the suite.
func TestSource(t *testing.T, newSource func(t *testing.T, sets ...Set) conan.Source) {
	tests := map[string]func(sourceTest){
		"Latest":        sourceTest.latest,
		"Revisions":     sourceTest.revisions,
		"Snapshot":      sourceTest.snapshot,
		"Open":          sourceTest.open,
		"OpenAtOnce":    sourceTest.openAtOnce,
		"Packages":      sourceTest.packages,
		"Search":        sourceTest.search,
		"Origins":       sourceTest.origins,
		"Immutable":     sourceTest.immutable,
		"EndedContext":  sourceTest.endedContext,
		"AnyQuestion":   sourceTest.anyQuestion,
		"NothingInside": func(s sourceTest) { sourceTest{T: s.T, Source: newSource(s.T)}.empty() },
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := library()
			test(sourceTest{T: t, library: l, Source: newSource(t, l...)})
		})
	}
}

// sets are published revisions, oldest first.
type sets []Set

// library has what the answers of a Source can depend on: several revisions of a recipe and of a
// package, binaries of an older recipe revision, a recipe without binaries, a user and channel,
// metadata, every compression.
func library() sets {
	clock := DefaultTime
	later := func() Option {
		clock = clock.Add(time.Hour)
		return Published(clock)
	}
	oldZlib := Recipe("zlib", "1.3", later(), File("conandata.yml", "x"))
	oldLib := Package(oldZlib, later())
	zlib := Recipe("zlib", "1.3", later(), File("conandata.yml", "y"), Source("src/a.c", "int a;"), Metadata("log/build.txt", "built"))
	lib := Package(zlib, later(), File("lib/libz.a", "old"))
	newLib := Package(zlib, later(), File("lib/libz.a", "new"))
	windowsLib := Package(zlib, later(), Setting("os", "Windows"), Compression("tzst"))
	next := Recipe("zlib", "1.3.1", later(), Compression("txz"), File("conandata.yml", "z"))
	hello := Recipe("hello", "1.0", later(), Owner("acme", "stable"), HeaderOnly())
	headers := Package(hello, later(), HeaderOnly(), Random("include/hello.h", 300_000))
	return sets{oldZlib, oldLib, zlib, lib, newLib, windowsLib, next, hello, headers}
}

// newestFirst lists the ids of the revisions of a recipe, or of a package id.
func (l sets) newestFirst(of conan.Revision) []string {
	var ids []string
	for _, set := range slices.Backward(l) {
		if set.Revision.With("") == of.With("") {
			ids = append(ids, set.ID())
		}
	}
	return ids
}

func (l sets) find(rev conan.Revision) (Set, bool) {
	i := slices.IndexFunc(l, func(s Set) bool { return s.Revision == rev })
	if i < 0 {
		return Set{}, false
	}
	return l[i], true
}

// binaries lists what package search says of a recipe revision.
func (l sets) binaries(recipe conan.Revision) []conan.Package {
	list := []conan.Package{}
	for _, set := range slices.Backward(l) {
		if set.IsPackage() && set.Recipe() == recipe && !slices.ContainsFunc(list, func(p conan.Package) bool { return p.ID == set.PackageID }) {
			list = append(list, conan.Package{ID: set.PackageID, Info: string(set.Files[conan.InfoFile])})
		}
	}
	slices.SortFunc(list, func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// matches lists the references that a pattern finds.
func (l sets) matches(p conan.Pattern) []conan.Ref {
	refs := []conan.Ref{}
	for _, set := range l {
		if !set.IsPackage() && p.Match(set.Ref) {
			refs = append(refs, set.Ref)
		}
	}
	slices.SortFunc(refs, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(refs)
}

// strangers are revisions that the library lacks, each for another reason.
func (l sets) strangers() map[string]conan.Revision {
	pkg := l[1].Revision
	unknownRef, unknownRRev, unknownID, unknownPRev := pkg, pkg, pkg, pkg
	unknownRef.Name = "zlib2"
	unknownRRev.RRev = strings.Repeat("0", 31) + "1"
	unknownID.PackageID = strings.Repeat("0", 39) + "1"
	unknownPRev.PRev = strings.Repeat("0", 31) + "1"
	otherRecipe := pkg
	otherRecipe.RRev = l[6].RRev
	return map[string]conan.Revision{
		"reference": unknownRef, "recipe revision": unknownRRev, "package id": unknownID,
		"package revision": unknownPRev, "package of another recipe": otherRecipe,
		"recipe": unknownRef.Recipe(), "revision of a recipe": unknownRRev.Recipe(),
	}
}

// sourceTest is one test of the suite.
type sourceTest struct {
	*testing.T
	library sets
	conan.Source
}

// checkAnswer compares an answer with want, or with ErrNotFound if found is false.
func checkAnswer[T any](t interface {
	Helper()
	Errorf(string, ...any)
}, question string, a conan.Answer[T], err error, want T, found bool) {
	t.Helper()
	if !found {
		if !errors.Is(err, conan.ErrNotFound) {
			t.Errorf("%s: got %v, %v; want ErrNotFound", question, a.Value, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", question, err)
		return
	}
	if diff := cmp.Diff(want, a.Value, cmpopts.IgnoreFields(conan.RevisionTime{}, "Time"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", question, diff)
	}
}

func (s sourceTest) latest() {
	for _, set := range s.library {
		rev := set.Revision.With("")
		a, err := s.Latest(s.Context(), rev)
		checkAnswer(s, "latest of "+rev.String(), a, err, conan.RevisionTime{ID: s.library.newestFirst(rev)[0]}, true)
		if a.Value.Time.IsZero() || a.Value.Time.Location() != time.UTC {
			s.Errorf("latest of %s: time %v", rev, a.Value.Time)
		}
	}
	for name, rev := range s.library.strangers() {
		if name == "package revision" || name == "revision of a recipe" {
			continue // without its last id, it is no stranger
		}
		a, err := s.Latest(s.Context(), rev.With(""))
		checkAnswer(s, "latest of an unknown "+name, a, err, conan.RevisionTime{}, false)
	}
}

func (s sourceTest) revisions() {
	for _, set := range s.library {
		rev := set.Revision.With("")
		a, err := s.Revisions(s.Context(), rev)
		if err != nil {
			s.Fatalf("revisions of %s: %v", rev, err)
		}
		var ids []string
		for i, r := range a.Value {
			ids = append(ids, r.ID)
			if i > 0 && r.Time.After(a.Value[i-1].Time) {
				s.Errorf("revisions of %s: %s is newer than %s before it", rev, r.ID, a.Value[i-1].ID)
			}
		}
		if diff := cmp.Diff(s.library.newestFirst(rev), ids); diff != "" {
			s.Errorf("revisions of %s: (-want +got)\n%s", rev, diff)
		}
		latest, err := s.Latest(s.Context(), rev)
		if err != nil || latest.Value != a.Value[0] {
			s.Errorf("latest of %s: got %v, %v; want the first revision, %v", rev, latest.Value, err, a.Value[0])
		}
	}
	for name, rev := range s.library.strangers() {
		if name == "package revision" || name == "revision of a recipe" {
			continue
		}
		a, err := s.Revisions(s.Context(), rev.With(""))
		checkAnswer(s, "revisions of an unknown "+name, a, err, nil, false)
	}
}

func (s sourceTest) snapshot() {
	for _, set := range s.library {
		a, err := s.Snapshot(s.Context(), set.Revision)
		if err != nil {
			s.Fatalf("files of %s: %v", set, err)
		}
		s.checkSnapshot(set, a.Value)
	}
	for name, rev := range s.library.strangers() {
		a, err := s.Snapshot(s.Context(), rev)
		checkAnswer(s, "files of an unknown "+name, a, err, nil, false)
	}
}

// checkSnapshot compares names, and of sizes and digests those that are known.
func (s sourceTest) checkSnapshot(set Set, got conan.Snapshot) {
	s.Helper()
	var names []string
	for _, f := range got {
		names = append(names, f.Name)
		want, _ := set.Snapshot().Find(f.Name)
		s.checkInfo(set, want, f)
	}
	if diff := cmp.Diff(set.Names(), names); diff != "" {
		s.Errorf("files of %s: (-want +got)\n%s", set, diff)
	}
}

func (s sourceTest) checkInfo(set Set, want, got conan.FileInfo) {
	s.Helper()
	known := func(want, got string) bool { return got == "" || got == want }
	if got.Size != -1 && got.Size != want.Size || !known(want.MD5, got.MD5) || !known(want.SHA1, got.SHA1) || !known(want.SHA256, got.SHA256) {
		s.Errorf("%s of %s: got %+v, want %+v", want.Name, set, got, want)
	}
}

func (s sourceTest) open() {
	for _, set := range s.library {
		for _, name := range set.Names() {
			s.readFile(set, name)
		}
		a, err := s.Open(s.Context(), set.Revision, conan.MetadataDir+"none.txt")
		checkAnswer(s, "an unknown file of "+set.String(), a, err, nil, false)
	}
	for name, rev := range s.library.strangers() {
		a, err := s.Open(s.Context(), rev, conan.ManifestFile)
		checkAnswer(s, "a file of an unknown "+name, a, err, nil, false)
	}
}

// readFile reads a file from its beginning to its end, and again when it is verified.
func (s sourceTest) readFile(set Set, name string) {
	s.Helper()
	a, err := s.Open(s.Context(), set.Revision, name)
	if err != nil {
		s.Errorf("open %s of %s: %v", name, set, err)
		return
	}
	file := a.Value
	defer file.Close()
	s.checkContent(set, name, file)
	if file.Verified() {
		return
	}
	verified, err := file.Wait(s.Context())
	if err != nil {
		s.Errorf("wait for %s of %s: %v", name, set, err)
		return
	}
	defer verified.Close()
	if !verified.Verified() {
		s.Errorf("%s of %s is not verified after Wait", name, set)
	}
	s.checkContent(set, name, verified)
}

func (s sourceTest) checkContent(set Set, name string, file *conan.File) {
	s.Helper()
	want, _ := set.Snapshot().Find(name)
	s.checkInfo(set, want, file.FileInfo)
	if file.Verified() && (file.Size != want.Size || file.SHA256 != want.SHA256) {
		s.Errorf("%s of %s is verified as %+v", name, set, file.FileInfo)
	}
	got, err := io.ReadAll(file)
	if err != nil || string(got) != string(set.Files[name]) {
		s.Errorf("%s of %s: %d bytes, want %d; error %v", name, set, len(got), len(set.Files[name]), err)
	}
}

// openAtOnce reads every file by several readers at the same time.
func (s sourceTest) openAtOnce() {
	var all sync.WaitGroup
	for _, set := range s.library {
		for _, name := range set.Names() {
			for range 3 {
				all.Go(func() { s.readFile(set, name) })
			}
		}
	}
	all.Wait()
}

func (s sourceTest) packages() {
	for _, set := range s.library {
		if set.IsPackage() {
			continue
		}
		want := s.library.binaries(set.Revision)
		a, err := s.Packages(s.Context(), set.Revision, false)
		checkAnswer(s, "packages of "+set.String(), a, err, want, true)
		a, err = s.Packages(s.Context(), set.Revision, true)
		if diff := cmp.Diff(want, a.Value, cmpopts.IgnoreFields(conan.Package{}, "Info"), cmpopts.EquateEmpty()); diff != "" || err != nil {
			s.Errorf("package ids of %s: error %v (-want +got)\n%s", set, err, diff)
		}
	}
	for _, name := range []string{"recipe", "revision of a recipe"} {
		a, err := s.Packages(s.Context(), s.library.strangers()[name], false)
		checkAnswer(s, "packages of an unknown "+name, a, err, nil, false)
	}
}

// patterns are searches that find all, some or none.
var patterns = []string{"", "*", "zlib/1.3", "zlib/*", "z*", "*1.3*", "ZLIB/1.3", "hello/1.0@acme/stable", "*@acme/*", "hello/*@*/*", "none/1.0", "zlib"}

func (s sourceTest) search() {
	for _, text := range patterns {
		for _, ignoreCase := range []bool{true, false} {
			p, err := conan.ParsePattern(text, ignoreCase)
			if err != nil {
				s.Fatal(err)
			}
			a, err := s.Search(s.Context(), p)
			checkAnswer(s, "search "+text, a, err, s.library.matches(p), true)
		}
	}
}

// origins: every answer says where it came from, a failure does if it may be remembered.
func (s sourceTest) origins() {
	valid := func(question string, o conan.Origin) {
		s.Helper()
		switch o.State {
		case conan.StateLocal, conan.StateHit, conan.StateMiss:
		default:
			s.Errorf("%s: state %q", question, o.State)
		}
		if o.Member == "" || o.Age < 0 || o.Reason != "" {
			s.Errorf("%s: origin %+v", question, o)
		}
		if o.Expires.IsZero() {
			s.Errorf("%s: may not be remembered", question)
		}
	}
	for range 2 { // asked first and remembered
		for _, set := range s.library {
			latest, err := s.Latest(s.Context(), set.Revision.With(""))
			must(err)
			valid("latest of "+set.String(), latest.Origin)
			list, err := s.Revisions(s.Context(), set.Revision.With(""))
			must(err)
			valid("revisions of "+set.String(), list.Origin)
			files, err := s.Snapshot(s.Context(), set.Revision)
			must(err)
			valid("files of "+set.String(), files.Origin)
			file, err := s.Open(s.Context(), set.Revision, conan.ManifestFile)
			must(err)
			valid("manifest of "+set.String(), file.Origin)
			file.Value.Close()
			binaries, err := s.Packages(s.Context(), set.Recipe(), false)
			must(err)
			valid("packages of "+set.String(), binaries.Origin)
		}
		found, err := s.Search(s.Context(), conan.Pattern{})
		must(err)
		valid("search", found.Origin)
		for name, rev := range s.library.strangers() {
			files, err := s.Snapshot(s.Context(), rev)
			if !errors.Is(err, conan.ErrNotFound) {
				s.Errorf("files of an unknown %s: %v", name, err)
			}
			valid("files of an unknown "+name, files.Origin)
		}
	}
}

// immutable: what was said about a pinned revision stays true, and calling Prefetch changes
// nothing.
func (s sourceTest) immutable() {
	for _, set := range s.library {
		var before conan.Snapshot
		for round := range 3 {
			latest, err := s.Latest(s.Context(), set.Revision.With(""))
			must(err)
			a, err := s.Snapshot(s.Context(), set.Revision)
			must(err)
			for _, prefetch := range []func(){latest.Prefetch, a.Prefetch} {
				if prefetch != nil {
					prefetch()
				}
			}
			s.checkSnapshot(set, a.Value)
			if round == 2 && len(before) != len(a.Value) {
				s.Errorf("files of %s changed from %v to %v", set, before, a.Value)
			}
			before = a.Value
			s.readFile(set, conan.ManifestFile)
		}
	}
}

// endedContext: a caller that leaves is not told that something is absent.
func (s sourceTest) endedContext() {
	ended, end := context.WithCancel(s.Context())
	end()
	for _, set := range s.library {
		_, latest := s.Latest(ended, set.Revision.With(""))
		_, list := s.Revisions(ended, set.Revision.With(""))
		_, files := s.Snapshot(ended, set.Revision)
		_, binaries := s.Packages(ended, set.Recipe(), false)
		file, open := s.Open(ended, set.Revision, conan.ManifestFile)
		if open == nil {
			file.Value.Close()
		}
		for question, err := range map[string]error{"latest": latest, "revisions": list, "files": files, "packages": binaries, "open": open} {
			if errors.Is(err, conan.ErrNotFound) {
				s.Errorf("%s of %s after the end of the context: %v", question, set, err)
			}
		}
	}
	s.latest()
}

func (s sourceTest) empty() {
	rev := library()[1].Revision
	latest, err := s.Latest(s.Context(), rev.Recipe().With(""))
	checkAnswer(s, "latest", latest, err, conan.RevisionTime{}, false)
	list, err := s.Revisions(s.Context(), rev.With(""))
	checkAnswer(s, "revisions", list, err, nil, false)
	files, err := s.Snapshot(s.Context(), rev)
	checkAnswer(s, "files", files, err, nil, false)
	file, err := s.Open(s.Context(), rev, conan.ManifestFile)
	checkAnswer(s, "open", file, err, nil, false)
	binaries, err := s.Packages(s.Context(), rev.Recipe(), true)
	checkAnswer(s, "packages", binaries, err, nil, false)
	found, err := s.Search(s.Context(), conan.Pattern{})
	checkAnswer(s, "search", found, err, []conan.Ref{}, true)
}

// anyQuestion asks at random and compares with the answers of a model.
func (s sourceTest) anyQuestion() {
	known := make([]conan.Revision, 0, len(s.library))
	for _, set := range s.library {
		known = append(known, set.Revision)
	}
	id := func(t *rapid.T, label string, of func(conan.Revision) string) string {
		return of(rapid.SampledFrom(known).Draw(t, label))
	}
	rapid.Check(s.T, func(t *rapid.T) {
		// Ids of several sets are mixed: most such revisions do not exist.
		rev := rapid.SampledFrom(known).Draw(t, "revision")
		if rapid.Bool().Draw(t, "mixed") {
			rev.RRev = id(t, "recipe revision", func(r conan.Revision) string { return r.RRev })
			rev.PackageID = id(t, "package id", func(r conan.Revision) string { return r.PackageID })
			rev.PRev = id(t, "package revision", func(r conan.Revision) string { return r.PRev })
			if (rev.PackageID == "") != (rev.PRev == "") {
				rev.PackageID, rev.PRev = "", ""
			}
		}
		s.ask(t, rev)
	})
}

func (s sourceTest) ask(t *rapid.T, rev conan.Revision) {
	set, found := s.library.find(rev)
	ids := s.library.newestFirst(rev)
	switch question := rapid.SampledFrom([]string{"latest", "revisions", "files", "open", "packages"}).Draw(t, "question"); question {
	case "latest":
		want := conan.RevisionTime{}
		if len(ids) > 0 {
			want.ID = ids[0]
		}
		a, err := s.Latest(s.Context(), rev.With(""))
		checkAnswer(t, question, a, err, want, len(ids) > 0)
	case "revisions":
		var want []conan.RevisionTime
		for _, id := range ids {
			want = append(want, conan.RevisionTime{ID: id})
		}
		a, err := s.Revisions(s.Context(), rev.With(""))
		checkAnswer(t, question, a, err, want, len(ids) > 0)
	case "files":
		a, err := s.Snapshot(s.Context(), rev)
		want := conan.Snapshot{}
		if found {
			want = set.Snapshot()
		}
		for i := range a.Value {
			if i < len(want) { // names only: the rest may be unknown
				want[i] = a.Value[i]
				want[i].Name = set.Names()[i]
			}
		}
		checkAnswer(t, question, a, err, want, found)
	case "open":
		name := rapid.SampledFrom([]string{conan.ManifestFile, conan.RecipeFile, conan.InfoFile}).Draw(t, "file")
		want, has := set.Files[name]
		a, err := s.Open(s.Context(), rev, name)
		if err != nil || !has {
			checkAnswer(t, question, a, err, nil, has)
			return
		}
		got, err := io.ReadAll(a.Value)
		a.Value.Close()
		if err != nil || string(got) != string(want) {
			t.Errorf("%s of %s: %q, %v", name, rev, got, err)
		}
	case "packages":
		recipe, known := s.library.find(rev.Recipe())
		a, err := s.Packages(s.Context(), rev.Recipe(), false)
		checkAnswer(t, question, a, err, s.library.binaries(recipe.Revision), known)
	}
}
