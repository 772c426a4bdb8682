package conformance

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conantest"
)

func v1NoUser(t *testing.T, w *v1World) {
	set := conantest.Recipe("plain", "2.0", conantest.Conan1())
	urls := w.announce(t, "demo", set.Revision, set.Files)
	for name, target := range urls {
		if !strings.Contains(target, "/plain/2.0/_/_/") {
			t.Errorf("upload URL of %s: %s", name, target)
		}
		w.call(t, http.MethodPut, target, file(set.Files[name])).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)
	if found := w.found(t, "v1", "?q=plain"); !slices.Equal(found, []string{"plain/2.0"}) {
		t.Errorf("search: %q", found)
	}
}

func v1LegalCharacters(t *testing.T, w *v1World) {
	for _, set := range []conantest.Set{
		conantest.Recipe("a+b", "1.0+x.y", conantest.Conan1()),
		conantest.Recipe("png++", "0.2", conantest.Conan1()),
		conantest.Recipe("_b", "1.0", conantest.Conan1()),
		conantest.Recipe("AB", "1.0", conantest.Conan1()),
		conantest.Recipe("a.-", "1.0", conantest.Owner("u+u", "c.c"), conantest.Conan1()),
	} {
		pkg := conantest.Package(set, conantest.Conan1())
		w.publish1(t, "demo", set, pkg)
		w.install1(t, "", nobody, set)
		w.install1(t, "", nobody, pkg)
		if found := w.found(t, "v1", "?q="+url.QueryEscape(set.Name)); !slices.Contains(found, set.Ref.String()) {
			t.Errorf("search for %s: %q", set.Ref, found)
		}
		escaped := strings.ReplaceAll(path1(set.Revision), "+", "%2B")
		if diff := cmp.Diff(sumsOf(set), decode[map[string]string](t, w.call(t, http.MethodGet, escaped))); diff != "" {
			t.Errorf("snapshot at %s:\n%s", escaped, diff)
		}
		if strings.Contains(set.Name, "+") {
			spaced := strings.Replace(path1(set.Revision), "+", "%20", 1)
			w.call(t, http.MethodGet, spaced).refuses(t, http.StatusNotFound)
		}
	}
}

func v1Case(t *testing.T, w *v1World) {
	lower, upper := conantest.Recipe("case", "1.0", conantest.Conan1()), conantest.Recipe("CASE", "1.0", conantest.Conan1())
	w.publish1(t, "demo", lower)
	w.invisible(t, upper)
	w.publish1(t, "demo", upper)
	w.install1(t, "", nobody, lower)
	w.install1(t, "", nobody, upper)
	if diff := cmp.Diff([]string{"CASE/1.0", "case/1.0"}, w.found(t, "v1", "?q=case")); diff != "" {
		t.Errorf("search:\n%s", diff)
	}
	w.call(t, http.MethodDelete, path1(upper.Revision), w.as(t, "demo")).is(t, http.StatusOK)
	w.install1(t, "", nobody, lower)
	w.invisible(t, upper)
}

func v1Lengths(t *testing.T, w *v1World) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, set := range []conantest.Set{
		conantest.Recipe(long(51), "1.0", conantest.Conan1()),
		conantest.Recipe("length", long(51), conantest.Conan1()),
		conantest.Recipe("xy", "10", conantest.Owner(long(51), long(51)), conantest.Conan1()),
	} {
		w.publish1(t, "demo", set)
		w.install1(t, "", nobody, set)
	}
	set := conantest.Recipe("length", "1.0", conantest.Conan1())
	for _, ref := range []string{
		long(52) + "/1.0/_/_", "length/" + long(52) + "/_/_", "length/1/_/_", "x/1.0/_/_", "length/1.0/" + long(52) + "/testing", "length/1.0/u/testing",
	} {
		w.refusesReference(t, ref, set)
	}
}

// refusesReference wants a reference, given as the path of its four fields, to be "not found" for
// readers and invalid for writers.
func (w *v1World) refusesReference(t *testing.T, ref string, set conantest.Set) {
	t.Helper()
	demo := w.as(t, "demo")
	for _, route := range []string{"", "/digest", "/download_urls", "/search"} {
		w.call(t, http.MethodGet, "/v1/conans/"+ref+route, demo).refuses(t, http.StatusNotFound)
	}
	target := "/v1/files/" + ref + "/0/export/conanfile.py"
	w.call(t, http.MethodGet, target, demo).refuses(t, http.StatusNotFound)
	w.call(t, http.MethodPost, "/v1/conans/"+ref+"/upload_urls", demo, asJSON(sizesOf(set.Files))).refuses(t, http.StatusBadRequest)
	w.call(t, http.MethodPost, "/v1/conans/"+ref+"/remove_files", demo, asJSON(map[string]any{"files": []string{}})).refuses(t, http.StatusBadRequest)
	w.call(t, http.MethodPost, "/v1/conans/"+ref+"/packages/delete", demo, asJSON(map[string]any{"package_ids": []string{}})).refuses(t, http.StatusBadRequest)
	w.call(t, http.MethodPut, target, demo, file(set.Files["conanfile.py"])).refuses(t, http.StatusBadRequest)
	w.call(t, http.MethodDelete, "/v1/conans/"+ref, demo).refuses(t, http.StatusBadRequest)
}

