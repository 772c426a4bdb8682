package localstore

import (
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"conanproxy/internal/conan"
)

func TestPublishUndeclared(t *testing.T) {
	t.Parallel()
	e := newEnv(t, onDisk(t))
	set := recipe("class A", files{"data/x.txt": "x"}, files{"src/a.c": "int a;"})
	rev := conan.Revision{Ref: hi, RRev: set.rev()}
	for _, name := range set.order() {
		if _, err := e.Snapshot(t.Context(), rev); name <= conan.ManifestFile {
			wantError(t, err, conan.ErrNotFound)
			wantEqual(t, "revisions before the manifest", ids(t, e, rev.Recipe()), []string(nil))
		}
		if err := e.put(rev, name, set[name]); err != nil {
			t.Fatal(err)
		}
	}
	wantEqual(t, "content", content(t, e, rev), set)
	wantEqual(t, "revisions", ids(t, e, rev), []string{set.rev()})

	p := pkg(info2, files{"lib/liba.a": "!<arch>"})
	prev := e.publishPackage(rev, pid2, p)
	wantEqual(t, "package", content(t, e, prev), p)
	list, err := e.Packages(t.Context(), rev, false)
	wantError(t, err, nil)
	wantEqual(t, "packages", list, []conan.Package{{ID: pid2, Info: info2}})

	pattern, err := conan.ParsePattern("hel*", true)
	wantError(t, err, nil)
	found, err := e.Search(t.Context(), pattern)
	wantError(t, err, nil)
	wantEqual(t, "search", found, []conan.Ref{hi})
	noStages(e)
}

func TestPublishDeclared(t *testing.T) {
	t.Parallel()
	set := recipe("class A", files{"x.txt": "x"}, files{"a.c": "int a;"})
	reversed := set.order()
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	for name, order := range map[string][]string{"manifest late": set.order(), "manifest early": reversed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			if err := e.sendV1(conan.Revision{Ref: hi}, set, order...); err != nil {
				t.Fatal(err)
			}
			rev := conan.Revision{Ref: hi, RRev: set.rev()}
			wantEqual(t, "content", content(t, e, rev), set)

			p := pkg(info1(set.rev()), files{"lib/a": "a"})
			if err := e.sendV1(conan.Revision{Ref: hi, PackageID: pid1}, p); err != nil {
				t.Fatal(err)
			}
			rev.PackageID, rev.PRev = pid1, p.rev()
			wantEqual(t, "package", content(t, e, rev), p)
			noStages(e)
		})
	}
}

func TestUnpinnedURLs(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	leftover := recipe("class Old", files{"gone.txt": "gone"}, nil)
	zero := conan.Revision{Ref: hi, RRev: conan.MutableRevision}
	if err := e.put(zero, "conan_export.tgz", leftover["conan_export.tgz"]); err != nil {
		t.Fatal(err)
	}
	set := plainRecipe("class A")
	if err := e.send(zero, set); err != nil {
		t.Fatal(err)
	}
	rev := conan.Revision{Ref: hi, RRev: set.rev()}
	wantEqual(t, "content without what an earlier upload left", content(t, e, rev), set)

	p := pkg(info1("0123"), files{"a": "a"})
	zero.PackageID, zero.PRev = pid1, conan.MutableRevision
	if err := e.send(zero, p); err != nil {
		t.Fatal(err)
	}
	rev.PackageID, rev.PRev = pid1, p.rev()
	wantEqual(t, "package", content(t, e, rev), p)
	noStages(e)
}

