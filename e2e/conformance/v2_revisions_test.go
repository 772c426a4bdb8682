package conformance

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

func v2LatestUnknown(t *testing.T, w *v2World) {
	for _, target := range []string{
		"/v2/conans/nothing/1.0/_/_/latest", "/v2/conans/hello/9.0/_/_/latest", "/v2/conans/hello/1.0/demo/testing/latest",
		path2(w.hello.Revision) + "/packages/" + strings.Repeat("0", 40) + "/latest",
		strings.Replace(path2(w.lib.Revision.With("")), w.lib.RRev, strings.Repeat("0", 32), 1) + "/latest",
	} {
		w.call(t, http.MethodGet, target).refuses(t, http.StatusNotFound)
		w.call(t, http.MethodGet, strings.TrimSuffix(target, "latest")+"revisions").refuses(t, http.StatusNotFound)
	}
}

// instant parses a time as clients do: with a zone, and not at the beginning of 1970.
func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatalf("time %q: %v", text, err)
	}
	if at.Unix() <= 0 {
		t.Errorf("time %q makes clients fail", text)
	}
	return at
}

func v2Times(t *testing.T, w *v2World) {
	for _, set := range []conantest.Set{w.hello, w.lib} {
		latest, history := w.latest(t, "", set.Revision), w.history(t, "", set.Revision)
		if diff := cmp.Diff(history[0], latest); diff != "" {
			t.Errorf("latest of %s (-revisions +latest):\n%s", set.Revision, diff)
		}
		if age := time.Since(instant(t, latest.Time)); age < 0 || age > time.Hour {
			t.Errorf("%s was published at %s, %v ago", set.Revision, latest.Time, age)
		}
	}
}

// threeRecipes publishes three revisions of a recipe, oldest first.
func (w *v2World) threeRecipes(t *testing.T, name string) []conantest.Set {
	t.Helper()
	var sets []conantest.Set
	for i := range 3 {
		sets = append(sets, conantest.Recipe(name, "1.0", conantest.Code(fmt.Sprintf("# %d", i))))
	}
	w.publish2(t, "demo", sets...)
	return sets
}

// order wants the revisions of a recipe or package, newest first, with falling times, and the first
// as the latest.
func (s *site) order(t testing.TB, mount string, want ...conantest.Set) {
	t.Helper()
	var wanted []string
	for _, set := range want {
		wanted = append(wanted, set.ID())
	}
	history := s.history(t, mount, want[0].Revision)
	if diff := cmp.Diff(wanted, ids(history)); diff != "" {
		t.Errorf("revisions of %s:\n%s", want[0].Ref, diff)
	}
	for i := 1; i < len(history); i++ {
		if !instant(t, history[i].Time).Before(instant(t, history[i-1].Time)) {
			t.Errorf("times of %s do not fall: %v", want[0].Ref, history)
		}
	}
	if latest := s.latest(t, mount, want[0].Revision); latest != history[0] {
		t.Errorf("latest of %s is %v, want %v", want[0].Ref, latest, history[0])
	}
}

func v2NewestFirst(t *testing.T, w *v2World) {
	sets := w.threeRecipes(t, "newest")
	w.order(t, "", sets[2], sets[1], sets[0])
	one, two := conantest.Package(sets[0], conantest.File("a", "1")), conantest.Package(sets[0], conantest.File("a", "2"))
	w.publish2(t, "demo", one, two)
	w.order(t, "", two, one)
	w.order(t, "", sets[2], sets[1], sets[0]) // a package does not touch its recipe
}

func v2DistinctTimes(t *testing.T, w *v2World) {
	var all sync.WaitGroup
	for i := range 12 {
		set := conantest.Recipe("atonce", "1.0", conantest.Code(fmt.Sprintf("# %d", i)))
		who := w.as(t, "demo")
		all.Go(func() {
			for _, name := range set.Names() {
				r, err := w.try(t, http.MethodPut, file2(set.Revision, name), who, file(set.Files[name]))
				if err != nil {
					t.Error(err)
				}
				r.is(t, http.StatusOK)
			}
		})
	}
	all.Wait()
	history := w.history(t, "", conantest.Recipe("atonce", "1.0").Revision)
	if len(history) != 12 {
		t.Fatalf("%d revisions, want 12", len(history))
	}
	for i := 1; i < len(history); i++ {
		if !instant(t, history[i].Time).Before(instant(t, history[i-1].Time)) {
			t.Errorf("times do not fall: %v", history)
		}
	}
}

func v2ForceLatest(t *testing.T, w *v2World) {
	sets := w.threeRecipes(t, "forcelatest")
	before := w.history(t, "", sets[0].Revision)
	w.publish2(t, "demo", sets[2])
	w.publish2(t, "ann", sets[2])
	if diff := cmp.Diff(before, w.history(t, "", sets[0].Revision)); diff != "" {
		t.Errorf("revisions (-before +after):\n%s", diff)
	}
}

