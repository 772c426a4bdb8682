package conformance

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

var v2Upstreams = []scripted{
	{name: "direct", options: conantest.Options{API: conantest.V2}},
	{name: "redirects", options: privately(conantest.V2), settings: loginSecondHost},
	{name: "warm", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "fails401", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "fails403", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "fails500", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "fails503", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "hangs", options: conantest.Options{API: conantest.V2}, settings: hanging},
	{name: "portal", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "refuses", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "misses", options: conantest.Options{API: conantest.V2}, settings: harness.Settings{"not_found_for": "1h"}},
	{name: "later", options: conantest.Options{API: conantest.V2}, settings: harness.Settings{"not_found_for": "500ms"}},
	{name: "login", options: privately(conantest.V2), settings: harness.Settings{"username": "proxy", "password": "wrong"}},
	{name: "json", options: conantest.Options{API: conantest.V2}},
	{name: "times", options: conantest.Options{API: conantest.V2}},
	{name: "underscore", options: conantest.Options{API: conantest.V2, UnderscoreRefs: true}},
	{name: "cuts", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "tampered", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "incomplete", options: conantest.Options{API: conantest.V2}, settings: shortly},
	{name: "shared", options: conantest.Options{API: conantest.V2}},
	{name: "older", options: conantest.Options{API: conantest.V2}},
	{name: "owned", options: conantest.Options{API: conantest.V2}},
	{name: "hosted", options: conantest.Options{API: conantest.V2}},
	{name: "adopt", options: conantest.Options{API: conantest.V2}},
	{name: "zero", options: conantest.Options{API: conantest.V2}, settings: shortly},
}

// sets2 are a recipe with all archives and a package, of the name that goes to an upstream.
func sets2(upstream, version string, more ...conantest.Option) (recipe, pkg conantest.Set) {
	recipe = conantest.Recipe(upstream+"-lib", version, append([]conantest.Option{conantest.File("a.txt", "a"), conantest.Source("b.c", "b")}, more...)...)
	return recipe, conantest.Package(recipe)
}

// installTargets are what a client asks for a cold install, and for listing.
func installTargets(recipe, pkg conantest.Set) []string {
	targets := []string{
		path2(recipe.Revision.With("")) + "/latest", path2(recipe.Revision.With("")) + "/revisions", path2(recipe.Revision) + "/files", path2(recipe.Revision) + "/search",
		path2(pkg.Revision.With("")) + "/latest", path2(pkg.Revision.With("")) + "/revisions", path2(pkg.Revision) + "/files",
		"/v2/conans/search?q=" + recipe.Name + "%2F%2A",
		path2(recipe.Revision) + "/packages/" + strings.Repeat("0", 40) + "/latest", "/v2/conans/" + recipe.Name + "/9.9/_/_/latest",
	}
	for _, set := range []conantest.Set{recipe, pkg} {
		for _, name := range set.Names() {
			targets = append(targets, file2(set.Revision, name))
		}
	}
	return targets
}

func v2ColdInstall(t *testing.T, w *v2World) {
	recipe, pkg := sets2("direct", "1.0", conantest.Metadata("build.log", "log"))
	up := w.front.up(t, "direct", recipe, pkg)
	direct := &site{Conanproxy: w.front.Conanproxy, address: strings.TrimPrefix(up.URL, "http://"), client: w.front.client}
	for _, target := range installTargets(recipe, pkg) {
		want := direct.call(t, http.MethodGet, target)
		for _, mount := range []string{"", "/upstream/direct", "/api/v4/projects/direct/packages/conan"} {
			got := w.front.call(t, http.MethodGet, mount+target).is(t, want.status)
			if want.status != http.StatusOK {
				continue
			}
			if diff := cmp.Diff(comparable(t, want), comparable(t, got)); diff != "" {
				t.Errorf("%s (-direct +proxy):\n%s", mount+target, diff)
			}
		}
	}
}

// comparable is the body of an answer: JSON by its meaning, where times are instants and of a
// package only its content and of a file only its name counts, as clients see it; else the bytes.
func comparable(t testing.TB, r reply) any {
	t.Helper()
	if r.header.Get("Content-Type") != "application/json" {
		return r.body
	}
	return meaning(t, decode[map[string]any](t, r))
}