// What an upload may do wrong, and what the store says.
func TestRefusals(t *testing.T) {
	t.Parallel()
	good := recipe("class A", files{"x.txt": "x"}, files{"a.c": "int a;"})
	other := recipe("class B", files{"x.txt": "y"}, files{"a.c": "int b;"})
	p := pkg(info2, files{"lib/a": "a"})
	p1 := pkg(info1("x"), files{"lib/a": "a"})
	rev := conan.Revision{Ref: hi, RRev: good.rev()}
	prev := conan.Revision{Ref: hi, RRev: good.rev(), PackageID: pid2, PRev: p.rev()}
	with := func(change func(*conan.Revision)) conan.Revision {
		r := prev
		change(&r)
		return r
	}
	tests := map[string]struct {
		rev  conan.Revision
		set  files
		err  error
		says string
	}{
		"no export archive":            {rev, good.without("conan_export.tgz"), conan.ErrIncomplete, "conan_export.tgz"},
		"no sources archive":           {rev, good.without("conan_sources.tgz"), conan.ErrIncomplete, "conan_sources.tgz"},
		"no conanfile.py":              {rev, good.without("conanfile.py"), conan.ErrIncomplete, "conanfile.py"},
		"two missing":                  {rev, good.without("conanfile.py", "conan_sources.tgz"), conan.ErrIncomplete, "conanfile.py, conan_sources.tgz"},
		"other recipe revision":        {conan.Revision{Ref: hi, RRev: other.rev()}, good, conan.ErrInvalid, good.rev()},
		"conanfile.py differs":         {rev, good.with(files{"conanfile.py": "class B"}), conan.ErrInvalid, "conanfile.py"},
		"export differs":               {rev, good.with(files{"conan_export.tgz": other["conan_export.tgz"]}), conan.ErrInvalid, "x.txt"},
		"sources differ":               {rev, good.with(files{"conan_sources.tgz": other["conan_sources.tgz"]}), conan.ErrInvalid, "a.c"},
		"missing member":               {rev, good.with(files{"conan_export.tgz": tgz(files{}, 6)}), conan.ErrInvalid, "x.txt"},
		"manifest in an archive":       {rev, good.with(files{"conan_export.tgz": tgz(files{"x.txt": "x", "conanmanifest.txt": "y"}, 6)}), conan.ErrInvalid, "conanmanifest.txt"},
		"two archives of a kind":       {rev, good.with(files{"conan_sources.tzst": tzst(files{"a.c": "int a;"})}), conan.ErrConflict, "conan_sources.tgz"},
		"not an archive":               {rev, good.with(files{"conan_export.tgz": "hello"}), conan.ErrInvalid, "conan_export.tgz"},
		"cut archive":                  {rev, good.with(files{"conan_export.tgz": good["conan_export.tgz"][:30]}), conan.ErrInvalid, "conan_export.tgz"},
		"zstd in a tgz":                {rev, good.with(files{"conan_export.tgz": tzst(files{"x.txt": "x"})}), conan.ErrInvalid, "conan_export.tgz"},
		"empty archive":                {rev, good.with(files{"conan_export.tgz": ""}), conan.ErrInvalid, "empty"},
		"empty conanfile.py":           {rev, good.with(files{"conanfile.py": ""}), conan.ErrInvalid, "empty"},
		"empty manifest":               {rev, good.with(files{"conanmanifest.txt": ""}), conan.ErrInvalid, "empty"},
		"junk manifest":                {rev, good.with(files{"conanmanifest.txt": "x\ny\n"}), conan.ErrInvalid, "conanmanifest.txt"},
		"unknown name":                 {rev, files{"evil.sh": "x"}, conan.ErrInvalid, "evil.sh"},
		"path":                         {rev, files{"../conanfile.py": "x"}, conan.ErrInvalid, "conanfile.py"},
		"package name in recipe":       {rev, files{"conaninfo.txt": "x"}, conan.ErrInvalid, "conaninfo.txt"},
		"metadata path":                {rev, files{"metadata/../x": "x"}, conan.ErrInvalid, "metadata"},
		"package of no recipe":         {with(func(r *conan.Revision) { r.RRev = "1" + r.RRev[1:] }), p, conan.ErrNotFound, "Recipe not found"},
		"package of no reference":      {with(func(r *conan.Revision) { r.Ref.Version = "2.0" }), p, conan.ErrNotFound, "Recipe not found"},
		"other package revision":       {with(func(r *conan.Revision) { r.PRev = "1" + r.PRev[1:] }), p, conan.ErrInvalid, p.rev()},
		"other package id":             {with(func(r *conan.Revision) { r.PackageID = pid1 }), p, conan.ErrInvalid, pid2},
		"no package archive":           {prev, p.without("conan_package.tgz"), conan.ErrIncomplete, "conan_package.tgz"},
		"no conaninfo.txt":             {prev, p.without("conaninfo.txt"), conan.ErrIncomplete, "conaninfo.txt"},
		"conaninfo.txt differs":        {prev, p.with(files{"conaninfo.txt": info2 + "#"}), conan.ErrInvalid, "package id"},
		"Conan 1 conaninfo differs":    {with(func(r *conan.Revision) { r.PackageID, r.PRev = pid1, p1.rev() }), p1.with(files{"conaninfo.txt": info1("y")}), conan.ErrInvalid, "conaninfo.txt"},
		"package archive of no member": {prev, p.with(files{"conan_package.tgz": tgz(files{}, 6)}), conan.ErrInvalid, "lib/a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			if test.rev.IsPackage() {
				e.publishRecipe(hi, good)
			}
			wantError(t, e.send(test.rev, test.set), test.err, test.says)
			if name == "two archives of a kind" {
				wantEqual(t, "the first one counts", content(t, e, test.rev), good)
				return
			}
			if _, err := e.Snapshot(t.Context(), test.rev); err == nil {
				t.Error("it was published")
			}
			if len(test.set) == 1 || test.err == conan.ErrNotFound {
				return
			}
			// The stage stays, so what was wrong can be sent again.
			whole := good
			target := rev
			if test.rev.IsPackage() {
				whole, target = p, prev
			}
			if test.rev != target {
				return
			}
			if err := e.send(target, whole); err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "content after a retry", content(t, e, target), whole)
		})
	}
}