// What is uploaded again within a minute keeps its time, so that jobs which run at once do not
// reorder each other's work.
func v2ForceOldest(t *testing.T, w *v2World) {
	sets := w.threeRecipes(t, "forceoldest")
	before := w.history(t, "", sets[0].Revision)
	w.publish2(t, "demo", sets[0])
	if diff := cmp.Diff(before, w.history(t, "", sets[0].Revision)); diff != "" {
		t.Errorf("revisions (-before +after):\n%s", diff)
	}
	w.install2(t, "", nobody, sets[0])
	one, two := conantest.Package(sets[0], conantest.File("a", "1")), conantest.Package(sets[0], conantest.File("a", "2"))
	w.publish2(t, "demo", one, two, one)
	w.order(t, "", two, one)
}

func v2DeleteForced(t *testing.T, w *v2World) {
	sets := w.threeRecipes(t, "deleteforced")
	w.publish2(t, "demo", sets[0])
	w.call(t, http.MethodDelete, path2(sets[0].Revision), w.as(t, "demo")).is(t, http.StatusOK)
	w.order(t, "", sets[2], sets[1])
	w.call(t, http.MethodGet, path2(sets[0].Revision)+"/files").refuses(t, http.StatusNotFound)
	w.call(t, http.MethodGet, file2(sets[0].Revision, conan.RecipeFile)).refuses(t, http.StatusNotFound)
}

func v2DeleteLatest(t *testing.T, w *v2World) {
	sets := w.threeRecipes(t, "deletelatest")
	w.call(t, http.MethodDelete, path2(sets[2].Revision), w.as(t, "demo")).is(t, http.StatusOK)
	w.order(t, "", sets[1], sets[0])
}

func v2DeleteLast(t *testing.T, w *v2World) {
	sets := w.threeRecipes(t, "deletelast")
	for _, set := range sets {
		w.install2(t, "", nobody, set)
		w.call(t, http.MethodDelete, path2(set.Revision), w.as(t, "demo")).is(t, http.StatusOK)
	}
	for _, set := range sets {
		w.invisible(t, set)
	}
	w.publish2(t, "demo", sets[1])
	w.order(t, "", sets[1])
}

func v2Deletes(t *testing.T, w *v2World) {
	set := conantest.Recipe("deletes", "1.0")
	pkg := conantest.Package(set)
	demo := w.as(t, "demo")
	for name, tt := range map[string]struct{ target, gone string }{
		"package revision": {path2(pkg.Revision), path2(pkg.Revision) + "/files"},
		"package id":       {path2(pkg.Revision.With("")), path2(pkg.Revision.With("")) + "/latest"},
		"packages":         {path2(set.Revision) + "/packages", path2(pkg.Revision.With("")) + "/revisions"},
		"recipe revision":  {path2(set.Revision), path2(set.Revision) + "/files"},
		"reference":        {path2(set.Revision.With("")), path2(set.Revision.With("")) + "/latest"},
	} {
		t.Run(name, func(t *testing.T) {
			w.publish2(t, "demo", set, pkg)
			w.call(t, http.MethodGet, tt.gone).is(t, http.StatusOK)
			if r := w.call(t, http.MethodDelete, tt.target, demo).is(t, http.StatusOK); r.body != "" {
				t.Errorf("body %q, want none", r.body)
			}
			w.call(t, http.MethodGet, tt.gone).refuses(t, http.StatusNotFound)
			w.call(t, http.MethodDelete, tt.target, demo).refuses(t, http.StatusNotFound)
		})
	}
}

func v2DeletePackagesAnonymous(t *testing.T, w *v2World) {
	w.call(t, http.MethodDelete, path2(w.hello.Revision)+"/packages").refuses(t, http.StatusUnauthorized)
	w.install2(t, "", nobody, w.lib)
}

func v2DeleteNoPackages(t *testing.T, w *v2World) {
	set := conantest.Recipe("nopackages", "1.0")
	w.publish2(t, "demo", set)
	w.call(t, http.MethodDelete, path2(set.Revision)+"/packages", w.as(t, "demo")).refuses(t, http.StatusNotFound)
	if r := w.call(t, http.MethodGet, path2(set.Revision)+"/search").is(t, http.StatusOK); r.body != "{}" {
		t.Errorf("body %q, want {}", r.body)
	}
	w.install2(t, "", nobody, set)
}

// v2NotLatest is what a client does for 'notlatest#!latest': it drops the first of the list and
// removes the rest.
func v2NotLatest(t *testing.T, w *v2World) {
	sets := w.threeRecipes(t, "notlatest")
	for _, r := range w.history(t, "", sets[0].Revision)[1:] {
		w.call(t, http.MethodDelete, path2(sets[0].Revision.With(r.Revision)), w.as(t, "demo")).is(t, http.StatusOK)
	}
	w.order(t, "", sets[2])
}

