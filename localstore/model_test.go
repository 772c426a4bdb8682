package localstore

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
)

// model is what the store should hold of one reference.
type model struct {
	*env
	*wares
	ref     conan.Ref
	order   []string             // recipe revisions, newest first
	recipes map[string]files     // by revision
	prevs   map[string][]string  // package revisions by rrev:id, newest first
	pkgs    map[string]files     // by rrev:id#prev
	times   map[string]time.Time // of revisions, by rrev and rrev:id#prev
}

func newModel(e *env, w *wares, ref conan.Ref) *model {
	return &model{env: e, wares: w, ref: ref, recipes: make(map[string]files), prevs: make(map[string][]string), pkgs: make(map[string]files), times: make(map[string]time.Time)}
}

func front(list []string, id string) []string {
	return append([]string{id}, slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == id })...)
}

func (m *model) drop(match func(rrev, id, prev string) bool) (n int) {
	for key, list := range m.prevs {
		rrev, id := key[:32], key[33:]
		var rest []string
		for _, prev := range list {
			if match(rrev, id, prev) {
				n++
				delete(m.pkgs, key+"#"+prev)
				continue
			}
			rest = append(rest, prev)
		}
		if m.prevs[key] = rest; len(rest) == 0 {
			delete(m.prevs, key)
		}
	}
	return n
}

// wares are what is published, packed once.
type wares struct {
	recipes []files
	conan2  []files            // packages by content
	conan1  map[string][]files // by recipe hash
}

func newWares() *wares {
	w := &wares{conan1: make(map[string][]files)}
	for i := range 3 {
		w.recipes = append(w.recipes, recipe(fmt.Sprintf("class A%d", i), files{"x": "x"}, files{"a.c": fmt.Sprint(i % 2)}))
	}
	w.recipes = append(w.recipes, plainRecipe("class A3"))
	for i := range 3 {
		contents := files{"a": fmt.Sprint(i)}
		w.conan2 = append(w.conan2, pkg(info2, contents))
		for _, r := range w.recipes {
			w.conan1[r.rev()] = append(w.conan1[r.rev()], pkg(info1(r.rev()), contents))
		}
	}
	return w
}

func (w *wares) recipe(t *rapid.T) files { return rapid.SampledFrom(w.recipes).Draw(t, "recipe") }

// Publishing in every way, again and half, removing, sweeping and collecting: the store is what the
// model says.
func TestStoreFollowsModel(t *testing.T) {
	t.Parallel()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue { // a check writes durably some fifty times
		if err := f.Value.Set("25"); err != nil {
			t.Fatal(err)
		}
	}
	e, w := newEnv(t), newWares()
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		m := newModel(e, w, conan.Ref{Name: "hello", Version: fmt.Sprintf("1.%d", round)})
		t.Repeat(map[string]func(*rapid.T){
			"publish recipe":  m.publishRecipe,
			"publish package": m.publishPackage,
			"start recipe":    m.startRecipe,
			"remove recipe":   m.removeRecipe,
			"remove packages": m.removePackages,
			"remove all":      m.removeAll,
			"sweep":           m.sweep,
			"":                m.compare,
		})
		m.removeAll(t)
		m.sweep(t)
		if left := e.collect(); len(left) != 0 {
			t.Fatalf("%d blobs are left of nothing", len(left))
		}
	})
}

// becomesNewest tells whether a revision that is not the newest becomes it when it is published
// now: not by a client of Conan 2 within a minute of its time.
func (m *model) becomesNewest(list []string, id, key string, v1 bool) bool {
	now := m.clock.Now()
	if len(list) > 0 && list[0] == id || !v1 && slices.Contains(list, id) && now.Sub(m.times[key]) < time.Minute {
		return false
	}
	m.times[key] = now
	return true
}

// wait lets more than a minute go by, some of the time.
func (m *model) wait(t *rapid.T) {
	if rapid.Bool().Draw(t, "wait") {
		m.clock.advance(2 * time.Minute)
	}
}

func (m *model) publishRecipe(t *rapid.T) {
	set := m.recipe(t)
	rev := conan.Revision{Ref: m.ref, RRev: set.rev()}
	var err error
	m.wait(t)
	v1 := rapid.Bool().Draw(t, "v1")
	if v1 {
		err = m.sendV1(conan.Revision{Ref: m.ref}, set)
	} else {
		err = m.send(rev, set)
	}
	if err != nil {
		t.Fatal(err)
	}
	if m.becomesNewest(m.order, rev.RRev, rev.RRev, v1) {
		m.order = front(m.order, rev.RRev)
	}
	m.recipes[rev.RRev] = set
}

// startRecipe leaves an upload without its manifest.
func (m *model) startRecipe(t *rapid.T) {
	set := m.recipe(t).without(conan.ManifestFile)
	if err := m.send(conan.Revision{Ref: m.ref}, set); err != nil {
		t.Fatal(err)
	}
}

