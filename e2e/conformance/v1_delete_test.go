package conformance

import (
	"conanproxy/e2e/e2etest"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// deletePackages is the call of that name; ids may be any JSON value.
func (w *v1World) deletePackages(t *testing.T, user string, recipe conantest.Set, ids any) reply {
	t.Helper()
	return w.call(t, http.MethodPost, path1(recipe.Recipe())+"/packages/delete", w.as(t, user), asJSON(map[string]any{"package_ids": ids}))
}

func v1DeleteTwice(t *testing.T, w *v1World) {
	set := conantest.Recipe("delete", "1.0", conantest.Conan1())
	pkg := conantest.Package(set, conantest.Conan1())
	w.publish1(t, "demo", set, conantest.Recipe("delete", "1.0", conantest.Conan1(), conantest.Code("# newer")), pkg)
	w.call(t, http.MethodDelete, path1(set.Revision), w.as(t, "demo")).is(t, http.StatusOK)
	w.invisible(t, set)
	w.call(t, http.MethodGet, path1(pkg.Revision)).refuses(t, http.StatusNotFound)
	w.call(t, http.MethodDelete, path1(set.Revision), w.as(t, "demo")).refuses(t, http.StatusNotFound)
	w.publish1(t, "demo", set)
	w.install1(t, "", nobody, set)
}

func v1DeleteAllPackages(t *testing.T, w *v1World) {
	set := conantest.Recipe("deleteall", "1.0", conantest.Conan1())
	w.publish1(t, "demo", set, conantest.Package(set, conantest.Conan1()), conantest.Package(set, conantest.Conan1(), conantest.Setting("os", "Macos")))
	if n := len(w.packages1(t, set.Revision)); n != 2 {
		t.Fatalf("%d packages, want 2", n)
	}
	w.deletePackages(t, "demo", set, []string{}).is(t, http.StatusOK)
	if n := len(w.packages1(t, set.Revision)); n != 0 { // what the client asks after a 404
		t.Errorf("%d packages are left", n)
	}
	w.deletePackages(t, "demo", set, []string{}).refuses(t, http.StatusNotFound)
	w.install1(t, "", nobody, set)
	w.deletePackages(t, "demo", conantest.Recipe("nothing", "1.0"), []string{}).refuses(t, http.StatusNotFound)
}

func v1DeleteSomePackages(t *testing.T, w *v1World) {
	set := conantest.Recipe("deletesome", "1.0", conantest.Conan1())
	one, two := conantest.Package(set, conantest.Conan1()), conantest.Package(set, conantest.Conan1(), conantest.Setting("os", "Macos"))
	w.publish1(t, "demo", set, one, two)
	w.deletePackages(t, "demo", set, []string{one.PackageID, strings.Repeat("0", 40)}).refuses(t, http.StatusNotFound)
	w.install1(t, "", nobody, one) // all or nothing
	w.deletePackages(t, "demo", set, []string{one.PackageID}).is(t, http.StatusOK)
	if diff := cmp.Diff([]string{two.PackageID}, slices.Sorted(maps.Keys(w.packages1(t, set.Revision)))); diff != "" {
		t.Errorf("packages:\n%s", diff)
	}

	// A package of an older recipe revision is seen here, so it is deleted here.
	newer := conantest.Recipe("deletesome", "1.0", conantest.Conan1(), conantest.Code("# newer"))
	w.publish1(t, "demo", newer)
	w.install1(t, "", nobody, two)
	w.deletePackages(t, "demo", set, []string{two.PackageID}).is(t, http.StatusOK)
	w.call(t, http.MethodGet, path1(two.Revision)).refuses(t, http.StatusNotFound)
}

func v1DeleteBadBodies(t *testing.T, w *v1World) {
	for _, body := range []string{
		"", "{}", `{"package_ids":null}`, `["x"]`, `{"package_ids":"x"}`, `{"package_ids":[1]}`, `{"package_ids":[".."]}`, `{"package_ids":[""]}`, "junk",
		`{"package_ids":["` + w.lib.PackageID + `"]} trailing`, `{"package_ids":[null]}`,
	} {
		w.call(t, http.MethodPost, path1(w.hello.Revision)+"/packages/delete", w.as(t, "demo"), text(body)).refuses(t, http.StatusBadRequest)
	}
	w.install1(t, "", nobody, w.lib)
}

func v1DeleteAnonymous(t *testing.T, w *v1World) {
	var answers []string
	for _, ref := range []string{w.hello.Ref.Path(), "nothing/1.0/demo/testing", w.nouc.Ref.Path(), "nothing/1.0/_/_"} {
		for _, r := range []reply{
			w.call(t, http.MethodDelete, "/v1/conans/"+ref).refuses(t, http.StatusUnauthorized),
			w.call(t, http.MethodPost, "/v1/conans/"+ref+"/packages/delete", asJSON(map[string]any{"package_ids": []string{}})).refuses(t, http.StatusUnauthorized),
			w.call(t, http.MethodPost, "/v1/conans/"+ref+"/remove_files", asJSON(map[string]any{"files": []string{"conan_export.tgz"}})).refuses(t, http.StatusUnauthorized),
			w.call(t, http.MethodPost, "/v1/conans/"+ref+"/packages/"+w.lib.PackageID+"/upload_urls", asJSON(sizesOf(w.lib.Files))).refuses(t, http.StatusUnauthorized),
		} {
			parsed := strings.NewReplacer("/demo/testing", "@demo/testing", "/_/_", "").Replace(ref)
			answers = append(answers, strings.ReplaceAll(r.body, parsed, "REF"))
		}
	}
	if slices.Sort(answers); len(slices.Compact(answers)) != 1 {
		t.Errorf("the answers tell what is there: %q", answers)
	}
	w.install1(t, "", nobody, w.hello)
	w.install1(t, "", nobody, w.nouc)
}

func v1DeleteDuringDownload(t *testing.T, w *v1World) {
	set := conantest.Recipe("deleteduring", "1.0", conantest.Conan1())
	pkg := conantest.Package(set, conantest.Conan1(), conantest.Random("lib/during.a", 24<<20))
	w.publish1(t, "demo", set, pkg)
	target := w.urls1(t, "", nobody, pkg.Revision)["conan_package.tgz"]
	resp, err := w.open(t, http.MethodGet, target)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	head := make([]byte, 64<<10)
	if _, err := io.ReadFull(resp.Body, head); err != nil {
		t.Fatal(err)
	}
	w.call(t, http.MethodDelete, path1(set.Revision), w.as(t, "demo")).is(t, http.StatusOK)
	w.call(t, http.MethodGet, target).refuses(t, http.StatusNotFound)
	rest, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(head)+len(rest), err)
	}
	if e2etest.Md5Hex(append(head, rest...)) != e2etest.Md5Hex(pkg.Files["conan_package.tgz"]) {
		t.Error("the download ended with other bytes")
	}
}