func meaning(t testing.TB, v any) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if content, ok := v["content"]; ok {
			return content
		}
		out := make(map[string]any)
		for key, value := range v {
			if text, ok := value.(string); ok && key == "time" {
				value = instant(t, text).UTC().String()
			}
			out[key] = meaning(t, value)
		}
		return out
	case []any:
		var out []any
		for _, value := range v {
			out = append(out, meaning(t, value))
		}
		return out
	}
	return v
}

func v2Offline(t *testing.T, w *v2World) {
	recipe, pkg := sets2("warm", "1.0")
	up := w.front.up(t, "warm", recipe, pkg)
	targets := installTargets(recipe, pkg)
	want := make(map[string]any)
	for _, target := range targets {
		r := w.front.call(t, http.MethodGet, target)
		want[target] = []any{r.status, comparableIfOK(t, r)}
	}
	up.Stop()
	defer up.Start()
	for _, target := range targets {
		r := w.front.call(t, http.MethodGet, target)
		if diff := cmp.Diff(want[target], any([]any{r.status, comparableIfOK(t, r)})); diff != "" {
			t.Errorf("%s (-warm +upstream stopped):\n%s", target, diff)
		}
	}
	pings(t, w.front.call(t, http.MethodGet, "/v1/ping"))
	authenticates(t, w.front.site, "/v2/users/authenticate")
	// What nobody asked before is not "not found" now.
	w.front.call(t, http.MethodGet, "/v2/conans/warm-other/1.0/_/_/latest").unavailable(t, "warm")
}

func comparableIfOK(t testing.TB, r reply) any {
	t.Helper()
	if r.status != http.StatusOK {
		return nil
	}
	return comparable(t, r)
}

func v2UpstreamFails(t *testing.T, w *v2World) {
	faults := failures()
	delete(faults, "fails401") // these are case 66
	delete(faults, "fails403")
	atOnce(t, faults, w.failsClosed)
}

func v2UpstreamDenies(t *testing.T, w *v2World) {
	denials := failures()
	maps.DeleteFunc(denials, func(name string, _ conantest.Fault) bool { return name != "fails401" && name != "fails403" })
	atOnce(t, denials, w.failsClosed)
	recipe, pkg := sets2("login", "1.0") // a wrong password of the program's own
	w.front.up(t, "login", recipe, pkg)
	for _, target := range []string{path2(recipe.Revision.With("")) + "/latest", path2(pkg.Revision.With("")) + "/latest", file2(recipe.Revision, conan.RecipeFile)} {
		r := w.front.call(t, http.MethodGet, target).refuses(t, http.StatusFailedDependency, "login")
		if r.header.Get("WWW-Authenticate") != "" || strings.Contains(r.body, "wrong") {
			t.Errorf("%s: %v %s", r.asked, r.header, r.body)
		}
	}
}

// failsClosed wants no question to a failing upstream to be "not found" and nothing of it to be
// remembered.
func (w *v2World) failsClosed(t *testing.T, name string, fault conantest.Fault) {
	t.Helper()
	recipe, pkg := sets2(name, "1.0")
	up := w.front.up(t, name, recipe, pkg)
	up.Fault(fault)
	// Fewer questions than failures after which upstream is left alone for a while.
	for _, target := range []string{path2(pkg.Revision.With("")) + "/latest", path2(recipe.Revision.With("")) + "/revisions", path2(recipe.Revision) + "/files", file2(pkg.Revision, "conan_package.tgz")} {
		w.front.call(t, http.MethodGet, target).unavailable(t, name)
	}
	up.ClearFaults()
	e2etest.WaitFor(t, 20*time.Second, func() bool {
		return w.front.call(t, http.MethodGet, path2(pkg.Revision.With(""))+"/latest").status == http.StatusOK
	})
	w.front.install2(t, "", nobody, recipe)
	w.front.install2(t, "", nobody, pkg)
}

