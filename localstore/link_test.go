package localstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

func anyRef(member string, _ conan.Ref) bool { return member == "local" }

func (e *env) link(rev conan.Revision, stage, name, text string, mayRead func(string, conan.Ref) bool) error {
	return e.Link(e.t.Context(), conan.Upload{Revision: rev, Stage: stage, Name: name, By: conan.Actor{Name: "ann"}, SHA1: sha1Of(text)}, mayRead)
}

func TestLink(t *testing.T) {
	t.Parallel()
	set := recipe("class A", nil, files{"a.c": "int a;"})
	empty := pkg("", files{"a": "a"})
	secret := conan.Ref{Name: "secret", Version: "1.0"}
	other := conan.Ref{Name: "other", Version: "1.0"}
	e := newEnv(t)
	rs := e.publishRecipe(secret, set)
	e.publishPackage(rs, sha1Of(""), empty)

	public := func(_ string, r conan.Ref) bool { return r != secret }
	rev := conan.Revision{Ref: other, RRev: set.rev()}
	t.Run("not readable", func(t *testing.T) {
		for _, name := range set.order() {
			wantError(t, e.link(rev, "", name, set[name], public), conan.ErrNotFound)
		}
		noStages(e)
	})
	t.Run("unknown", func(t *testing.T) {
		wantError(t, e.link(rev, "", "conanfile.py", "class Unknown", anyRef), conan.ErrNotFound)
		wantError(t, e.link(rev, "", "evil", "class A", anyRef), conan.ErrInvalid)
		wantError(t, e.Link(t.Context(), conan.Upload{Revision: rev, Name: "conanfile.py"}, anyRef), conan.ErrInvalid)
		noStages(e)
	})
	t.Run("staged bytes are not linked", func(t *testing.T) {
		wantError(t, e.put(rev, "conanfile.py", "class Staged"), nil)
		wantError(t, e.link(rev, "", "conanfile.py", "class Staged", anyRef), conan.ErrNotFound)
		_, _, err := e.db.SweepStages(t.Context(), e.clock.Now().Add(time.Second))
		wantError(t, err, nil)
	})
	t.Run("wrong content", func(t *testing.T) {
		wantError(t, e.link(rev, "", "conanmanifest.txt", "class A", anyRef), conan.ErrInvalid)
		wantError(t, e.link(rev, "", "conan_export.tgz", "class A", anyRef), nil)
		wantError(t, e.link(rev, "", "conanfile.py", "class A", anyRef), nil)
		wantError(t, e.link(rev, "", "conan_sources.tgz", set["conan_sources.tgz"], anyRef), nil)
		wantError(t, e.link(rev, "", "conanmanifest.txt", set["conanmanifest.txt"], anyRef), conan.ErrInvalid, "conan_export.tgz")
		_, _, err := e.db.SweepStages(t.Context(), e.clock.Now().Add(time.Second))
		wantError(t, err, nil)
	})
	t.Run("undeclared", func(t *testing.T) {
		var all error
		for _, name := range set.order() {
			all = errors.Join(all, e.link(rev, "", name, set[name], anyRef))
		}
		wantError(t, all, nil)
		wantEqual(t, "content", content(t, e, rev), set)
		noStages(e)
	})
	t.Run("empty conaninfo.txt", func(t *testing.T) {
		prev := rev
		prev.PackageID, prev.PRev = sha1Of(""), empty.rev()
		wantError(t, e.link(prev, "", conan.RecipeFile, "", anyRef), conan.ErrInvalid)
		for _, name := range empty.order() {
			wantError(t, e.link(prev, "", name, empty[name], anyRef), nil)
		}
		wantEqual(t, "content", content(t, e, prev), empty)
	})
	t.Run("metadata of a published revision", func(t *testing.T) {
		wantError(t, e.link(rev, "", "metadata/a", "class A", anyRef), nil)
		wantEqual(t, "file", readFile(t, e, rev, "metadata/a"), "class A")
	})
	t.Run("declared", func(t *testing.T) {
		third := conan.Revision{Ref: conan.Ref{Name: "third", Version: "1.0"}}
		stage, err := e.Stage(t.Context(), third, conan.Actor{Name: "ann"}, set.sizes())
		wantError(t, err, nil)
		for _, name := range set.order() {
			wantError(t, e.link(third, stage, name, set[name], anyRef), nil)
		}
		third.RRev = set.rev()
		wantEqual(t, "content", content(t, e, third), set)
		wantError(t, e.link(third, stage, "conanfile.py", set["conanfile.py"], anyRef), conan.ErrNotFound)
		stage, err = e.Stage(t.Context(), third, conan.Actor{Name: "ann"}, map[string]int64{"conanfile.py": 1})
		wantError(t, err, nil)
		wantError(t, e.link(third, stage, "conanfile.py", set["conanfile.py"], anyRef), conan.ErrInvalid, "bytes")
	})
}

// Two contents with one sha1 are an attack: neither is linked.
func TestLinkRefusesCollisions(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	set := plainRecipe("class A")
	rev := e.publishRecipe(conan.Ref{Name: "other", Version: "1.0"}, set)
	target := conan.Revision{Ref: hi, RRev: set.rev()}
	evil := conan.FileInfo{Name: "metadata/x", Size: 7, MD5: md5Of("x"), SHA1: sha1Of("class A"), SHA256: strings.Repeat("f", 64)}
	wantError(t, e.db.PutRevision(t.Context(), e.member, rev, index.PutOptions{Time: e.clock.Now(), Files: []conan.FileInfo{evil}}), nil)
	wantError(t, e.link(target, "", "conanfile.py", "class A", anyRef), conan.ErrNotFound)
	wantError(t, e.link(target, "", "conanmanifest.txt", set["conanmanifest.txt"], anyRef), conan.ErrIncomplete)
}
