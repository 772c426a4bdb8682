package conformance

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
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

var v1Upstreams = []scripted{
	{name: "expires", options: conantest.Options{API: conantest.V1}, settings: harness.Settings{"fresh_for": "1h"}},
	{name: "first", options: conantest.Options{API: conantest.V1}},
	{name: "first2", options: conantest.Options{API: conantest.V2}},
	{name: "relative", options: conantest.Options{API: conantest.V1, FileURLs: conantest.Relative, Prefix: "/some/path"}, slash: true},
	{name: "bare", options: conantest.Options{API: conantest.V1, FileURLs: conantest.Relative}},
	{name: "rooted", options: conantest.Options{API: conantest.V1, FileURLs: conantest.RootRelative, Prefix: "/some/path"}},
	{name: "absolute", options: conantest.Options{API: conantest.V1, FileURLs: conantest.Absolute}},
	{name: "foreign", options: conantest.Options{API: conantest.V1, FileURLs: conantest.Foreign}, settings: secondHost},
	{name: "unsigned", options: conantest.Options{API: conantest.V1, Unsigned: true}},
	{name: "json", options: conantest.Options{API: conantest.V1}},
	{name: "fails401", options: conantest.Options{API: conantest.V1}, settings: shortly},
	{name: "fails403", options: conantest.Options{API: conantest.V1}, settings: shortly},
	{name: "fails500", options: conantest.Options{API: conantest.V1}, settings: shortly},
	{name: "fails503", options: conantest.Options{API: conantest.V1}, settings: shortly},
	{name: "hangs", options: conantest.Options{API: conantest.V1}, settings: hanging},
	{name: "portal", options: conantest.Options{API: conantest.V1}, settings: shortly},
	{name: "refuses", options: conantest.Options{API: conantest.V1}, settings: shortly},
	{name: "stale", options: conantest.Options{API: conantest.V1}, settings: shortly},
	{name: "changes", options: conantest.Options{API: conantest.V1}, settings: shortly},
	{name: "fresh", options: conantest.Options{API: conantest.V1}, settings: harness.Settings{"fresh_for": "1h"}},
	{name: "flips", options: conantest.Options{API: conantest.V1}, settings: shortly},
	{name: "fifty", options: conantest.Options{API: conantest.V1}},
	{name: "discreet", options: privately(conantest.V1), settings: privateLogin},
	{name: "discreet2", options: privately(conantest.V2), settings: privateLogin},
	{name: "readonly", options: conantest.Options{API: conantest.V1}},
	{name: "storage", options: privately(conantest.V1), settings: loginSecondHost},
}

func privately(api conantest.API) conantest.Options {
	o := private
	o.API = api
	return o
}

// sets1 are a recipe with all archives and a package, of the name that goes to an upstream.
func sets1(upstream, version string, more ...conantest.Option) (recipe, pkg conantest.Set) {
	options := append([]conantest.Option{conantest.Conan1(), conantest.File("a.txt", "a"), conantest.Source("b.c", "b")}, more...)
	recipe = conantest.Recipe(upstream+"-lib", version, options...)
	return recipe, conantest.Package(recipe, conantest.Conan1())
}

func v1UpstreamExpires(t *testing.T, w *v1World) {
	recipe, pkg := sets1("expires", "1.0")
	up := w.front.up(t, "expires", recipe, pkg)
	for _, set := range []conantest.Set{recipe, pkg} {
		urls := w.front.urls1(t, "", nobody, set.Revision)
		w.front.call(t, http.MethodGet, urls[conan.ManifestFile]).is(t, http.StatusOK)
	}
	up.ExpireSignatures()
	w.front.install1(t, "", nobody, recipe)
	w.front.install1(t, "", nobody, pkg)
	up.Stop() // and now everything is here
	defer up.Start()
	w.front.install1(t, "", nobody, recipe)
	w.front.install1(t, "", nobody, pkg)
}

func v1FileFirst(t *testing.T, w *v1World) {
	for _, name := range []string{"first", "first2"} {
		recipe, pkg := sets1(name, "1.0")
		w.front.up(t, name, recipe, pkg)
		target := "/v1/files/" + pkg.Ref.Path() + "/" + pkg.RRev + "/package/" + pkg.PackageID + "/" + pkg.PRev + "/conan_package.tgz"
		if r := w.front.call(t, http.MethodGet, target).is(t, http.StatusOK); r.body != string(pkg.Files["conan_package.tgz"]) {
			t.Errorf("%s: wrong bytes", name)
		}
		if r := w.front.call(t, http.MethodGet, file1(recipe.Revision, conan.RecipeFile)).is(t, http.StatusOK); r.body != string(recipe.Files[conan.RecipeFile]) {
			t.Errorf("%s: wrong bytes", name)
		}
		gone := strings.Replace(target, pkg.PRev, strings.Repeat("0", 32), 1)
		w.front.call(t, http.MethodGet, gone).refuses(t, http.StatusNotFound)
	}
}