func v2HundredMisses(t *testing.T, w *v2World) {
	recipe, _ := sets2("misses", "1.0")
	up := w.front.up(t, "misses", recipe)
	w.front.install2(t, "", nobody, recipe)
	up.ResetLog()
	missing := strings.Repeat("0", 40)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			r, err := w.front.try(t, http.MethodGet, path2(recipe.Revision)+"/packages/"+missing+"/latest")
			if err != nil || r.status != http.StatusNotFound {
				t.Errorf("%d %s, %v", r.status, r.body, err)
			}
		})
	}
	all.Wait()
	for _, question := range []string{"/latest", "/revisions"} { // both are asked at once: either may know the newest
		if n := up.Count("*" + missing + question); n != 1 {
			t.Errorf("upstream was asked %d times for %s", n, question)
		}
	}
}

func v2AppearsLater(t *testing.T, w *v2World) {
	recipe, pkg := sets2("later", "1.0")
	up := w.front.up(t, "later", recipe)
	target := path2(pkg.Revision.With("")) + "/latest"
	asked := time.Now()
	w.front.call(t, http.MethodGet, target).refuses(t, http.StatusNotFound)
	up.Add(pkg)
	if r := w.front.call(t, http.MethodGet, target); r.status != http.StatusNotFound && time.Since(asked) < 500*time.Millisecond {
		t.Errorf("status %d before the absence has expired", r.status)
	}
	e2etest.WaitFor(t, 10*time.Second, func() bool { return w.front.call(t, http.MethodGet, target).status == http.StatusOK })
	w.front.install2(t, "", nobody, pkg)
}

func v2UpstreamJSON(t *testing.T, w *v2World) {
	for version, kind := range map[string]string{"1.0": "application/json;charset=UTF-8", "2.0": "application/json; charset=utf-8", "3.0": "application/json"} {
		recipe, pkg := sets2("json", version)
		up := w.front.up(t, "json", recipe, pkg)
		for _, route := range []string{"*/latest", "*/revisions", "*/files", "*/search*"} {
			up.Fault(conantest.Fault{Route: route, ContentType: kind})
		}
		for _, target := range installTargets(recipe, pkg)[:8] {
			decode[map[string]any](t, w.front.call(t, http.MethodGet, target))
		}
		w.front.install2(t, "", nobody, recipe)
		w.front.install2(t, "", nobody, pkg)
		up.ClearFaults()
	}
}

func v2UpstreamTimes(t *testing.T, w *v2World) {
	at := []time.Time{
		time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC), time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC), time.Date(2023, 7, 8, 9, 10, 11, 120000000, time.UTC),
	}
	var sets []conantest.Set
	for i, published := range at {
		recipe, pkg := sets2("times", "1.0", conantest.Published(published), conantest.Code("# "+string(rune('a'+i))))
		pkg.Time = published
		w.front.up(t, "times", recipe, pkg)
		sets = append(sets, recipe, pkg)
	}
	w.front.order(t, "", sets[2], sets[4], sets[0])
	for _, r := range w.front.history(t, "", sets[0].Revision) {
		i := slices.IndexFunc(sets, func(s conantest.Set) bool { return !s.IsPackage() && s.RRev == r.Revision })
		if got := instant(t, r.Time); !got.Equal(sets[i].Time) {
			t.Errorf("%s is of %v, want %v", r.Revision, got, sets[i].Time)
		}
	}
	for _, set := range sets {
		if set.IsPackage() {
			if got := instant(t, w.front.latest(t, "", set.Revision).Time); !got.Equal(set.Time) {
				t.Errorf("%s is of %v, want %v", set.Revision, got, set.Time)
			}
		}
	}
}

func v2Underscores(t *testing.T, w *v2World) {
	recipe, _ := sets2("underscore", "1.0")
	other, _ := sets2("underscore", "2.0", conantest.Owner("acme", "stable"))
	w.front.up(t, "underscore", recipe, other)
	both, _ := sets2("underscore", "3.0")
	w.front.up(t, "underscore", both)
	w.front.publish2(t, "demo", both) // and here, as underscore-lib/3.0
	want := []string{"underscore-lib/1.0", "underscore-lib/2.0@acme/stable", "underscore-lib/3.0"}
	if diff := cmp.Diff(want, w.front.found(t, "v2", "?q=underscore-lib%2F%2A")); diff != "" {
		t.Errorf("search:\n%s", diff)
	}
	if diff := cmp.Diff(want, w.front.found(t, "v1", "?q=underscore-lib%2F%2A")); diff != "" {
		t.Errorf("search of Conan 1:\n%s", diff)
	}
	w.front.install2(t, "", nobody, recipe)
}

