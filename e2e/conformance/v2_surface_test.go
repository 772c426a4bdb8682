package conformance

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// pings wants the answer of ping that every client understands.
func pings(t *testing.T, r reply) {
	t.Helper()
	r.is(t, http.StatusOK)
	capabilities := strings.Split(r.header.Get("X-Conan-Server-Capabilities"), ",")
	if !slices.Contains(capabilities, "revisions") || r.body != "" {
		t.Errorf("%s: capabilities %q, body %q", r.asked, capabilities, r.body)
	}
}

func v2Ping(t *testing.T, w *v2World) {
	pings(t, w.call(t, http.MethodGet, "/v1/ping"))
	pings(t, w.call(t, http.MethodGet, "/v2/ping"))
}

// mounts are the paths of the views of a front with an upstream "direct".
var mounts = []string{
	"", "/local", "/upstream/direct",
	"/packages/conan", "/api/v4/packages/conan",
	"/projects/all/packages/conan", "/projects/local/packages/conan", "/projects/direct/packages/conan",
	"/api/v4/projects/all/packages/conan", "/api/v4/projects/local/packages/conan", "/api/v4/projects/direct/packages/conan",
}

func v2PingMounts(t *testing.T, w *v2World) {
	for _, mount := range mounts {
		pings(t, w.front.call(t, http.MethodGet, mount+"/v1/ping"))
		pings(t, w.front.call(t, http.MethodGet, mount+"/v2/ping"))
		prefixed := header("X-Forwarded-Prefix", "/outside")
		pings(t, w.front.call(t, http.MethodGet, "/outside"+mount+"/v1/ping", prefixed))
		pings(t, w.front.call(t, http.MethodGet, mount+"/v1/ping", prefixed))
	}
	// At a mistyped place it is an error, not "not found", for which clients skip the remote in
	// silence.
	for _, mount := range []string{"/upstream/nothing", "/projects/nothing/packages/conan", "/conan", "/api/conan/remote"} {
		w.front.call(t, http.MethodGet, mount+"/v1/ping").refuses(t, http.StatusFailedDependency)
	}
}

func v2PingExpired(t *testing.T, w *v2World) {
	for _, route := range []string{"/v1/ping", "/v2/ping"} {
		pings(t, w.call(t, http.MethodGet, route, bearer(w.expired(t, "demo"))))
	}
}

func v2PingPrivate(t *testing.T, w *v2World) {
	closed := startSite(t, harness.Settings{"auth": harness.Settings{
		"read": []harness.Settings{{"pattern": "*", "users": []string{"?"}}}, "write": []harness.Settings{{"pattern": "*", "users": []string{"ann"}}},
	}})
	closed.call(t, http.MethodGet, path2(w.hello.Revision.With(""))+"/latest").refuses(t, http.StatusUnauthorized)
	pings(t, closed.call(t, http.MethodGet, "/v1/ping"))
	pings(t, closed.call(t, http.MethodGet, "/local/v2/ping"))
}

// jsonTargets are the GET routes that answer with JSON.
func (w *v2World) jsonTargets() []string {
	targets := []string{"/v2/conans/search", "/v2/conans/search?q=hello", path2(w.hello.Revision.With("")) + "/search"}
	for _, set := range []conantest.Set{w.hello, w.lib} {
		targets = append(targets, path2(set.Revision.With(""))+"/latest", path2(set.Revision.With(""))+"/revisions", path2(set.Revision)+"/files")
	}
	for _, query := range []string{"", "?list_only=True", "?list_only=False"} {
		targets = append(targets, path2(w.hello.Revision)+"/search"+query)
	}
	return targets
}

func v2JSON(t *testing.T, w *v2World) {
	for _, target := range w.jsonTargets() {
		decode[map[string]any](t, w.call(t, http.MethodGet, target))
		decode[map[string]any](t, w.call(t, http.MethodGet, target, header("Accept", "text/html"), header("Accept-Encoding", "identity")))
	}
}

func v2Authenticate(t *testing.T, w *v2World) { authenticates(t, w.site, "/v2/users/authenticate") }

func v2AuthenticateV1(t *testing.T, w *v2World) { authenticates(t, w.site, "/v1/users/authenticate") }

func authenticates(t *testing.T, s *site, target string) {
	t.Helper()
	r := s.call(t, http.MethodGet, target, basic("demo", "demo")).is(t, http.StatusOK)
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("Content-Type %q", kind)
	}
	if r.body == "" || strings.ContainsAny(r.body, " \r\n\"") {
		t.Errorf("token %q, want one word", r.body)
	}
	if who := s.call(t, http.MethodGet, "/v2/users/check_credentials", bearer(r.body)).is(t, http.StatusOK); who.body != "demo" {
		t.Errorf("the token is of %q", who.body)
	}
}