func v2UnknownRevision(t *testing.T, w *v2World) {
	unknown := path2(w.hello.Revision.With(strings.Repeat("0", 32)))
	for _, route := range []string{"/search", "/search?list_only=True", "/files", "/files/conanfile.py", "/packages/" + w.lib.PackageID + "/latest"} {
		w.call(t, http.MethodGet, unknown+route).refuses(t, http.StatusNotFound)
	}
}

func v2UnknownReference(t *testing.T, w *v2World) {
	w.call(t, http.MethodGet, "/v2/conans/nothing/1.0/_/_/search").refuses(t, http.StatusNotFound)
	found := decode[map[string]any](t, w.call(t, http.MethodGet, path2(w.hello.Revision.With(""))+"/search"))
	if _, ok := found[w.lib.PackageID]; !ok {
		t.Errorf("search of the newest revision: %v", found)
	}
}

func v2Pinned(t *testing.T, w *v2World) {
	sets := w.threeRecipes(t, "pinned")
	pkg := conantest.Package(sets[0])
	w.publish2(t, "demo", pkg)
	if !slices.Contains(ids(w.history(t, "", sets[0].Revision)), sets[0].RRev) {
		t.Error("the pinned revision is not listed")
	}
	w.install2(t, "", nobody, sets[0])
	w.order(t, "", pkg)
	w.install2(t, "", nobody, pkg)
}

func v2NewestPackages(t *testing.T, w *v2World) {
	set := conantest.Recipe("newestpackages", "1.0")
	w.publish2(t, "demo", set)
	var newest []conantest.Set
	for _, os := range []string{"Linux", "Macos"} {
		one := conantest.Package(set, conantest.Setting("os", os), conantest.File("a", "1"))
		two := conantest.Package(set, conantest.Setting("os", os), conantest.File("a", "2"))
		w.publish2(t, "demo", one, two)
		newest = append(newest, two)
	}
	found := w.packages2(t, "", set.Revision)
	if len(found) != 2 {
		t.Errorf("packages: %v", found)
	}
	for _, pkg := range newest {
		if found[pkg.PackageID]["content"] != string(pkg.Files[conan.InfoFile]) {
			t.Errorf("package %s: %v", pkg.PackageID, found[pkg.PackageID])
		}
		if latest := w.latest(t, "", pkg.Revision); latest.Revision != pkg.PRev {
			t.Errorf("latest of %s is %s", pkg.PackageID, latest.Revision)
		}
		w.install2(t, "", nobody, pkg)
	}
}

func v2BothGenerations(t *testing.T, w *v2World) {
	set := conantest.Recipe("generations", "1.0")
	one, two := conantest.Package(set, conantest.Conan1()), conantest.Package(set)
	w.publish2(t, "demo", set, one, two)
	found := w.packages2(t, "", set.Revision)
	if len(found) != 2 {
		t.Fatalf("packages: %v", found)
	}
	for _, pkg := range []conantest.Set{one, two} {
		if found[pkg.PackageID]["content"] != string(pkg.Files[conan.InfoFile]) {
			t.Errorf("content of %s: %v", pkg.PackageID, found[pkg.PackageID]["content"])
		}
	}
	if found[one.PackageID]["recipe_hash"] != set.RRev { // Conan 2 drops what has one
		t.Errorf("recipe_hash of a binary of Conan 1: %v", found[one.PackageID]["recipe_hash"])
	}
	if hash := found[two.PackageID]["recipe_hash"]; hash != nil && hash != "" {
		t.Errorf("recipe_hash of a binary of Conan 2: %v", hash)
	}
	old := w.packages1(t, set.Revision) // Conan 1 drops what has none
	if old[one.PackageID]["recipe_hash"] != set.RRev || old[two.PackageID]["recipe_hash"] != nil {
		t.Errorf("recipe hashes for Conan 1: %v and %v", old[one.PackageID]["recipe_hash"], old[two.PackageID]["recipe_hash"])
	}
}

func v2ListOnly(t *testing.T, w *v2World) {
	set := conantest.Recipe("listonly", "1.0")
	one, two := conantest.Package(set, conantest.Setting("os", "Linux")), conantest.Package(set, conantest.Setting("os", "Macos"))
	w.publish2(t, "demo", set, one, two)
	target := path2(set.Revision) + "/search"
	whole := decode[map[string]map[string]any](t, w.call(t, http.MethodGet, target))
	for value, only := range map[string]bool{"True": true, "true": true, "TRUE": true, "False": false, "false": false, "0": false, "": false} {
		got := decode[map[string]map[string]any](t, w.call(t, http.MethodGet, target+"?list_only="+value))
		want := whole
		if only {
			want = map[string]map[string]any{one.PackageID: {}, two.PackageID: {}}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("list_only=%s:\n%s", value, diff)
		}
	}
}