func v2Truncated(t *testing.T, w *v2World) {
	recipe, _ := sets2("cuts", "1.0")
	up := w.front.up(t, "cuts", recipe)
	const half = 150_000
	for name, fault := range map[string]conantest.Fault{
		"cut":            {Count: 1, Cut: conantest.At(half)}, // and nothing after it
		"shorter":        {ContentLength: conantest.At(half)},
		"without length": {NoLength: true, Cut: conantest.At(half)},
		"other bytes":    {NoLength: true, Body: conantest.Text(strings.Repeat("x", half))},
	} {
		t.Run(name, func(t *testing.T) {
			pkg := conantest.Package(recipe, conantest.Setting("os", strings.ReplaceAll(name, " ", "")), conantest.Random("lib/a.a", 2*half))
			up.Add(pkg)
			target := file2(pkg.Revision, "conan_package.tgz")
			fault.Route = "GET *" + target
			up.Fault(fault)
			up.Fault(conantest.Fault{Route: "GET *" + target, Reset: true})
			defer up.ClearFaults()
			r, err := w.front.try(t, http.MethodGet, target)
			if err == nil {
				r.unavailable(t) // else the body was cut
			}
			up.ClearFaults()
			e2etest.WaitFor(t, 20*time.Second, func() bool {
				r, err := w.front.try(t, http.MethodGet, target)
				return err == nil && r.status == http.StatusOK && r.body == string(pkg.Files["conan_package.tgz"])
			})
			w.front.install2(t, "", nobody, pkg)
		})
	}
}

func v2Tampered(t *testing.T, w *v2World) {
	recipe, pkg := sets2("tampered", "1.0")
	other := conantest.Package(recipe, conantest.File("lib/libtampered-lib.a", "evil"), conantest.File("include/tampered-lib.h", "evil"))
	evil := pkg.With("conan_package.tgz", string(other.Files["conan_package.tgz"]))
	evilRecipe := recipe.With("conan_sources.tgz", string(conantest.Recipe("tampered-lib", "1.0", conantest.Source("b.c", "evil")).Files["conan_sources.tgz"])).
		With(conan.RecipeFile, "import evil\n")
	up := w.front.up(t, "tampered", evilRecipe, evil)
	for _, tt := range []struct {
		set  conantest.Set
		name string
	}{{evil, "conan_package.tgz"}, {evilRecipe, "conan_sources.tgz"}, {evilRecipe, conan.RecipeFile}} {
		for range 2 {
			r, err := w.front.try(t, http.MethodGet, file2(tt.set.Revision, tt.name))
			if err == nil && r.status == http.StatusOK || strings.Contains(r.body, "evil") {
				t.Errorf("%s was served: %d bytes, %v", tt.name, len(r.body), err)
			}
			if err == nil && r.status == http.StatusNotFound {
				t.Errorf("%s is 404: %s", tt.name, r.body)
			}
		}
	}
	// A manifest that fits its files, but not the revision.
	forged, forgedPkg := sets2("tampered", "2.0")
	stranger, strangerPkg := sets2("tampered", "2.0", conantest.Code("import evil"))
	stranger.Revision, strangerPkg.Revision = forged.Revision, forgedPkg.Revision
	strangerPkg = strangerPkg.With(conan.ManifestFile, string(other.Files[conan.ManifestFile])).With("conan_package.tgz", string(other.Files["conan_package.tgz"]))
	up.Add(stranger, strangerPkg)
	for _, set := range []conantest.Set{stranger, strangerPkg} {
		for _, name := range set.Names() {
			if string(set.Files[name]) == string(forgedPkg.Files[name]) {
				continue // a conaninfo.txt is of many revisions
			}
			if r, err := w.front.try(t, http.MethodGet, file2(set.Revision, name)); err == nil {
				r.unavailable(t, "tampered")
			}
		}
	}

	up.Add(recipe, pkg) // upstream is put right
	e2etest.WaitFor(t, 20*time.Second, func() bool {
		r, err := w.front.try(t, http.MethodGet, file2(pkg.Revision, "conan_package.tgz"))
		return err == nil && r.status == http.StatusOK
	})
	w.front.install2(t, "", nobody, recipe)
	w.front.install2(t, "", nobody, pkg)
}