func v2WrongPassword(t *testing.T, w *v2World) {
	for _, who := range []tweak{basic("demo", "wrong"), basic("eve", "eve"), basic("demo", ""), basic("", ""), basic("DEMO", "demo")} {
		w.call(t, http.MethodGet, "/v2/users/authenticate", who, from("192.0.2.7")).refuses(t, http.StatusUnauthorized)
	}
}

func v2AuthenticateBearer(t *testing.T, w *v2World) {
	for _, token := range []string{w.token(t, "demo"), "unset", ""} {
		w.call(t, http.MethodGet, "/v2/users/authenticate", bearer(token)).refuses(t, http.StatusUnauthorized)
	}
	w.call(t, http.MethodGet, "/v2/users/authenticate").refuses(t, http.StatusUnauthorized)
}

func v2ColonPassword(t *testing.T, w *v2World) {
	r := w.call(t, http.MethodGet, "/v2/users/authenticate", basic("colon", colonPassword)).is(t, http.StatusOK)
	if who := w.call(t, http.MethodGet, "/v2/users/check_credentials", bearer(r.body)); who.body != "colon" {
		t.Errorf("logged in as %q", who.body)
	}
	for _, almost := range []string{strings.TrimSuffix(colonPassword, ":"), strings.SplitN(colonPassword, ":", 2)[1], strings.ReplaceAll(colonPassword, "ä", "a")} {
		w.call(t, http.MethodGet, "/v2/users/authenticate", basic("colon", almost), from("192.0.2.9")).refuses(t, http.StatusUnauthorized)
	}
}

func v2CheckCredentials(t *testing.T, w *v2World) {
	const target = "/v2/users/check_credentials"
	w.call(t, http.MethodGet, target).refuses(t, http.StatusUnauthorized)
	for _, token := range []string{"no.such.token", "unset", "", w.expired(t, "demo"), w.token(t, "demo") + "x"} {
		w.call(t, http.MethodGet, target, bearer(token)).refuses(t, http.StatusUnauthorized)
	}
	w.call(t, http.MethodGet, target, basic("demo", "wrong"), from("192.0.2.10")).refuses(t, http.StatusUnauthorized)
	for _, who := range []tweak{w.as(t, "demo"), basic("demo", "demo")} { // Basic is accepted by choice
		if r := w.call(t, http.MethodGet, target, who).is(t, http.StatusOK); r.body != "demo" {
			t.Errorf("body %q, want the user", r.body)
		}
	}
}

func v2NoRight(t *testing.T, w *v2World) {
	set := conantest.Recipe("frozen", "1.0")
	for _, name := range set.Names() {
		w.put2(t, "demo", set, name).refuses(t, http.StatusForbidden, "demo")
		w.put2(t, nobody, set, name).refuses(t, http.StatusUnauthorized)
	}
	w.invisible(t, set)
}

// allRoutes are all routes of the v2 API for a package, by method and target.
func allRoutes(pkg conantest.Set) [][2]string {
	recipe, rev := pkg.Recipe(), pkg.Revision
	ref := recipe.With("")
	id := rev.With("")
	return [][2]string{
		{http.MethodGet, path2(ref) + "/latest"}, {http.MethodGet, path2(ref) + "/revisions"}, {http.MethodGet, path2(ref) + "/search"},
		{http.MethodGet, path2(recipe) + "/files"}, {http.MethodGet, file2(recipe, conan.RecipeFile)}, {http.MethodHead, file2(recipe, conan.RecipeFile)},
		{http.MethodGet, path2(recipe) + "/search"}, {http.MethodGet, path2(id) + "/latest"}, {http.MethodGet, path2(id) + "/revisions"},
		{http.MethodGet, path2(rev) + "/files"}, {http.MethodGet, file2(rev, conan.InfoFile)}, {http.MethodHead, file2(rev, conan.InfoFile)},
		{http.MethodPut, file2(recipe, conan.RecipeFile)}, {http.MethodPut, file2(rev, conan.InfoFile)}, {http.MethodPut, file2(rev, "metadata/x")},
		{http.MethodDelete, path2(ref)}, {http.MethodDelete, path2(recipe)}, {http.MethodDelete, path2(recipe) + "/packages"},
		{http.MethodDelete, path2(id)}, {http.MethodDelete, path2(rev)},
	}
}

func v2NeverLogin(t *testing.T, w *v2World) {
	set := conantest.Recipe("private12", "1.0")
	pkg := conantest.Package(set)
	w.publish2(t, "ann", set, pkg)
	absent := conantest.Package(conantest.Recipe("private12", "2.0"))
	for _, what := range []conantest.Set{pkg, absent} {
		for _, route := range allRoutes(what) {
			w.call(t, route[0], route[1], text("")).is(t, http.StatusUnauthorized)
			w.call(t, route[0], route[1], w.as(t, "bob"), text("")).is(t, http.StatusForbidden)
			w.call(t, route[0], route[1], basic("bob", "bob"), text("")).is(t, http.StatusForbidden)
		}
	}
	w.call(t, http.MethodGet, "/v2/users/check_credentials", w.as(t, "bob")).is(t, http.StatusOK)
	w.install2(t, "", "ann", set)
	w.install2(t, "", "ann", pkg)
}

