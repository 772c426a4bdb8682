package localstore

import (
	"errors"
	"strings"
	"testing"

	"conanproxy/internal/conan"
)

func TestStageRefusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		target conan.Revision
		sizes  map[string]int64
		want   error
	}{
		"no files":            {conan.Revision{Ref: hi}, nil, conan.ErrInvalid},
		"unknown name":        {conan.Revision{Ref: hi}, map[string]int64{"x.py": 1}, conan.ErrInvalid},
		"path":                {conan.Revision{Ref: hi}, map[string]int64{"../conanfile.py": 1}, conan.ErrInvalid},
		"absolute":            {conan.Revision{Ref: hi}, map[string]int64{"/conanfile.py": 1}, conan.ErrInvalid},
		"backslash":           {conan.Revision{Ref: hi}, map[string]int64{`metadata\x`: 1}, conan.ErrInvalid},
		"metadata":            {conan.Revision{Ref: hi}, map[string]int64{"metadata/x": 1}, conan.ErrInvalid},
		"package name":        {conan.Revision{Ref: hi}, map[string]int64{"conaninfo.txt": 1}, conan.ErrInvalid},
		"negative":            {conan.Revision{Ref: hi}, map[string]int64{"conanfile.py": -1}, conan.ErrInvalid},
		"empty conanfile.py":  {conan.Revision{Ref: hi}, map[string]int64{"conanfile.py": 0}, conan.ErrInvalid},
		"empty manifest":      {conan.Revision{Ref: hi}, map[string]int64{"conanmanifest.txt": 0}, conan.ErrInvalid},
		"two archives":        {conan.Revision{Ref: hi}, map[string]int64{"conan_export.tgz": 1, "conan_export.txz": 1}, conan.ErrConflict},
		"overflow":            {conan.Revision{Ref: hi}, map[string]int64{"conan_export.tgz": 1 << 62, "conan_sources.tgz": 1 << 62}, conan.ErrInvalid},
		"package, no recipe":  {conan.Revision{Ref: hi, PackageID: pid1}, map[string]int64{"conaninfo.txt": 1}, conan.ErrNotFound},
		"empty conaninfo.txt": {conan.Revision{Ref: conan.Ref{Name: "there", Version: "1.0"}, PackageID: pid1}, map[string]int64{"conaninfo.txt": 0}, nil},
	}
	e := newEnv(t)
	e.publishRecipe(conan.Ref{Name: "there", Version: "1.0"}, plainRecipe("a"))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := e.Stage(t.Context(), test.target, conan.Actor{Name: "ann"}, test.sizes)
			wantError(t, err, test.want)
		})
	}
}

func TestDeclaredFilesOnly(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	set := plainRecipe("class A")
	target := conan.Revision{Ref: hi}
	stage, err := e.Stage(t.Context(), target, conan.Actor{Name: "ann"}, set.sizes())
	wantError(t, err, nil)
	wantError(t, e.putStage(stage, target, "conan_export.tgz", "x"), conan.ErrInvalid, "not announced")
	wantError(t, e.putStage(stage, target, "conanfile.py", "class A "), conan.ErrInvalid, "bytes")
	wantError(t, e.putStage(stage, conan.Revision{Ref: conan.Ref{Name: "other", Version: "1.0"}}, "conanfile.py", set["conanfile.py"]), conan.ErrNotFound)
	wantError(t, e.putStage("upload-unknown", target, "conanfile.py", set["conanfile.py"]), conan.ErrNotFound)
	up := conan.Upload{Revision: target, Stage: stage, Name: "conanfile.py", By: conan.Actor{Name: "bob"}, Size: 7, Body: strings.NewReader("class A")}
	wantError(t, e.Put(t.Context(), up), conan.ErrDenied)

	short := conan.Upload{Revision: target, Stage: stage, Name: "conanfile.py", By: conan.Actor{Name: "ann"}, Size: -1, Body: strings.NewReader("class")}
	wantError(t, e.Put(t.Context(), short), conan.ErrInvalid, "bytes")

	wantError(t, e.putStage(stage, target, conan.ManifestFile, set[conan.ManifestFile]), nil)
	wantEqual(t, "revisions before the set is complete", ids(t, e, target), []string(nil))
	wantError(t, e.putStage(stage, target, "conanfile.py", "class B"), conan.ErrInvalid, "conanfile.py")
	wantError(t, e.putStage(stage, target, "conanfile.py", "class B"), conan.ErrInvalid, "conanfile.py") // remembered
	wantError(t, e.putStage(stage, target, "conanfile.py", "class A"), nil)
	wantEqual(t, "revisions", ids(t, e, target), []string{set.rev()})

	wantError(t, e.publishStage(t.Context(), stage), nil) // as the last but one of two PUTs at once may do

	// The answer may have been lost: the same bytes are welcome again, others are not.
	wantError(t, e.putStage(stage, target, "conanfile.py", "class A"), nil)
	wantError(t, e.putStage(stage, target, "conanfile.py", "class B"), conan.ErrConflict)
}