// client1 counts the requests of a flow of Conan 1 and keeps its token.
type client1 struct {
	w     *v1World
	t     *testing.T
	token string
	calls []string
}

// do sends a request with the token, if there is one, or with other credentials.
func (c *client1) do(method, target string, tweaks ...tweak) reply {
	c.t.Helper()
	c.calls = append(c.calls, method+" "+target)
	var who []tweak
	if c.token != "" {
		who = append(who, bearer(c.token))
	}
	return c.w.call(c.t, method, target, append(who, tweaks...)...)
}

// login does what the client does with a 401: it forgets its token and asks again as nobody, then
// it logs in with the password from the environment and asks a third time.
func (c *client1) login(user, password, method, target string, tweaks ...tweak) reply {
	c.t.Helper()
	r := c.do(method, target, tweaks...)
	if r.status == http.StatusUnauthorized && c.token != "" {
		c.token = ""
		r = c.do(method, target, tweaks...)
	}
	for range 3 {
		if r.status != http.StatusUnauthorized {
			return r
		}
		login := c.do(http.MethodGet, "/v1/users/authenticate", basic(user, password), from("192.0.2.78"))
		if login.status != http.StatusOK {
			login.refuses(c.t, http.StatusUnauthorized)
			continue
		}
		c.token = login.body
		r = c.do(method, target, tweaks...)
	}
	return r
}