func v2SearchPatterns(t *testing.T, w *v2World) {
	w.publish2(t, "demo",
		conantest.Recipe("hello", "2.0"), conantest.Recipe("hello", "2.0", conantest.Owner("acme", "stable")),
		conantest.Recipe("hallo", "1.0"), conantest.Recipe("other", "1.0", conantest.Owner("acme", "testing")))
	all := []string{"hallo/1.0", "hello/1.0", "hello/2.0", "hello/2.0@acme/stable", "other/1.0@acme/testing"}
	for _, tt := range []struct {
		q, more string
		want    []string
	}{
		{"hello", "", all[1:4]},
		{"hello/*", "", all[1:4]},
		{"hello/", "", all[1:4]},
		{"HELLO/*", "", all[1:4]},
		{"HELLO/*", "&ignorecase=False", nil},
		{"hello/*", "&ignorecase=False", all[1:4]},
		{"ell", "", nil},
		{"ello*", "", nil},
		{"h[ae]llo*", "", all[:4]},
		{"h[!e]llo*", "", all[:1]},
		{"h?llo", "", all[:4]},
		{"hello/2.0", "", all[2:4]},
		{"hello/2.0@*", "", all[3:4]},
		{"hello/2.0@_/_", "", nil},
		{"*@acme/*", "", all[3:]},
		{"*@acme", "", all[3:]},
		{"*/stable", "", all[3:4]},
	} {
		found := w.found(t, "v2", "?q="+url.QueryEscape(tt.q)+tt.more)
		if diff := cmp.Diff(append([]string{}, tt.want...), found); diff != "" {
			t.Errorf("q=%s%s:\n%s", tt.q, tt.more, diff)
		}
	}
	for _, query := range []string{"", "?q=", "?q=%2A"} {
		found := w.found(t, "v2", query)
		for _, ref := range all {
			if !slices.Contains(found, ref) {
				t.Errorf("search %q lacks %s", query, ref)
			}
		}
	}
}

func v2SearchExact(t *testing.T, w *v2World) {
	w.publish2(t, "demo", conantest.Recipe("zlib", "1.3"), conantest.Recipe("zlib-ng", "2.0"), conantest.Recipe("azlib", "1.0"), conantest.Recipe("zlib", "1.30"))
	for q, want := range map[string][]string{
		"zlib/*":   {"zlib/1.3", "zlib/1.30"},
		"zlib":     {"zlib/1.3", "zlib/1.30"},
		"zlib/1.3": {"zlib/1.3"},
		"zlib*":    {"zlib-ng/2.0", "zlib/1.3", "zlib/1.30"},
	} {
		if diff := cmp.Diff(want, w.found(t, "v2", "?q="+url.QueryEscape(q))); diff != "" {
			t.Errorf("q=%s:\n%s", q, diff)
		}
	}
}

func v2SearchPlus(t *testing.T, w *v2World) {
	set := conantest.Recipe("plus", "1.0+build.5")
	w.publish2(t, "demo", set)
	for _, query := range []string{"?q=plus%2F1.0%2B%2A", "?q=plus%2F1.0%2Bbuild.5", "?q=plus%2F%2A"} {
		if diff := cmp.Diff([]string{"plus/1.0+build.5"}, w.found(t, "v2", query)); diff != "" {
			t.Errorf("search %s:\n%s", query, diff)
		}
	}
	if found := w.found(t, "v2", "?q=plus%2F1.0+%2A"); len(found) != 0 { // a plus in a query is a space
		t.Errorf("found %q", found)
	}
	w.install2(t, "", nobody, set)
}

func v2SearchPrivate(t *testing.T, w *v2World) {
	w.publish2(t, "ann", conantest.Recipe("private17", "1.0"), conantest.Recipe("both17", "1.0"))
	for user, want := range map[string][]string{nobody: {"both17/1.0"}, "bob": {"both17/1.0"}, "ann": {"both17/1.0", "private17/1.0"}} {
		if diff := cmp.Diff(want, w.found(t, "v2", "?q=%2A17%2F%2A", w.as(t, user))); diff != "" {
			t.Errorf("search of %q:\n%s", user, diff)
		}
	}
	w.call(t, http.MethodGet, "/v2/conans/search?q=private17").refuses(t, http.StatusUnauthorized)
	if found := w.found(t, "v2", "?q=private17", w.as(t, "bob")); len(found) != 0 {
		t.Errorf("bob finds %q", found)
	}
	if found := w.found(t, "v2", "?q=nothing17"); len(found) != 0 {
		t.Errorf("found %q", found)
	}
}
