package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"conanproxy/cache"
	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/config"
	"conanproxy/internal/scrub"
	"conanproxy/localstore"
)

// The cache of the model test holds a few packages of a few kilobytes.
const (
	modelMaxSize = 64 << 10
	modelPackage = 10 << 10
)

// place is the rooms put together over a data directory, without a server and without workers,
// beside an upstream.
type place struct {
	t      *testing.T
	s      *server
	origin *conantest.Server
	dirs   string
	dir    string
	opened int
}

func newPlace(t *testing.T) *place {
	l := &place{t: t, dirs: t.TempDir(), origin: conantest.NewServer(t, conantest.V2)}
	l.dir = filepath.Join(l.dirs, "0")
	l.open()
	t.Cleanup(func() { l.s.close() })
	return l
}

func (l *place) open() {
	cfg := config.Default()
	cfg.DataDir = l.dir
	cfg.Cache.MaxSize, cfg.Cache.MinFree, cfg.Cache.Memory = modelMaxSize, 0, 1<<20
	up := cfg.Upstreams[0]
	up.Name, up.URL, up.Clients, up.Protocol = "origin", l.origin.URL, "any", "v2"
	cfg.Upstreams = []config.Upstream{up}
	s, err := newServer(l.t.Context(), cfg, quiet())
	if err != nil {
		l.t.Fatal(err)
	}
	l.s = s
}

// store is the first store.
func (l *place) store() *localstore.Store { return l.s.current.Load().stores[0].Store }

// cache is the cache over the upstream.
func (l *place) cache() *cache.Cache { return l.s.current.Load().upstreams[0].cache }