func (c *client1) count(part string) int {
	n := 0
	for _, call := range c.calls {
		if strings.Contains(call, part) {
			n++
		}
	}
	return n
}

func v1ExpiredToken(t *testing.T, w *v1World) {
	set := conantest.Recipe("expired", "1.0", conantest.Conan1())
	c := &client1{w: w, t: t, token: w.expired(t, "demo")}
	c.do(http.MethodGet, "/v1/ping").is(t, http.StatusOK)
	c.login("demo", "demo", http.MethodGet, path1(set.Revision)+"/digest").refuses(t, http.StatusNotFound)
	c.login("demo", "demo", http.MethodGet, "/v1/users/check_credentials").is(t, http.StatusOK)
	urls := decode[map[string]string](t, c.login("demo", "demo", http.MethodPost, path1(set.Revision)+"/upload_urls", asJSON(sizesOf(set.Files))))
	for name, target := range urls {
		w.call(t, http.MethodPut, target, file(set.Files[name])).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)
	if n := c.count("authenticate"); n != 1 {
		t.Errorf("%d logins, want 1:\n%s", n, strings.Join(c.calls, "\n"))
	}
}

func v1NoRight(t *testing.T, w *v1World) {
	set := conantest.Recipe("frozen", "77", conantest.Conan1())
	c := &client1{w: w, t: t, token: w.token(t, "demo")}
	c.do(http.MethodGet, "/v1/ping").is(t, http.StatusOK)
	c.login("demo", "demo", http.MethodGet, path1(set.Revision)+"/digest").refuses(t, http.StatusNotFound)
	c.login("demo", "demo", http.MethodGet, "/v1/users/check_credentials").is(t, http.StatusOK)
	c.login("demo", "demo", http.MethodGet, path1(set.Revision)).refuses(t, http.StatusNotFound)
	c.login("demo", "demo", http.MethodPost, path1(set.Revision)+"/upload_urls", asJSON(sizesOf(set.Files))).refuses(t, http.StatusForbidden, "demo")
	if len(c.calls) > 5 {
		t.Errorf("%d requests:\n%s", len(c.calls), strings.Join(c.calls, "\n"))
	}
}

func v1WrongPassword(t *testing.T, w *v1World) {
	c := &client1{w: w, t: t}
	c.login("demo", "wrong", http.MethodGet, "/v1/users/check_credentials").refuses(t, http.StatusUnauthorized)
	if n := c.count("authenticate"); n != 3 {
		t.Errorf("%d logins, want 3", n)
	}
}

func v1PrivateInstall(t *testing.T, w *v1World) {
	set := conantest.Recipe("private79", "1.0", conantest.Conan1())
	w.publish1(t, "ann", set)
	for _, rev := range []conan.Revision{set.Revision, conantest.Recipe("private79", "2.0").Revision} {
		for _, route := range []string{"", "/digest", "/download_urls", "/search"} {
			w.call(t, http.MethodGet, path1(rev)+route).refuses(t, http.StatusUnauthorized)
		}
	}
	c := &client1{w: w, t: t}
	urls := decode[map[string]string](t, c.login("ann", "ann", http.MethodGet, path1(set.Revision)+"/download_urls"))
	w.sameFiles(t, nobody, urls, set)
	if n := c.count("authenticate"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

func v1ExpiredPublic(t *testing.T, w *v1World) {
	c := &client1{w: w, t: t, token: w.expired(t, "demo")}
	urls := decode[map[string]string](t, c.login("", "", http.MethodGet, path1(w.hello.Revision)+"/download_urls"))
	if diff := cmp.Diff([]string{"GET " + path1(w.hello.Revision) + "/download_urls", "GET " + path1(w.hello.Revision) + "/download_urls"}, c.calls); diff != "" {
		t.Errorf("requests:\n%s", diff)
	}
	w.sameFiles(t, nobody, urls, w.hello)
}