func TestBodyChecks(t *testing.T) {
	t.Parallel()
	set := plainRecipe("class A")
	rev := conan.Revision{Ref: hi, RRev: set.rev()}
	text := set["conanfile.py"]
	tests := map[string]struct {
		up   conan.Upload
		want error
		says string
	}{
		"wrong sha1":       {conan.Upload{Size: int64(len(text)), SHA1: sha1Of("x"), Body: strings.NewReader(text)}, conan.ErrInvalid, "X-Checksum-Sha1"},
		"upper-case sha1":  {conan.Upload{Size: int64(len(text)), SHA1: strings.ToUpper(sha1Of(text)), Body: strings.NewReader(text)}, nil, ""},
		"shorter":          {conan.Upload{Size: int64(len(text)) + 1, Body: strings.NewReader(text)}, conan.ErrInvalid, "bytes"},
		"longer":           {conan.Upload{Size: int64(len(text)) - 1, Body: strings.NewReader(text)}, conan.ErrInvalid, "bytes"},
		"cut":              {conan.Upload{Size: int64(len(text)), Body: brokenBody{strings.NewReader(text[:3])}}, conan.ErrInvalid, "cut short"},
		"chunked":          {conan.Upload{Size: -1, Body: strings.NewReader(text)}, nil, ""},
		"chunked and cut":  {conan.Upload{Size: -1, Body: brokenBody{strings.NewReader(text[:3])}}, conan.ErrInvalid, "cut short"},
		"chunked, no body": {conan.Upload{Size: -1}, conan.ErrInvalid, "empty"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			test.up.Revision, test.up.Name, test.up.By.Name = rev, "conanfile.py", "ann"
			wantError(t, e.Put(t.Context(), test.up), test.want, test.says)
			err := e.put(rev, conan.ManifestFile, set[conan.ManifestFile])
			if test.want != nil {
				wantError(t, err, conan.ErrIncomplete, "conanfile.py")
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEmptyConaninfo(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	rev := e.publishRecipe(hi, plainRecipe("a"))
	p := pkg("", files{"include/a.h": "a"})
	prev := rev
	prev.PackageID, prev.PRev = "da39a3ee5e6b4b0d3255bfef95601890afd80709", p.rev()
	for _, name := range p.order() {
		up := conan.Upload{Revision: prev, Name: name, By: conan.Actor{Name: "ann"}, Size: -1, Body: strings.NewReader(p[name])}
		if err := e.Put(t.Context(), up); err != nil {
			t.Fatal(err)
		}
	}
	wantEqual(t, "content", content(t, e, prev), p)
}

func TestScmRevisions(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	set := plainRecipe("class A")
	rev := conan.Revision{Ref: hi, RRev: "4fb2d7d5a9ae0bc4d62b5d3e66d5ba1a3a90dd0d"}
	for range 2 {
		if err := e.send(rev, set); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, e.send(rev, plainRecipe("class B")), conan.ErrConflict, "another manifest")
	wantEqual(t, "content", content(t, e, rev), set)

	// A v1 package finds the revision by the summary of its manifest.
	e.publishRecipe(hi, plainRecipe("class C"))
	p := pkg(info1(set.rev()), files{"a": "a"})
	if err := e.sendV1(conan.Revision{Ref: hi, PackageID: pid1}, p); err != nil {
		t.Fatal(err)
	}
	rev.PackageID, rev.PRev = pid1, p.rev()
	wantEqual(t, "package", content(t, e, rev), p)
}

func TestRepublish(t *testing.T) {
	t.Parallel()
	e := newEnv(t, onDisk(t))
	a := recipe("class A", nil, files{"a.c": "int a;"})
	b := plainRecipe("class B")
	repacked := a.with(files{"conan_sources.tgz": tgz(files{"a.c": "int a;"}, gzip.BestSpeed)})
	if repacked["conan_sources.tgz"] == a["conan_sources.tgz"] {
		t.Fatal("packing at another level gave the same bytes")
	}
	ra := e.publishRecipe(hi, a)
	first, err := e.Latest(t.Context(), ra)
	wantError(t, err, nil)
	e.clock.advance(time.Second)

	needless := a.with(files{"conan_export.tgz": tgz(files{}, gzip.BestSpeed)})
	for name, set := range map[string]files{"same": a, "repacked": repacked, "with an archive of nothing": needless, "manifest only": {conan.ManifestFile: a[conan.ManifestFile]}} {
		if err := e.send(ra, set); err != nil {
			t.Fatal(name, err)
		}
		again, err := e.Latest(t.Context(), ra)
		wantError(t, err, nil)
		wantEqual(t, name+": the newest keeps its time", again, first)
		wantEqual(t, name+": the old bytes are kept", content(t, e, ra), a)
	}
	if err := e.sendV1(conan.Revision{Ref: hi}, repacked); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "the old bytes are kept by v1 too", content(t, e, ra), a)

	e.publishRecipe(hi, b)
	wantEqual(t, "revisions", ids(t, e, ra.Recipe()), []string{b.rev(), a.rev()})
	e.publishRecipe(hi, a)
	wantEqual(t, "within a minute the older keeps its time", ids(t, e, ra.Recipe()), []string{b.rev(), a.rev()})
	e.clock.advance(time.Minute)
	e.publishRecipe(hi, a)
	wantEqual(t, "later it is the newest again, once", ids(t, e, ra.Recipe()), []string{a.rev(), b.rev()})
	if err := e.sendV1(conan.Revision{Ref: hi}, b); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "what Conan 1 sends is the newest at once", ids(t, e, ra.Recipe()), []string{b.rev(), a.rev()})
	noStages(e)

	other := a.without("conan_sources.tgz").with(files{"conan_sources.tzst": tzst(files{"a.c": "int a;"})})
	wantError(t, e.send(ra, other), nil)
	wantError(t, e.sendV1(conan.Revision{Ref: hi}, other), nil)
	wantEqual(t, "another compression is no other content", content(t, e, ra), a)
}

// TestExtraMembers: files that the manifest lacks are taken, also in an archive that it does not
// imply, and are in the log.
func TestExtraMembers(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	e := newEnv(t, func(o *Options) { o.Log = zap.New(core) })
	sets := map[string]files{
		"y.txt":     recipe("class A", files{"x.txt": "x"}, nil).with(files{"conan_export.tgz": tgz(files{"x.txt": "x", "y.txt": "y"}, 6)}),
		"Thumbs.db": plainRecipe("class B").with(files{"conan_export.tgz": tgz(files{"Thumbs.db": "x"}, 6)}),
	}
	for name, set := range sets {
		rev := e.publishRecipe(hi, set)
		wantEqual(t, "content", content(t, e, rev), set)
		warnings := logs.TakeAll()
		if len(warnings) != 1 || !strings.Contains(fmt.Sprint(warnings[0].ContextMap()["files"]), name) {
			t.Errorf("the log has %v, want a warning about %s", warnings, name)
		}
	}
}

func TestRepublishPackage(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	rev := e.publishRecipe(hi, plainRecipe("a"))
	a, b := pkg(info2, files{"a": "a"}), pkg(info2, files{"a": "b"})
	pa := e.publishPackage(rev, pid2, a)
	e.publishPackage(rev, pid2, b)
	of := conan.Revision{Ref: hi, RRev: rev.RRev, PackageID: pid2}
	wantEqual(t, "package revisions", ids(t, e, of), []string{b.rev(), a.rev()})
	e.publishPackage(rev, pid2, a)
	wantEqual(t, "within a minute the older keeps its time", ids(t, e, of), []string{b.rev(), a.rev()})
	e.clock.advance(2 * time.Minute)
	e.publishPackage(rev, pid2, a)
	wantEqual(t, "later it is the newest again, once", ids(t, e, of), []string{a.rev(), b.rev()})
	wantEqual(t, "content", content(t, e, pa), a)
}

func TestTimesRise(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, text := range []string{"a", "b", "c"} { // the clock stands still
		rev := e.publishRecipe(hi, plainRecipe(text))
		e.publishPackage(rev, pid2, pkg(info2, files{"a": text}))
	}
	if got := len(ids(t, e, conan.Revision{Ref: hi})); got != 3 {
		t.Errorf("%d revisions, want 3", got)
	}
	e.clock.advance(-time.Hour)
	rev := e.publishRecipe(hi, plainRecipe("d"))
	if got := ids(t, e, rev.Recipe()); got[0] != rev.RRev {
		t.Error("the newest is not the last one published when the clock goes back")
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := plainRecipe("a")
	rev := conan.Revision{Ref: hi, RRev: a.rev()}
	if err := e.put(rev, "metadata/logs/a b.log", "early"); err != nil {
		t.Fatal(err)
	}
	e.publishRecipe(hi, a)
	e.publishRecipe(hi, plainRecipe("b"))
	want := a.with(files{"metadata/logs/a b.log": "early"})
	wantEqual(t, "staged before publication", content(t, e, rev), want)
	before, err := e.Revisions(t.Context(), rev)
	wantError(t, err, nil)
	e.clock.advance(time.Hour)
	for _, text := range []string{"one", "two", ""} {
		if err := e.put(rev, "metadata/ü;+.txt", text); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "added", content(t, e, rev), want.with(files{"metadata/ü;+.txt": text}))
	}
	after, err := e.Revisions(t.Context(), rev)
	wantError(t, err, nil)
	wantEqual(t, "times stay", after, before)
	noStages(e)
}

func TestHiddenPackage(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	set, p := plainRecipe("a"), pkg(info2, files{"a": "a"})
	rev := conan.Revision{Ref: hi, RRev: set.rev()}
	if err := e.put(rev, "conanfile.py", set["conanfile.py"]); err != nil {
		t.Fatal(err)
	}
	prev := e.publishPackage(rev, pid2, p)
	of := conan.Revision{Ref: hi, RRev: rev.RRev, PackageID: pid2}
	_, err := e.Snapshot(t.Context(), prev)
	wantError(t, err, conan.ErrNotFound)
	_, err = e.Open(t.Context(), prev, conan.InfoFile)
	wantError(t, err, conan.ErrNotFound)
	_, err = e.Packages(t.Context(), rev, true)
	wantError(t, err, conan.ErrNotFound)
	wantEqual(t, "revisions", ids(t, e, of), []string(nil))
	found, err := e.Search(t.Context(), conan.Pattern{})
	wantError(t, err, nil)
	wantEqual(t, "search", found, []conan.Ref{})
	wantError(t, e.Remove(t.Context(), conan.Removal{Revision: of}), conan.ErrNotFound)

	// It is not the recipe of everybody.
	up := conan.Upload{Revision: prev, Name: conan.InfoFile, By: conan.Actor{Name: "bob"}, Size: int64(len(info2)), Body: strings.NewReader(info2)}
	wantError(t, e.Put(t.Context(), up), conan.ErrNotFound, "Recipe not found")

	if err := e.put(rev, conan.ManifestFile, set[conan.ManifestFile]); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "package", content(t, e, prev), p)
}

func TestChangesArePublished(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	changes := func(what string, want bool, change func()) {
		t.Helper()
		stamp := e.db.Changes().Of(hi)
		change()
		if got := !stamp.Valid(); got != want {
			t.Errorf("%s changes the reference: %v, want %v", what, got, want)
		}
	}
	var rev conan.Revision
	changes("a publication", true, func() { rev = e.publishRecipe(hi, plainRecipe("a")) })
	changes("the same again", false, func() { e.publishRecipe(hi, plainRecipe("a")) })
	changes("metadata", true, func() { wantError(t, e.put(rev, "metadata/x", "x"), nil) })
	changes("a removal", true, func() { wantError(t, e.Remove(t.Context(), conan.Removal{Revision: conan.Revision{Ref: hi}}), nil) })
}