// A stage of the undeclared kind cannot be named as a declared one.
func TestUndeclaredStageIsNotAddressable(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	set := plainRecipe("class A")
	rev := conan.Revision{Ref: hi, RRev: set.rev()}
	wantError(t, e.put(rev, "conanfile.py", "class A"), nil)
	wantError(t, e.putStage(e.setID(rev, "ann"), rev, "conanfile.py", "class A"), conan.ErrNotFound)
}

// Old clients declare and send what changed by md5.
func TestOldClientSendsChangedFilesOnly(t *testing.T) {
	t.Parallel()
	old := recipe("class A", files{"x.txt": "x"}, files{"a.c": "int a;"})
	tests := map[string]struct {
		next files
		send []string
		want error
		says string
	}{
		"conanfile.py": {
			recipe("class B", files{"x.txt": "x"}, files{"a.c": "int a;"}), []string{"conanfile.py", "conanmanifest.txt"}, nil, ""},
		"sources": {
			recipe("class A", files{"x.txt": "x"}, files{"a.c": "int b;"}), []string{"conan_sources.tgz", "conanmanifest.txt"}, nil, ""},
		"export lost": {
			recipe("class A", nil, files{"a.c": "int a;"}), []string{"conanmanifest.txt"}, nil, ""},
		"repacked only": {
			old, []string{"conan_sources.tgz"}, nil, ""},
		"sources changed but not sent": {
			recipe("class A", files{"x.txt": "x"}, files{"a.c": "int b;"}), []string{"conanmanifest.txt"}, conan.ErrIncomplete, "conan_export.tgz, conan_sources.tgz"},
		"conanfile.py changed but not sent": {
			recipe("class B", files{"x.txt": "x"}, files{"a.c": "int a;"}), []string{"conanmanifest.txt"}, conan.ErrIncomplete, "conanfile.py"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			before := e.publishRecipe(hi, old)
			set := make(files)
			for _, n := range test.send {
				set[n] = test.next[n]
			}
			err := e.sendV1(conan.Revision{Ref: hi}, set)
			wantEqual(t, "the old revision", content(t, e, before), old)
			if test.want != nil {
				wantError(t, err, test.want, test.says)
				wantEqual(t, "revisions", ids(t, e, before.Recipe()), []string{old.rev()})
				return
			}
			wantError(t, err, nil)
			rev := conan.Revision{Ref: hi, RRev: test.next.rev()}
			wantEqual(t, "content", content(t, e, rev), test.next)
			noStages(e)
		})
	}
}

func TestOldClientSendsChangedPackageFilesOnly(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	rev := e.publishRecipe(hi, plainRecipe("a"))
	a := pkg(info1(rev.RRev), files{"a": "a"})
	b := pkg(info1(rev.RRev), files{"a": "b"})
	target := conan.Revision{Ref: hi, PackageID: pid1}
	wantError(t, e.sendV1(target, a), nil)
	wantError(t, e.sendV1(target, b.without("conaninfo.txt")), nil)
	rev.PackageID, rev.PRev = pid1, b.rev()
	wantEqual(t, "content", content(t, e, rev), b)
	c := pkg(info1(rev.RRev), files{"a": "c"})
	wantError(t, e.sendV1(target, files{conan.ManifestFile: c[conan.ManifestFile]}), conan.ErrIncomplete, "conan_package.tgz")
}

func TestV1OverV2Revisions(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a, b := recipe("A", files{"x": "x"}, nil), plainRecipe("B")
	ra := e.publishRecipe(hi, a)
	target := conan.Revision{Ref: hi}
	wantError(t, e.sendV1(target, b), nil)
	rb := conan.Revision{Ref: hi, RRev: b.rev()}
	wantEqual(t, "the old revision", content(t, e, ra), a)
	wantEqual(t, "the new revision", content(t, e, rb), b)
	wantEqual(t, "revisions", ids(t, e, target), []string{b.rev(), a.rev()})
	wantError(t, e.RemoveFiles(t.Context(), target, conan.Actor{Name: "ann"}, []string{"conan_export.tgz"}), nil)

	p := pkg(info1(b.rev()), files{"a": "a"})
	wantError(t, e.sendV1(conan.Revision{Ref: hi, PackageID: pid1}, p), nil)
	rb.PackageID, rb.PRev = pid1, p.rev()
	wantEqual(t, "package", content(t, e, rb), p)
	noStages(e)
}

