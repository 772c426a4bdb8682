package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/proxy/api"
)

// After a purge every answer comes from the upstream again, whichever memory had it: rendered and
// decoded answers, the index, refusals, and what is known of a v1 server's folders.
func TestAfterAPurgeTheUpstreamIsAsked(t *testing.T) {
	for name, protocol := range map[string]conantest.API{"v1": conantest.V1, "v2": conantest.V2} {
		t.Run(name, func(t *testing.T) {
			recipe := conantest.Recipe("zlib", "1.3", conantest.Published(time.Unix(1e9, 0)))
			pkg := conantest.Package(recipe)
			up := conantest.NewServer(t, protocol, recipe, pkg)
			cfg := testConfig(t, up.URL)
			cfg.Upstreams[0].MinAge = time.Hour
			s := testServer(t, cfg)
			const ref = "/v2/conans/zlib/1.3/_/_"
			rev := ref + "/revisions/" + recipe.RRev
			ask := func() int {
				t.Helper()
				up.ResetLog()
				for path, status := range map[string]int{
					ref + "/latest": 200, ref + "/revisions": 200, rev + "/files": 200, rev + "/files/conanfile.py": 200, rev + "/search": 200,
					rev + "/packages/" + pkg.PackageID + "/latest": 200, "/v2/conans/zlib/1.4/_/_/latest": 404, "/v2/conans/search?q=zlib": 200,
				} {
					rec := httptest.NewRecorder()
					s.http.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
					if rec.Code != status {
						t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
					}
				}
				u, _ := s.current.Load().upstreams.named("a")
				if err := u.cache.Store(t.Context(), recipe.Revision, conan.RecipeFile); err != nil { // the file is stored by now
					t.Fatal(err)
				}
				return len(up.Log())
			}
			ask()
			if n := ask(); n != 0 {
				t.Fatalf("%d requests for what is remembered: %v", n, up.Log())
			}
			center, _ := operated{s}.Upstream("a")
			if _, err := center.Purge(t.Context(), api.Purge{Matches: func(ref conan.Ref) bool { return ref.Name == "other" }}); err != nil {
				t.Fatal(err)
			}
			if n := ask(); n > 2 {
				t.Errorf("%d requests after a purge of another name, want those of the search: %v", n, up.Log())
			}
			if _, err := center.Purge(t.Context(), api.Purge{Matches: func(ref conan.Ref) bool { return ref.Name == "zlib" }}); err != nil {
				t.Fatal(err)
			}
			ask()
			for _, route := range map[string][]string{
				"v1": {"*/zlib/1.3/*/digest", "*/zlib/1.4/*", "*/conanfile.py*", "*/search?q=zlib*"},
				"v2": {"*/zlib/1.3/_/_/latest", "*/zlib/1.3/_/_/revisions", "*/files", "*/files/conanfile.py", "*/revisions/*/search", "*/packages/*/latest", "*/zlib/1.4/*", "*/search?q=zlib*"},
			}[name] {
				if up.Count("GET "+route) == 0 {
					t.Errorf("GET %s was not asked: %v", route, up.Log())
				}
			}
			up.Stop()
			if _, err := center.Purge(t.Context(), api.Purge{}); err != nil {
				t.Fatal(err)
			}
			rec := httptest.NewRecorder()
			s.http.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, rev+"/files/conanfile.py", nil))
			if rec.Code == http.StatusOK {
				t.Error("what was purged is served while the upstream is down")
			}
		})
	}
}