func v1UpstreamURLForms(t *testing.T, w *v1World) {
	for _, name := range []string{"relative", "bare", "rooted", "absolute", "foreign", "unsigned"} {
		t.Run(name, func(t *testing.T) {
			recipe, pkg := sets1(name, "1.0")
			up := w.front.up(t, name, recipe, pkg)
			for _, set := range []conantest.Set{recipe, pkg} {
				urls := w.front.urls1(t, "", nobody, set.Revision)
				for file, target := range urls {
					if !strings.HasPrefix(target, "/v1/files/") || strings.Contains(target, "signature") || strings.Contains(target, "some/path") {
						t.Errorf("%s is at %s", file, target)
					}
				}
				w.front.sameFiles(t, nobody, urls, set)
			}
			host := strings.TrimPrefix(up.URL, "http://")
			for _, route := range []string{"/digest", "/download_urls"} {
				if r := w.front.call(t, http.MethodGet, path1(recipe.Revision)+route); strings.Contains(r.body, host) || strings.Contains(r.body, "localhost") {
					t.Errorf("%s names upstream: %s", route, r.body)
				}
			}
		})
	}
}

func v1UpstreamJSON(t *testing.T, w *v1World) {
	zipped := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(s))
		z.Close()
		return b.String()
	}
	for version, change := range map[string]func(body string) conantest.Fault{
		"1.1": func(string) conantest.Fault { return conantest.Fault{ContentType: "application/json; charset=utf-8"} },
		"1.2": func(string) conantest.Fault { return conantest.Fault{ContentType: "application/json;charset=UTF-8"} },
		"1.3": func(body string) conantest.Fault { return conantest.Fault{Body: conantest.Text("\ufeff" + body)} },
		"1.4": func(body string) conantest.Fault {
			return conantest.Fault{Body: conantest.Text(zipped(body)), Header: http.Header{"Content-Encoding": {"gzip"}}}
		},
		"1.5": func(body string) conantest.Fault {
			return conantest.Fault{Body: conantest.Text("\n\t" + body + "\n"), NoLength: true}
		},
	} {
		t.Run(version, func(t *testing.T) {
			recipe, pkg := sets1("json", version)
			up := w.front.up(t, "json", recipe, pkg)
			defer up.ClearFaults()
			snapshot, err := json.Marshal(sumsOf(recipe))
			if err != nil {
				t.Fatal(err)
			}
			for route, body := range map[string]string{
				path1(recipe.Revision):                         string(snapshot),
				"/v1/conans/search?q=json-lib%2F" + version:    `{"results":["` + recipe.Ref.String() + `"]}`,
				"/v1/conans/" + recipe.Ref.Path() + "/search*": `{"` + pkg.PackageID + `":{"content":"[settings]\n    os=Linux\n[recipe_hash]\n    ` + recipe.RRev + `\n"}}`,
			} {
				fault := change(body)
				fault.Route = route
				up.Fault(fault)
			}
			if diff := cmp.Diff(sumsOf(recipe), decode[map[string]string](t, w.front.call(t, http.MethodGet, path1(recipe.Revision)))); diff != "" {
				t.Errorf("snapshot:\n%s", diff)
			}
			w.front.install1(t, "", nobody, recipe)
			if diff := cmp.Diff([]string{recipe.Ref.String()}, w.front.found(t, "v1", "?q=json-lib%2F"+version)); diff != "" {
				t.Errorf("search:\n%s", diff)
			}
			found := w.front.packages1(t, recipe.Revision)[pkg.PackageID]
			if diff := cmp.Diff(map[string]any{"os": "Linux"}, found["settings"]); diff != "" {
				t.Errorf("package search:\n%s", diff)
			}
		})
	}
}

// failures are the ways in which an upstream can fail, by the scripted upstream that does.
func failures() map[string]conantest.Fault {
	return map[string]conantest.Fault{
		"fails401": {Route: "*", Status: http.StatusUnauthorized},
		"fails403": {Route: "*", Status: http.StatusForbidden},
		"fails500": {Route: "*", Status: http.StatusInternalServerError},
		"fails503": {Route: "*", Status: http.StatusServiceUnavailable},
		"hangs":    {Route: "*", BlackHole: true},
		"portal":   conantest.HTML("*"),
		"refuses":  {Route: "*", Reset: true},
	}
}