func v2CompletedLater(t *testing.T, w *v2World) {
	recipe, pkg := sets2("incomplete", "1.0")
	up := w.front.up(t, "incomplete", recipe.Without("conan_export.tgz"), pkg.Without("conan_package.tgz", conan.InfoFile))
	for _, set := range []conantest.Set{recipe, pkg} {
		w.front.call(t, http.MethodGet, path2(set.Revision)+"/files")
		w.front.call(t, http.MethodGet, path2(set.Revision.With(""))+"/latest")
	}
	w.front.call(t, http.MethodGet, file2(pkg.Revision, "conan_package.tgz"))
	up.Add(recipe, pkg)
	for _, set := range []conantest.Set{recipe, pkg} {
		e2etest.WaitFor(t, 20*time.Second, func() bool {
			r := w.front.call(t, http.MethodGet, path2(set.Revision)+"/files")
			var listing struct{ Files map[string]any }
			return r.status == http.StatusOK && json.Unmarshal([]byte(r.body), &listing) == nil && len(listing.Files) == len(set.Files)
		})
		w.front.install2(t, "", nobody, set)
	}
}

func v2LocalBinary(t *testing.T, w *v2World) {
	recipe, upstreamPkg := sets2("shared", "1.0")
	w.front.up(t, "shared", recipe, upstreamPkg)
	pkg := conantest.Package(recipe, conantest.Setting("os", "Haiku"))
	w.front.publish2(t, "demo", recipe, pkg)
	w.front.order(t, "", pkg)
	w.front.install2(t, "", nobody, pkg)
	w.front.install2(t, "", nobody, upstreamPkg)
	found := w.front.packages2(t, "", recipe.Revision)
	for _, want := range []conantest.Set{pkg, upstreamPkg} {
		if _, ok := found[want.PackageID]; !ok {
			t.Errorf("package search lacks %s: %v", want.PackageID, found)
		}
	}
	w.front.call(t, http.MethodGet, "/upstream/shared"+path2(pkg.Revision.With(""))+"/latest").refuses(t, http.StatusNotFound)
}

func v2OlderCopied(t *testing.T, w *v2World) {
	old, _ := sets2("older", "1.0", conantest.Published(conantest.DefaultTime.Add(-time.Hour)))
	newer, _ := sets2("older", "1.0", conantest.Code("# newer"))
	w.front.up(t, "older", old, newer)
	w.front.publish2(t, "demo", old)
	w.front.order(t, "/local", old)
	w.front.order(t, "", newer, old)
	if got := w.front.history(t, "", old.Revision)[1]; !instant(t, got.Time).Equal(old.Time) {
		t.Errorf("the copied revision is of %s, want upstream's %v", got.Time, old.Time)
	}
}