func TestV1PackageFindsItsRecipe(t *testing.T) {
	t.Parallel()
	a, b, c := plainRecipe("A"), plainRecipe("B"), plainRecipe("C")
	tests := map[string]struct {
		local    []files // published in this order
		upstream []files
		hash     string
		want     string
		adopted  bool
	}{
		"the one with its hash":       {[]files{a, b}, nil, a.rev(), a.rev(), false},
		"the newest":                  {[]files{a, b}, nil, c.rev(), b.rev(), false},
		"the newest, no hash":         {[]files{a, b}, nil, "", b.rev(), false},
		"upstream's with its hash":    {[]files{a}, []files{b, c}, b.rev(), b.rev(), true},
		"upstream's newest":           {nil, []files{b, c}, a.rev(), c.rev(), true},
		"the newest before upstream":  {[]files{a}, []files{b}, c.rev(), a.rev(), false},
		"local hash before upstream":  {[]files{a, b}, []files{a}, a.rev(), a.rev(), false},
		"no such hash, junk for hash": {[]files{a}, []files{b}, "no hash", a.rev(), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newEnv(t)
			for _, set := range test.upstream {
				up.publishRecipe(hi, set)
			}
			e := newEnv(t, func(o *Options) { o.Upstream = func(conan.Actor) conan.Source { return source{up} } })
			for _, set := range test.local {
				e.publishRecipe(hi, set)
			}
			p := pkg(info1(test.hash), files{"a": "a"})
			wantError(t, e.sendV1(conan.Revision{Ref: hi, PackageID: pid1}, p), nil)
			rev := conan.Revision{Ref: hi, RRev: test.want, PackageID: pid1, PRev: p.rev()}
			wantEqual(t, "package", content(t, e, rev), p)
			own, err := e.OwnRevisions(t.Context(), hi)
			wantError(t, err, nil)
			isOwn := false
			for _, id := range own {
				isOwn = isOwn || id == test.want
			}
			if isOwn == test.adopted {
				t.Errorf("own revisions are %v, adopted should be %v", own, test.adopted)
			}
		})
	}
}

func TestRemoveFiles(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	set := recipe("A", files{"x": "x"}, nil).with(files{"conan_sources.tgz": tgz(files{}, 6)})
	target := conan.Revision{Ref: hi}
	wantError(t, e.RemoveFiles(t.Context(), target, conan.Actor{Name: "ann"}, []string{"conan_export.tgz"}), conan.ErrNotFound)
	rev := e.publishRecipe(hi, set)
	tests := []struct {
		names []string
		want  error
	}{
		{[]string{"conan_sources.txz"}, nil},
		{[]string{"../x"}, conan.ErrInvalid},
		{[]string{"x.py"}, conan.ErrInvalid},
		{[]string{"conanfile.py"}, conan.ErrInvalid},
		{[]string{"conanmanifest.txt"}, conan.ErrInvalid},
		{[]string{"conan_sources.tgz", "conan_export.tgz"}, conan.ErrInvalid},
	}
	for _, test := range tests {
		wantError(t, e.RemoveFiles(t.Context(), target, conan.Actor{Name: "ann"}, test.names), test.want)
		wantEqual(t, "content", content(t, e, rev), set)
	}
	wantError(t, e.RemoveFiles(t.Context(), target, conan.Actor{Name: "ann"}, []string{"conan_sources.tgz", "conan_export.txz"}), nil)
	wantEqual(t, "content", content(t, e, rev), set.without("conan_sources.tgz"))
}

// The manifest is refused while a file is missing; the stage of the whole set is repaired by
// sending it again.
func TestFailedFileThenRetry(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	old, set := plainRecipe("A"), recipe("B", nil, files{"a.c": "x"})
	e.publishRecipe(hi, old)
	target := conan.Revision{Ref: hi}
	stage, err := e.Stage(t.Context(), target, conan.Actor{Name: "ann"}, set.sizes())
	wantError(t, err, nil)
	wantError(t, e.putStage(stage, target, "conan_sources.tgz", set["conan_sources.tgz"]), nil)
	wantError(t, e.putStage(stage, target, "conanmanifest.txt", set["conanmanifest.txt"]), nil)
	wantEqual(t, "revisions", ids(t, e, target), []string{old.rev()})
	wantError(t, e.sendV1(target, set), nil)
	wantEqual(t, "revisions", ids(t, e, target), []string{set.rev(), old.rev()})
	if _, err := e.db.Stage(t.Context(), stage); errors.Is(err, conan.ErrNotFound) {
		t.Error("the first stage was swept early")
	}
}