// atOnce runs a subtest for each fault, all at the same time: they mostly wait.
func atOnce(t *testing.T, faults map[string]conantest.Fault, run func(*testing.T, string, conantest.Fault)) {
	t.Helper()
	var all sync.WaitGroup
	for name, fault := range faults {
		all.Go(func() { t.Run(name, func(t *testing.T) { run(t, name, fault) }) })
	}
	all.Wait()
}

func v1UpstreamFails(t *testing.T, w *v1World) {
	atOnce(t, failures(), func(t *testing.T, name string, fault conantest.Fault) {
		recipe, pkg := sets1(name, "1.0")
		up := w.front.up(t, name, recipe, pkg)
		up.Fault(fault)
		for _, target := range []string{path1(recipe.Revision) + "/download_urls", path1(recipe.Revision) + "/digest", path1(pkg.Revision), path1(recipe.Revision) + "/search"} {
			w.front.call(t, http.MethodGet, target).unavailable(t, name)
		}
		up.ClearFaults()
		e2etest.WaitFor(t, 20*time.Second, func() bool { // nothing of it is remembered, once upstream is asked again
			return w.front.call(t, http.MethodGet, path1(recipe.Revision)+"/download_urls").status == http.StatusOK
		})
		w.front.install1(t, "", nobody, recipe)
		w.front.install1(t, "", nobody, pkg)
	})
}

func v1UpstreamStale(t *testing.T, w *v1World) {
	recipe, pkg := sets1("stale", "1.0")
	up := w.front.up(t, "stale", recipe, pkg)
	install := func() {
		t.Helper()
		w.front.install1(t, "", nobody, recipe)
		w.front.install1(t, "", nobody, pkg)
		decode[map[string]string](t, w.front.call(t, http.MethodGet, path1(pkg.Revision)))
		w.front.packages1(t, recipe.Revision)
		w.front.found(t, "v1", "?q=stale-lib")
	}
	install()
	for _, fault := range []conantest.Fault{{Route: "*", Status: http.StatusInternalServerError}, {Route: "*", Status: http.StatusForbidden}, conantest.HTML("*"), {Route: "*", Reset: true}} {
		end := up.Fault(fault)
		install()
		end()
	}
	up.Stop()
	defer up.Start()
	install()
	r := w.front.call(t, http.MethodGet, path1(recipe.Revision)+"/download_urls").is(t, http.StatusOK)
	if r.header.Get("X-Cache") != "stale" || r.header.Get("Warning") == "" || r.header.Get("Age") == "" {
		t.Errorf("a stale answer says X-Cache %q, Warning %q, Age %q", r.header.Get("X-Cache"), r.header.Get("Warning"), r.header.Get("Age"))
	}
	w.front.call(t, http.MethodGet, "/v1/conans/stale-other/1.0/_/_/download_urls").unavailable(t)
}

func v1UpstreamChanges(t *testing.T, w *v1World) {
	for _, name := range []string{"fresh", "changes"} {
		t.Run(name, func(t *testing.T) {
			old, oldPkg := sets1(name, "1.0")
			up := w.front.up(t, name, old, oldPkg)
			w.front.install1(t, "", nobody, old)
			w.front.install1(t, "", nobody, oldPkg)
			urls := w.front.urls1(t, "", nobody, old.Revision)

			newer, _ := sets1(name, "1.0", conantest.Code("# newer"), conantest.Published(conantest.DefaultTime.Add(time.Hour)))
			newerPkg := conantest.Package(newer, conantest.Conan1(), conantest.File("lib/new.a", "new"))
			up.Remove(conan.Revision{Ref: old.Ref}) // a v1 server overwrites
			up.Add(newer, newerPkg)
			want, wantPkg := newer, newerPkg
			if name == "fresh" {
				want, wantPkg = old, oldPkg
			}
			time.Sleep(10 * time.Millisecond) // longer than the short fresh time
			w.front.install1(t, "", nobody, want)
			w.front.install1(t, "", nobody, wantPkg)
			manifest := w.front.call(t, http.MethodGet, decode[map[string]string](t, w.front.call(t, http.MethodGet, path1(old.Revision)+"/digest"))[conan.ManifestFile])
			if diff := cmp.Diff(string(want.Files[conan.ManifestFile]), manifest.body); diff != "" {
				t.Errorf("manifest:\n%s", diff)
			}
			w.front.sameFiles(t, nobody, urls, old) // who has the old URLs gets the old set
		})
	}
}