func v1HalfOwner(t *testing.T, w *v1World) {
	w.refusesReference(t, "hello/1.0/_/testing", w.hello)
	w.refusesReference(t, "hello/1.0/demo/_", w.hello)
	w.install1(t, "", nobody, w.hello)
}

func v1IllegalNames(t *testing.T, w *v1World) {
	before := w.blobs(t)
	for _, name := range []string{
		"*", "%2A", "..", "%2e%2e", ".", "-a", "a%20b", "a+b%20", "%C3%A4", "ab%0A", "a%2Fb", "a%5Cb", "a%00b", "%FF%FE", "a%25b",
		strings.Repeat("x", 10<<10),
	} {
		t.Run(shorten(name), func(t *testing.T) {
			w.refusesReference(t, name+"/1.0/demo/testing", w.hello)
			w.refusesReference(t, "hello/"+name+"/demo/testing", w.hello)
			w.refusesReference(t, "hello/1.0/"+name+"/testing", w.hello)
			w.refusesReference(t, "hello/1.0/demo/"+name, w.hello)
		})
	}
	if diff := cmp.Diff(before, w.blobs(t)); diff != "" {
		t.Errorf("something was stored:\n%s", diff)
	}
	w.install1(t, "", nobody, w.hello)
}

func v1IllegalPackageIDs(t *testing.T, w *v1World) {
	demo := w.as(t, "demo")
	before := w.blobs(t)
	for _, id := range []string{"..", "%2e%2e", "x%2F..%2Fy", "", strings.Repeat("a", 200), "a-b", "*", "a%0A"} {
		pkg := path1(w.hello.Revision) + "/packages/" + id
		w.call(t, http.MethodGet, pkg+"/digest", demo).refuses(t, http.StatusNotFound)
		w.call(t, http.MethodGet, pkg+"/download_urls", demo).refuses(t, http.StatusNotFound)
		w.call(t, http.MethodPost, pkg+"/upload_urls", demo, asJSON(sizesOf(w.lib.Files))).refuses(t, http.StatusBadRequest)
		target := "/v1/files/" + w.hello.Ref.Path() + "/0/package/" + id + "/0/conaninfo.txt"
		w.call(t, http.MethodPut, target, demo, file([]byte("x"))).refuses(t, http.StatusBadRequest)
		w.call(t, http.MethodPost, path1(w.hello.Revision)+"/packages/delete", demo, asJSON(map[string]any{"package_ids": []string{mustUnescape(t, id)}})).
			refuses(t, http.StatusBadRequest)
	}
	if diff := cmp.Diff(before, w.blobs(t)); diff != "" {
		t.Errorf("something was stored:\n%s", diff)
	}
	if ids := slices.Sorted(maps.Keys(w.packages1(t, w.hello.Revision))); !slices.Equal(ids, []string{w.lib.PackageID}) {
		t.Errorf("packages: %q", ids)
	}
}

func mustUnescape(t testing.TB, s string) string {
	t.Helper()
	out, err := url.PathUnescape(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func v1UnusualVersions(t *testing.T, w *v1World) {
	for _, version := range []string{"cci.20210118", "1.0-rc.1", "0.1.0_1", "1.1.1w", "2021", "_x"} {
		set := conantest.Recipe("unusual", version, conantest.Conan1())
		w.publish1(t, "demo", set)
		w.install1(t, "", nobody, set)
	}
	if found := w.found(t, "v1", "?q=unusual"); len(found) != 6 {
		t.Errorf("search: %q", found)
	}
}

func v1Traversal(t *testing.T, w *v1World) {
	set := conantest.Recipe("privatetrail", "1.0", conantest.Conan1())
	w.publish1(t, "ann", set)
	signature := signatureOf(t, w.urls1(t, "", "ann", set.Revision)["conanfile.py"])
	hello := "/v1/files/" + w.hello.Ref.Path() + "/" + w.hello.RRev
	for _, path := range []string{
		"/v1/files/%2e%2e/%2e%2e/etc/passwd", "/v1/files/../../etc/passwd", "/v1/files/..%2f..%2fetc%2fpasswd", "/v1/files/..%5c..%5csecret",
		hello + "/export/..%2f..%2fsecret", hello + "/export/%2e%2e/%2e%2e/secret", hello + "/export/..%5csecret", hello + "/export/%2fetc%2fpasswd",
		hello + "/export/..%2fexport%2fconanfile.py", hello + "/export/conanfile.py%00.txt", hello + "/..%2f..%2f..%2fsecret/conanfile.py",
		hello + "/package/..%2f..%2fexport/0/conanfile.py", hello + "/export/secret", hello + "/export/..", "/v1/files/" + w.hello.Ref.Path() + "/%2e%2e/export/conanfile.py",
		"/../secret", "/..%2fsecret", "/%2e%2e/secret",
	} {
		for _, query := range []string{"", "?signature=" + signature} {
			// Credentials are looked at before names: a signature of another path may be refused as
			// such.
			forbidden := query != "" && strings.HasSuffix(path, "/export/secret")
			want := http.StatusNotFound
			if forbidden {
				want = http.StatusForbidden
			}
			w.call(t, http.MethodGet, path+query, w.as(t, "demo")).refuses(t, want)
			r := w.call(t, http.MethodPut, path+query, w.as(t, "demo"), file([]byte("x")))
			if r.status != http.StatusBadRequest && r.status != http.StatusNotFound && !(forbidden && r.status == http.StatusForbidden) {
				t.Errorf("%s: %d %s", r.asked, r.status, r.body)
			}
		}
	}
}
