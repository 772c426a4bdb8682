package localstore

import (
	"fmt"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// secondStore is another store over the same index and blobs.
func secondStore(t *testing.T, e *env) *Store {
	t.Helper()
	id, err := e.db.Member(t.Context(), "release", index.KindStore)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Name: "release", Member: id, Index: e.db, Blobs: e.blobs, Now: e.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestPromotionSkipsAndRefuses(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	to := secondStore(t, e)
	promotion := Promotion{From: e.Store, To: to}
	by := conan.Actor{Name: "ann"}
	recipe := e.publishRecipe(hi, plainRecipe("class A"))
	contents := files{"bin/a": "a"}
	pkg := e.publishPackage(recipe, pid2, packedAs(contents, regular("bin/a", 0o755)))

	moved, err := promotion.Take(t.Context(), []conan.Revision{pkg}, by, true)
	wantError(t, err, nil)
	wantEqual(t, "dry run: the recipe comes along", moved, []conan.Moved{{Revision: recipe, Newest: true}, {Revision: pkg, Newest: true}})
	if _, err := e.db.Find(t.Context(), to.member, recipe); err == nil {
		t.Error("the dry run promoted")
	}
	_, err = promotion.Take(t.Context(), []conan.Revision{pkg}, by, false)
	wantError(t, err, nil)
	wantEqual(t, "content", content(t, &env{t: t, Store: to}, pkg), content(t, e, pkg))
	before, err := e.db.Find(t.Context(), e.member, pkg)
	wantError(t, err, nil)
	after, err := e.db.Find(t.Context(), to.member, pkg)
	wantError(t, err, nil)
	wantEqual(t, "time", after.Time, before.Time)

	moved, err = promotion.Take(t.Context(), []conan.Revision{recipe, pkg}, by, false)
	wantError(t, err, nil)
	wantEqual(t, "again", moved, []conan.Moved{{Revision: recipe, Skipped: true, Newest: true}, {Revision: pkg, Skipped: true, Newest: true}})

	sumBefore := sha256Of(content(t, e, pkg)["conan_package.tgz"])
	e.publishPackage(recipe, pid2, packedAs(contents, regular("bin/a", 0o644))) // the same manifest, other modes
	sumNow := sha256Of(content(t, e, pkg)["conan_package.tgz"])
	other := e.publishRecipe(hi, plainRecipe("class B"))
	_, err = promotion.Take(t.Context(), []conan.Revision{other, pkg}, by, false)
	wantError(t, err, conan.ErrConflict, "other bytes", "sha256:"+sumNow+` in "local"`, "sha256:"+sumBefore+` in "release"`)
	if _, err := e.db.Find(t.Context(), to.member, other); err == nil {
		t.Error("a promotion that failed promoted a part")
	}
}

// A promotion moves rows only: 200 packages of any size are one transaction.
func BenchmarkPromotion(b *testing.B) {
	e := newEnv(b)
	recipe := e.publishRecipe(hi, plainRecipe("class A"))
	var pkgs []conan.Revision
	for i := range 200 {
		info := fmt.Sprintf("[settings]\nos=Linux%d\n", i)
		pkgs = append(pkgs, e.publishPackage(recipe, sha1Of(info), pkg(info, files{"bin/a": fmt.Sprint(i)})))
	}
	for i := range b.N {
		id, err := e.db.Member(b.Context(), fmt.Sprint("release-", i), index.KindStore)
		if err != nil {
			b.Fatal(err)
		}
		to, err := New(Options{Name: "release", Member: id, Index: e.db, Blobs: e.blobs, Now: time.Now})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := (Promotion{From: e.Store, To: to}).Take(b.Context(), pkgs, conan.Actor{}, false); err != nil {
			b.Fatal(err)
		}
		to.Close()
	}
}