func v1UpstreamWrongBytes(t *testing.T, w *v1World) {
	recipe, pkg := sets1("flips", "1.0")
	up := w.front.up(t, "flips", recipe, pkg)
	for _, tt := range []struct {
		set  conantest.Set
		name string
	}{{recipe, conan.RecipeFile}, {recipe, "conan_sources.tgz"}, {pkg, "conan_package.tgz"}, {pkg, conan.InfoFile}} {
		t.Run(tt.name, func(t *testing.T) {
			// Before the URLs are asked for: files of a recipe are fetched from then on.
			end := up.Fault(conantest.Fault{Route: "GET */" + tt.name + "*", Flip: conantest.At(int64(len(tt.set.Files[tt.name]) / 2))})
			urls := w.front.urls1(t, "", nobody, tt.set.Revision)
			flipped := bytes.Clone(tt.set.Files[tt.name])
			flipped[len(flipped)/2] ^= 0x40
			r, err := w.front.try(t, http.MethodGet, urls[tt.name])
			if err == nil && r.status == http.StatusOK {
				t.Errorf("a whole answer with wrong bytes: %d bytes", len(r.body))
			}
			if err == nil && r.status != http.StatusServiceUnavailable {
				t.Errorf("status %d %s, want 503 or a cut body", r.status, r.body)
			}
			sum := sha256.Sum256(flipped)
			name := filepath.Join(hex.EncodeToString(sum[:1]), hex.EncodeToString(sum[1:]))
			if slices.ContainsFunc(w.front.blobs(t), func(path string) bool { return strings.HasSuffix(path, name) }) {
				t.Error("the wrong bytes were stored")
			}
			end()
			e2etest.WaitFor(t, 20*time.Second, func() bool {
				r, err := w.front.try(t, http.MethodGet, urls[tt.name])
				return err == nil && r.status == http.StatusOK && r.body == string(tt.set.Files[tt.name])
			})
		})
	}
}

func v1FiftyInstalls(t *testing.T, w *v1World) {
	recipe, _ := sets1("fifty", "1.0")
	pkg := conantest.Package(recipe, conantest.Conan1(), conantest.Random("lib/big.a", 1<<20))
	up := w.front.up(t, "fifty", recipe, pkg)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for _, set := range []conantest.Set{recipe, pkg} {
				r, err := w.front.try(t, http.MethodGet, path1(set.Revision)+"/download_urls")
				var urls map[string]string
				if err != nil || json.Unmarshal([]byte(r.body), &urls) != nil || len(urls) != len(set.Files) {
					t.Errorf("%s: %d %s, %v", r.asked, r.status, shorten(r.body), err)
				}
				for name, target := range urls {
					r, err := w.front.try(t, http.MethodGet, target)
					if err != nil || r.body != string(set.Files[name]) {
						t.Errorf("%s: %d, %d bytes, %v", r.asked, r.status, len(r.body), err)
					}
				}
			}
		})
	}
	all.Wait()
	for _, set := range []conantest.Set{recipe, pkg} {
		for _, name := range set.Names() {
			if name == conan.ManifestFile {
				continue // read once more to see that a v1 upstream did not change meanwhile
			}
			folder := "export"
			if set.IsPackage() {
				folder = "package/*"
			}
			if n := up.Count("GET */" + folder + "/" + name + "*"); n != 1 {
				t.Errorf("%s of %s was fetched %d times", name, set.Revision, n)
			}
		}
	}
}