// settle waits until fetched files are stored, which their readers do not wait for.
func (l *place) settle() error {
	for {
		families, err := l.s.registry.Gather()
		if err != nil {
			return err
		}
		under := 0.0
		for _, f := range families {
			if f.GetName() == "conanproxy_cache_fills_in_flight" {
				for _, m := range f.GetMetric() {
					under += m.GetGauge().GetValue()
				}
			}
		}
		if under == 0 {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// crash continues with a copy of the disk of this moment: nothing is flushed, closed or tidied.
func (l *place) crash() error {
	l.opened++
	next := filepath.Join(l.dirs, fmt.Sprint(l.opened))
	if err := os.CopyFS(next, os.DirFS(l.dir)); err != nil {
		return err
	}
	// CopyFS lets everybody read the copies.
	if err := os.Chmod(filepath.Join(next, "secret"), 0o600); err != nil {
		return err
	}
	l.s.close()
	if err := os.RemoveAll(l.dir); err != nil {
		return err
	}
	l.dir = next
	l.open()
	return nil
}

func (l *place) put(rev conan.Revision, name string, content []byte) error {
	return l.store().Put(context.Background(), conan.Upload{Revision: rev, Name: name, By: conan.Actor{Name: "ann"}, Size: int64(len(content)), Body: bytes.NewReader(content)})
}

func (l *place) publish(set conantest.Set) error {
	for _, name := range set.Names() {
		if name == conan.ManifestFile {
			continue
		}
		if err := l.put(set.Revision, name, set.Files[name]); err != nil {
			return err
		}
	}
	return l.put(set.Revision, conan.ManifestFile, set.Files[conan.ManifestFile])
}

// read reads a file of a source to its end.
func read(source conan.Source, rev conan.Revision, name string) ([]byte, error) {
	f, err := source.Open(context.Background(), rev, name)
	if err != nil {
		return nil, err
	}
	defer f.Value.Close()
	return io.ReadAll(f.Value)
}

// world is what the rooms should hold.
type world struct {
	*place
	ware    []conantest.Set          // recipes that may be published here
	pkgs    [][]conantest.Set        // packages of each, of one package id
	outside []conantest.Set          // what upstream has
	order   []string                 // recipe revisions that are here, newest first
	held    map[string][]string      // package revisions of each, newest first
	sets    map[string]conantest.Set // by RREV or PREV

	published map[string]time.Time // by RREV or PREV: since when it has its place
}

// newWorld makes wares that no other sequence has.
func newWorld(l *place, round int) *world {
	w := &world{place: l, held: make(map[string][]string), sets: make(map[string]conantest.Set), published: make(map[string]time.Time)}
	for i := range 3 {
		recipe := conantest.Recipe("own", fmt.Sprintf("1.%d", round), conantest.Code(fmt.Sprintf("# %d\n", i)))
		w.ware = append(w.ware, recipe)
		w.sets[recipe.RRev] = recipe
		var list []conantest.Set
		for j := range 2 {
			pkg := conantest.Package(recipe, conantest.Random(fmt.Sprintf("lib/%d", j), modelPackage)) // the same bytes under each recipe
			list = append(list, pkg)
			w.sets[pkg.PRev] = pkg
		}
		w.pkgs = append(w.pkgs, list)
	}
	for i := range 4 {
		recipe := conantest.Recipe(fmt.Sprintf("outside%d", i), fmt.Sprintf("1.%d", round))
		w.outside = append(w.outside, recipe, conantest.Package(recipe, conantest.Random(fmt.Sprintf("lib/%d", i), 2*modelPackage)))
	}
	l.origin.Add(w.outside...)
	return w
}

// first is a list after a publication. A revision that is published again within a minute keeps its
// place.
func (w *world) first(list []string, id string) []string {
	if slices.Contains(list, id) && time.Since(w.published[id]) < time.Minute {
		return list
	}
	w.published[id] = time.Now()
	return append([]string{id}, slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == id })...)
}

func (w *world) publishRecipe(t *rapid.T) {
	set := w.ware[rapid.IntRange(0, len(w.ware)-1).Draw(t, "recipe")]
	if err := w.publish(set); err != nil {
		t.Fatal(err)
	}
	w.order = w.first(w.order, set.RRev)
}

func (w *world) publishPackage(t *rapid.T) {
	i := rapid.IntRange(0, len(w.ware)-1).Draw(t, "recipe")
	set := w.pkgs[i][rapid.IntRange(0, 1).Draw(t, "package")]
	if !slices.Contains(w.order, set.RRev) {
		t.Skip("its recipe is not here")
	}
	if err := w.publish(set); err != nil {
		t.Fatal(err)
	}
	w.held[set.RRev] = w.first(w.held[set.RRev], set.PRev)
}

// startUpload sends all but the manifest: nothing is visible.
func (w *world) startUpload(t *rapid.T) {
	set := w.ware[rapid.IntRange(0, len(w.ware)-1).Draw(t, "recipe")]
	if err := w.put(set.Revision, conan.RecipeFile, set.Files[conan.RecipeFile]); err != nil {
		t.Fatal(err)
	}
}

// fetch reads a file of upstream through the cache, which evicts the longest unused revisions to
// make space.
func (w *world) fetch(t *rapid.T) {
	set := w.outside[rapid.IntRange(0, len(w.outside)-1).Draw(t, "set")]
	name := rapid.SampledFrom(set.Names()).Draw(t, "file")
	got, err := read(w.cache(), set.Revision, name)
	if err != nil || !bytes.Equal(got, set.Files[name]) {
		t.Fatalf("%s of %s: %d bytes, %v", name, set.Revision, len(got), err)
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) remove(t *rapid.T) {
	set := w.ware[rapid.IntRange(0, len(w.ware)-1).Draw(t, "recipe")]
	r := conan.Removal{Revision: conan.Revision{Ref: set.Ref}}
	var found bool
	switch rapid.SampledFrom([]string{"reference", "recipe", "packages", "package"}).Draw(t, "what") {
	case "reference":
		found = len(w.order) > 0
		w.order = nil
		clear(w.held)
	case "recipe":
		r.RRev = set.RRev
		found = slices.Contains(w.order, set.RRev)
		w.order = slices.DeleteFunc(w.order, func(s string) bool { return s == set.RRev })
		delete(w.held, set.RRev)
	case "packages":
		r.RRev, r.AllPackages = set.RRev, true
		found = len(w.held[set.RRev]) > 0
		delete(w.held, set.RRev)
	case "package":
		pkgs := w.pkgs[slices.IndexFunc(w.ware, func(s conantest.Set) bool { return s.RRev == set.RRev })]
		r.Revision = pkgs[rapid.IntRange(0, 1).Draw(t, "package")].Revision
		list := w.held[set.RRev]
		found = slices.Contains(list, r.PRev)
		w.held[set.RRev] = slices.DeleteFunc(list, func(s string) bool { return s == r.PRev })
	}
	err := w.store().Remove(context.Background(), r)
	if found && err != nil || !found && !errors.Is(err, conan.ErrNotFound) {
		t.Fatalf("remove %+v: there: %v, answer: %v", r, found, err)
	}
}

// collect removes what need not be kept; after that the store is as it should be to the byte.
func (w *world) collect(t *rapid.T) {
	ctx := context.Background()
	plan, err := w.s.budget.Collect(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	done, err := w.s.budget.Collect(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Revisions != done.Revisions || plan.Bytes != done.Bytes || done.Over != 0 {
		t.Fatalf("the dry run said %+v, the run %+v", plan, done)
	}
	if err := scrub.Orphans(ctx, scrub.Options{Index: w.s.index, Blobs: w.s.blobs, Repair: true}); err != nil {
		t.Fatal(err)
	}
	w.check(t)
}

// check re-reads every blob.
func (w *world) check(t *rapid.T) {
	sum, err := scrub.Check(context.Background(), scrub.Options{Index: w.s.index, Blobs: w.s.blobs, Found: func(f scrub.Finding) { t.Errorf("found %+v", f) }})
	if err != nil || sum.Unhealed != 0 {
		t.Fatalf("check: %+v, %v", sum, err)
	}
}

func (w *world) die(t *rapid.T) {
	if err := w.crash(); err != nil {
		t.Fatal(err)
	}
}

// compare reads everything that should be here, and looks for what should not.
func (w *world) compare(t *rapid.T) {
	ctx := context.Background()
	ref := conan.Revision{Ref: w.ware[0].Ref}
	if diff := cmp.Diff(append([]string{}, w.order...), w.ids(t, ref)); diff != "" {
		t.Fatalf("recipe revisions (-want +got):\n%s", diff)
	}
	for i, recipe := range w.ware {
		node := recipe.Revision
		node.PackageID = w.pkgs[i][0].PackageID
		var want []string
		if slices.Contains(w.order, recipe.RRev) {
			want = w.held[recipe.RRev]
			w.readBack(t, recipe)
		} else if _, err := w.store().Snapshot(ctx, recipe.Revision); !errors.Is(err, conan.ErrNotFound) {
			t.Fatalf("%s is visible: %v", recipe.Revision, err)
		}
		if diff := cmp.Diff(append([]string{}, want...), w.ids(t, node)); diff != "" {
			t.Fatalf("package revisions of %s (-want +got):\n%s", node, diff)
		}
		for _, prev := range want {
			w.readBack(t, w.pkgs[i][slices.IndexFunc(w.pkgs[i], func(s conantest.Set) bool { return s.PRev == prev })])
		}
	}
	cached, err := w.s.index.CachedBytes(ctx)
	if err != nil || cached > modelMaxSize {
		t.Fatalf("%d bytes are cached, %d may be: %v", cached, modelMaxSize, err)
	}
}

func (w *world) ids(t *rapid.T, rev conan.Revision) []string {
	list, err := w.store().Revisions(context.Background(), rev)
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		t.Fatal(err)
	}
	ids := []string{}
	for _, r := range list.Value {
		ids = append(ids, r.ID)
	}
	return ids
}

func (w *world) readBack(t *rapid.T, set conantest.Set) {
	for _, name := range set.Names() {
		got, err := read(w.store(), set.Revision, name)
		if err != nil || !bytes.Equal(got, set.Files[name]) {
			t.Fatalf("%s of %s: %d bytes, %v", name, set.Revision, len(got), err)
		}
	}
}

// fewChecks lets a property test of durable writes run 25 sequences. The flag -rapid.checks wins.
func fewChecks(t *testing.T) {
	t.Helper()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("25"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFaultsModel runs random sequences on the real rooms. go test ./bench/faults -run Model -full
// runs thousands.
func TestFaultsModel(t *testing.T) {
	if testing.Short() {
		t.Skip("many durable writes")
	}
	fewChecks(t)
	l := newPlace(t)
	round := 0
	begin := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		round++
		w := newWorld(l, round)
		t.Repeat(map[string]func(*rapid.T){
			"publish a recipe":  w.publishRecipe,
			"publish a package": w.publishPackage,
			"start an upload":   w.startUpload,
			"fetch":             w.fetch,
			"remove":            w.remove,
			"collect":           w.collect,
			"crash":             w.die,
			"":                  w.compare,
		})
		w.check(t)
		// The next sequence begins with nothing published.
		if err := w.store().Remove(context.Background(), conan.Removal{Revision: conan.Revision{Ref: w.ware[0].Ref}}); err != nil && !errors.Is(err, conan.ErrNotFound) {
			t.Fatal(err)
		}
		w.collect(t)
		for _, set := range w.outside {
			l.origin.Remove(conan.Revision{Ref: set.Ref})
		}
		l.origin.ResetLog()
	})
	t.Logf("%d sequences in %s", round, time.Since(begin).Round(time.Millisecond))
}