func (m *model) publishPackage(t *rapid.T) {
	if len(m.order) == 0 {
		t.Skip("no recipe")
	}
	rrev := rapid.SampledFrom(m.order).Draw(t, "rrev")
	i := rapid.IntRange(0, 2).Draw(t, "content")
	set, id := m.conan2[i], pid2
	target := conan.Revision{Ref: m.ref, RRev: rrev, PackageID: id, PRev: set.rev()}
	var err error
	m.wait(t)
	v1 := rapid.Bool().Draw(t, "v1")
	if v1 {
		set, id = m.conan1[rrev][i], pid1
		err = m.sendV1(conan.Revision{Ref: m.ref, PackageID: id}, set)
	} else {
		err = m.send(target, set)
	}
	if err != nil {
		t.Fatal(err)
	}
	key := rrev + ":" + id
	if m.becomesNewest(m.prevs[key], set.rev(), key+"#"+set.rev(), v1) {
		m.prevs[key] = front(m.prevs[key], set.rev())
	}
	m.pkgs[key+"#"+set.rev()] = set
}

func (m *model) expect(t *rapid.T, err error, found bool) {
	if found && err != nil {
		t.Fatal(err)
	}
	if !found && !errors.Is(err, conan.ErrNotFound) {
		t.Fatalf("removing nothing gave %v, want not found", err)
	}
}

func (m *model) removeRecipe(t *rapid.T) {
	rrev := m.recipe(t).rev()
	found := slices.Contains(m.order, rrev)
	m.order = slices.DeleteFunc(m.order, func(s string) bool { return s == rrev })
	delete(m.recipes, rrev)
	m.drop(func(r, _, _ string) bool { return r == rrev })
	m.expect(t, m.Remove(m.t.Context(), conan.Removal{Revision: conan.Revision{Ref: m.ref, RRev: rrev}}), found)
}

func (m *model) removePackages(t *rapid.T) {
	r := conan.Removal{Revision: conan.Revision{Ref: m.ref}}
	if rapid.Bool().Draw(t, "one recipe") {
		r.RRev = m.recipe(t).rev()
	}
	inRecipe := func(rrev string) bool { return r.RRev == "" || r.RRev == rrev }
	var n int
	switch rapid.SampledFrom([]string{"all", "ids", "id", "prev"}).Draw(t, "which") {
	case "all":
		r.AllPackages = true
		n = m.drop(func(rrev, _, _ string) bool { return inRecipe(rrev) })
	case "ids":
		r.PackageIDs = []string{pid1, pid2}
		has := make(map[string]bool)
		for key := range m.prevs {
			if inRecipe(key[:32]) {
				has[key[33:]] = true
			}
		}
		if len(has) == 2 {
			n = m.drop(func(rrev, _, _ string) bool { return inRecipe(rrev) })
		}
	case "id":
		r.PackageID = pid2
		n = m.drop(func(rrev, id, _ string) bool { return inRecipe(rrev) && id == pid2 })
	case "prev":
		r.PackageID, r.PRev = pid2, m.conan2[0].rev()
		n = m.drop(func(rrev, id, prev string) bool { return inRecipe(rrev) && id == pid2 && prev == r.PRev })
	}
	m.expect(t, m.Remove(m.t.Context(), r), n > 0)
}

func (m *model) removeAll(t *rapid.T) {
	found := len(m.order) > 0
	m.order = nil
	clear(m.recipes)
	clear(m.prevs)
	clear(m.pkgs)
	m.expect(t, m.Remove(m.t.Context(), conan.Removal{Revision: conan.Revision{Ref: m.ref}}), found)
}

func (m *model) sweep(t *rapid.T) {
	m.clock.advance(25 * time.Hour)
	if err := m.Sweep(m.t.Context()); err != nil {
		t.Fatal(err)
	}
	m.collect()
}

// compare reads everything back.
func (m *model) compare(t *rapid.T) {
	want := make(map[string]map[string][]string)
	for _, rrev := range m.order {
		want[rrev] = make(map[string][]string)
		for key, list := range m.prevs {
			if key[:32] == rrev {
				want[rrev][key[33:]] = list
			}
		}
	}
	if diff := cmp.Diff(want, m.tree(m.ref)); diff != "" {
		t.Fatalf("tree (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(m.order, ids(m.t, m, conan.Revision{Ref: m.ref})); diff != "" && len(m.order) > 0 {
		t.Fatalf("order (-want +got):\n%s", diff)
	}
	for rrev, set := range m.recipes {
		if diff := cmp.Diff(set, content(m.t, m, conan.Revision{Ref: m.ref, RRev: rrev})); diff != "" {
			t.Fatalf("recipe %s (-want +got):\n%s", rrev, diff)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.pkgs)) {
		rev := conan.Revision{Ref: m.ref, RRev: key[:32], PackageID: key[33 : len(key)-33], PRev: key[len(key)-32:]}
		if diff := cmp.Diff(m.pkgs[key], content(m.t, m, rev)); diff != "" {
			t.Fatalf("package %s (-want +got):\n%s", rev, diff)
		}
	}
}