func v2Owned(t *testing.T, w *v2World) {
	recipe, pkg := sets2("owned", "9.9")
	up := w.front.up(t, "owned", recipe, pkg)
	demo := w.front.as(t, "demo")
	for _, mount := range []string{"", "/local", "/upstream/owned", "/api/v4/projects/owned/packages/conan"} {
		for _, target := range installTargets(recipe, pkg) {
			if strings.Contains(target, "/conans/search") {
				continue
			}
			w.front.call(t, http.MethodGet, mount+target).refuses(t, http.StatusNotFound)
		}
		for _, target := range []string{path1(recipe.Revision), path1(recipe.Revision) + "/digest", path1(recipe.Revision) + "/download_urls", path1(recipe.Revision) + "/search", path1(pkg.Revision), file1(pkg.Revision, conan.InfoFile)} {
			w.front.call(t, http.MethodGet, mount+target).refuses(t, http.StatusNotFound)
		}
		for _, q := range []string{"owned-lib", "owned-lib%2F%2A", "owned-%2A", "OWNED-LIB%2F9.9"} {
			for _, api := range []string{"v1", "v2"} {
				if found := decode[map[string][]string](t, w.front.call(t, http.MethodGet, mount+"/"+api+"/conans/search?q="+q))["results"]; len(found) != 0 {
					t.Errorf("%s search %s: %q", api, q, found)
				}
			}
		}
	}
	w.front.call(t, http.MethodDelete, path2(recipe.Revision), demo).refuses(t, http.StatusNotFound)
	w.front.put2(t, "demo", pkg, conan.InfoFile).refuses(t, http.StatusNotFound)
	w.front.call(t, http.MethodPost, path1(pkg.Revision)+"/upload_urls", demo, asJSON(sizesOf(pkg.Files))).refuses(t, http.StatusNotFound)
	for _, r := range up.Log() {
		if strings.Contains(r.String(), "owned-") {
			t.Errorf("upstream was asked: %s", r)
		}
	}
	mine, minePkg := sets2("owned", "1.0")
	w.front.publish2(t, "demo", mine, minePkg)
	w.front.install2(t, "", nobody, minePkg)
}

func v2UploadKnown(t *testing.T, w *v2World) {
	recipe, pkg := sets2("hosted", "1.0")
	w.front.up(t, "hosted", recipe, pkg)
	w.front.install2(t, "", nobody, recipe)
	for _, set := range []conantest.Set{recipe, pkg} {
		w.front.call(t, http.MethodGet, "/local"+path2(set.Revision.With(""))+"/revisions").refuses(t, http.StatusNotFound)
		for _, name := range set.Names() {
			w.front.call(t, http.MethodPut, "/local"+file2(set.Revision, name), w.front.as(t, "demo"), file(set.Files[name])).is(t, http.StatusOK)
		}
		w.front.install2(t, "/local", nobody, set)
	}
}

func v2Adopt(t *testing.T, w *v2World) {
	recipe, _ := sets2("adopt", "1.0")
	up := w.front.up(t, "adopt", recipe)
	pkg := conantest.Package(recipe, conantest.Setting("os", "Haiku"))
	w.front.call(t, http.MethodGet, "/local"+path2(recipe.Revision)+"/files").refuses(t, http.StatusNotFound)
	w.front.publish2(t, "demo", pkg)
	w.front.install2(t, "/local", nobody, recipe)
	w.front.install2(t, "/local", nobody, pkg)
	w.front.install2(t, "", nobody, pkg)
	newer, _ := sets2("adopt", "1.0", conantest.Code("# newer"), conantest.Published(time.Now().Add(time.Hour)))
	up.Stop()
	w.front.install2(t, "/local", nobody, recipe)
	up.Start()
	up.Add(newer)
	w.front.install2(t, "", nobody, newer) // the adopted recipe does not hide upstream's newer one
}

func v2RevisionZero(t *testing.T, w *v2World) {
	recipe, _ := sets2("zero", "1.0")
	recipe = recipe.As("0")
	pkg := conantest.Package(recipe, conantest.File("a", "1")).As("0")
	up := w.front.up(t, "zero", recipe, pkg)
	w.front.install2(t, "", nobody, recipe)
	w.front.install2(t, "", nobody, pkg)

	changed, _ := sets2("zero", "1.0", conantest.Code("# changed"))
	changed = changed.As("0")
	changedPkg := conantest.Package(changed, conantest.File("a", "2")).As("0")
	up.Add(changed, changedPkg)
	for _, set := range []conantest.Set{changed, changedPkg} {
		e2etest.WaitFor(t, 10*time.Second, func() bool {
			r, err := w.front.try(t, http.MethodGet, file2(set.Revision, conan.ManifestFile))
			return err == nil && r.body == string(set.Files[conan.ManifestFile])
		})
		w.front.install2(t, "", nobody, set)
	}
}