func v1Privacy(t *testing.T, w *v1World) {
	mine := []tweak{
		header("X-Client-Id", "demo-of-the-client"), header("X-Client-Anonymous-Id", "machine-of-the-client"),
		header("Conan-PkgID-Settings", "os=of-the-client"), header("Conan-PkgID-Options", "shared=of-the-client"),
		header("Cookie", "of=the-client"), header("Referer", "of-the-client"), w.front.as(t, "demo"),
	}
	token := w.front.token(t, "demo")
	for _, name := range []string{"discreet", "discreet2"} {
		recipe, pkg := sets1(name, "1.0")
		up := w.front.up(t, name, recipe, pkg)
		for _, set := range []conantest.Set{recipe, pkg} {
			for file, target := range decode[map[string]string](t, w.front.call(t, http.MethodGet, path1(set.Revision)+"/download_urls", mine...)) {
				w.front.call(t, http.MethodGet, target, mine...).is(t, http.StatusOK)
				w.front.call(t, http.MethodGet, file2(set.Revision, file), mine...).is(t, http.StatusOK)
			}
			w.front.call(t, http.MethodGet, path2(set.Revision.With(""))+"/latest", mine...).is(t, http.StatusOK)
		}
		w.front.call(t, http.MethodGet, path1(recipe.Revision)+"/search", mine...).is(t, http.StatusOK)
		w.front.call(t, http.MethodGet, "/v1/conans/search?q="+name+"-lib", mine...).is(t, http.StatusOK)
		log := up.Log()
		if len(log) < 5 {
			t.Errorf("%s: upstream saw %d requests", name, len(log))
		}
		for _, r := range log {
			for field, values := range r.Header {
				if text := strings.Join(values, " "); strings.Contains(text, "of-the-client") || strings.Contains(text, "of=the-client") || strings.Contains(text, token) {
					t.Errorf("upstream saw %s: %s at %s", field, text, r)
				}
				if strings.HasPrefix(field, "X-Client") || strings.HasPrefix(field, "Conan-Pkgid") {
					t.Errorf("upstream saw the header %s at %s", field, r)
				}
			}
		}
	}
}

func v1ReadOnlyView(t *testing.T, w *v1World) {
	recipe, pkg := sets1("readonly", "1.0")
	w.front.up(t, "readonly", recipe, pkg)
	demo := w.front.as(t, "demo")
	w.front.install1(t, "/upstream/readonly", nobody, recipe)
	for _, mount := range []string{"/upstream/readonly", "/projects/readonly/packages/conan", "/api/v4/projects/readonly/packages/conan"} {
		for _, set := range []conantest.Set{recipe, pkg} {
			w.front.call(t, http.MethodPost, mount+path1(set.Revision)+"/upload_urls", demo, asJSON(sizesOf(set.Files))).refuses(t, http.StatusMethodNotAllowed, "/local")
			w.front.call(t, http.MethodPut, mount+file1(set.Revision, conan.ManifestFile), demo, file(set.Files[conan.ManifestFile])).refuses(t, http.StatusBadRequest, "/local")
		}
		w.front.call(t, http.MethodDelete, mount+path1(recipe.Revision), demo).refuses(t, http.StatusMethodNotAllowed)
		w.front.call(t, http.MethodPost, mount+path1(recipe.Revision)+"/packages/delete", demo, asJSON(map[string]any{"package_ids": []string{}})).refuses(t, http.StatusMethodNotAllowed)
		w.front.call(t, http.MethodPost, mount+path1(recipe.Revision)+"/remove_files", demo, asJSON(map[string]any{"files": []string{}})).refuses(t, http.StatusMethodNotAllowed)
	}
	// A signature from a view that takes uploads does not open this one.
	urls := w.front.announce(t, "demo", recipe.Revision, recipe.Files)
	w.front.call(t, http.MethodPut, "/upstream/readonly"+urls[conan.RecipeFile], file(recipe.Files[conan.RecipeFile])).refuses(t, http.StatusForbidden, "another view")
	w.front.call(t, http.MethodGet, "/local"+path1(recipe.Revision)).refuses(t, http.StatusNotFound)
	// What upstream has cannot be deleted here, and the answer says so.
	w.front.call(t, http.MethodDelete, path1(recipe.Revision), demo).refuses(t, http.StatusConflict, "readonly", "exclude")
}

func v1ObjectStorage(t *testing.T, w *v1World) {
	recipe, pkg := sets1("storage", "1.0")
	up := w.front.up(t, "storage", recipe, pkg)
	var mu sync.Mutex
	var seen []http.Header
	bucket := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Header.Clone())
		mu.Unlock()
		name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(pkg.Files[name]))
	}))
	defer bucket.Close()
	for _, name := range pkg.Names() {
		up.Fault(conantest.Fault{Route: "GET */package/*/" + name + "*", Status: http.StatusFound, Header: http.Header{"Location": {bucket.URL + "/bucket/" + name}}})
	}
	w.front.install1(t, "", nobody, recipe)
	w.front.install1(t, "", nobody, pkg)
	mu.Lock()
	defer mu.Unlock()
	if len(seen) == 0 {
		t.Error("the storage was not asked")
	}
	for _, h := range seen {
		if h.Get("Authorization") != "" {
			t.Errorf("the storage got Authorization %q", h.Get("Authorization"))
		}
	}
	authorized := false
	for _, r := range up.Log() {
		authorized = authorized || r.Header.Get("Authorization") != ""
	}
	if !authorized {
		t.Error("upstream got no Authorization, so this shows nothing")
	}
}
