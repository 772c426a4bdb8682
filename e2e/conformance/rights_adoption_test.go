package conformance

import (
	"net/http"
	"testing"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestAdoptionNeedsTheRightToRead: a package is published for a recipe of an upstream only by those
// who may read the recipe there. Else the copy of the recipe would show it to readers of the store.
func TestAdoptionNeedsTheRightToRead(t *testing.T) {
	t.Parallel()
	recipe := conantest.Recipe("secret", "1.0")
	pkg := conantest.Package(recipe, conantest.Setting("os", "Haiku"))
	up := conantest.NewServer(t, conantest.V2, recipe)
	s := startSite(t, harness.Settings{
		"upstreams": []harness.Settings{harness.Upstream("far", up.URL)},
		"auth": harness.Settings{
			"read": []harness.Settings{
				{"pattern": "*", "users": []string{"ann"}, "in": []string{"far"}},
				{"pattern": "*", "users": []string{"ann", "bob"}, "in": []string{"local"}},
			},
			"write": []harness.Settings{{"pattern": "*", "users": []string{"ann", "bob"}}},
		},
	})
	put := func(user string) (last reply) {
		for _, name := range pkg.Names() {
			last = s.call(t, http.MethodPut, "/local"+file2(pkg.Revision, name), s.as(t, user), file(pkg.Files[name]))
		}
		return last
	}
	list := "/local" + path2(recipe.Revision) + "/files"

	put("bob").refuses(t, http.StatusNotFound)
	if n := up.Count("*/conans/*"); n != 0 { // a ping is sent at the start
		t.Errorf("upstream was asked %d times for a caller who may not read it", n)
	}
	s.call(t, http.MethodGet, list, s.as(t, "bob")).refuses(t, http.StatusNotFound)

	put("ann").is(t, http.StatusOK)
	s.call(t, http.MethodGet, list, s.as(t, "bob")).is(t, http.StatusOK) // it is in the store now
}

// TestAdoptionFromTheStoresViews: a store adopts recipes of the upstreams that share a view with
// it, and of no others.
func TestAdoptionFromTheStoresViews(t *testing.T) {
	t.Parallel()
	recipe := conantest.Recipe("outer", "1.0")
	pkg := conantest.Package(recipe, conantest.Setting("os", "Haiku"))
	up := conantest.NewServer(t, conantest.V2, recipe)
	s := startSite(t, harness.Settings{
		"upstreams": []harness.Settings{harness.Upstream("far", up.URL)},
		"stores":    []harness.Settings{{"name": "team"}, {"name": "vault"}},
		"views": []harness.Settings{
			{"name": "default", "members": []string{"team", "far"}, "publish": "team"}, {"name": "closed", "members": []string{"vault"}, "publish": "vault"},
		},
	})
	for _, tt := range []struct {
		store string
		want  int
	}{{"vault", http.StatusNotFound}, {"team", http.StatusOK}} {
		var last reply
		for _, name := range pkg.Names() {
			last = s.call(t, http.MethodPut, "/r/"+tt.store+file2(pkg.Revision, name), s.as(t, "demo"), file(pkg.Files[name]))
		}
		if last.status != tt.want {
			t.Errorf("published in %s: %d %s, want %d", tt.store, last.status, last.body, tt.want)
		}
	}
}
