package conformance

import (
	"bytes"
	"conanproxy/e2e/e2etest"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

func v2FileHeaders(t *testing.T, w *v2World) {
	for _, set := range []conantest.Set{w.hello, w.lib} {
		for _, name := range set.Names() {
			r := w.call(t, http.MethodGet, file2(set.Revision, name), header("Accept-Encoding", "gzip, deflate")).is(t, http.StatusOK)
			got := map[string]string{
				"Content-Length":   r.header.Get("Content-Length"),
				"Accept-Ranges":    r.header.Get("Accept-Ranges"),
				"Content-Encoding": r.header.Get("Content-Encoding"),
				"X-Checksum-Sha1":  r.header.Get("X-Checksum-Sha1"),
				"body":             e2etest.Md5Hex([]byte(r.body)),
			}
			want := map[string]string{
				"Content-Length":   strconv.Itoa(len(set.Files[name])),
				"Accept-Ranges":    "bytes",
				"Content-Encoding": "",
				"X-Checksum-Sha1":  sha1Hex(set.Files[name]),
				"body":             e2etest.Md5Hex(set.Files[name]),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", name, set.Revision, diff)
			}
			tag := r.header.Get("Etag")
			if !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) {
				t.Errorf("ETag %s is not quoted", tag)
			}
			w.call(t, http.MethodGet, file2(set.Revision, name), header("If-None-Match", tag)).is(t, http.StatusNotModified)
		}
	}
}

func v2Range(t *testing.T, w *v2World) {
	for _, set := range []conantest.Set{w.hello, w.lib} {
		for _, name := range set.Names() {
			content := set.Files[name]
			r := w.call(t, http.MethodGet, file2(set.Revision, name), header("Range", "bytes=10-")).is(t, http.StatusPartialContent)
			if got, want := r.header.Get("Content-Range"), fmt.Sprintf("bytes 10-%d/%d", len(content)-1, len(content)); got != want {
				t.Errorf("%s: Content-Range %q, want %q", name, got, want)
			}
			if r.body != string(content[10:]) || r.header.Get("Content-Length") != strconv.Itoa(len(content)-10) {
				t.Errorf("%s: %d bytes, want %d", name, len(r.body), len(content)-10)
			}
		}
	}
}

func v2RangePastEnd(t *testing.T, w *v2World) {
	for _, name := range w.lib.Names() {
		size := len(w.lib.Files[name])
		for _, from := range []int{size, size + 1000} {
			w.call(t, http.MethodGet, file2(w.lib.Revision, name), header("Range", fmt.Sprintf("bytes=%d-", from))).is(t, http.StatusRequestedRangeNotSatisfiable)
		}
	}
}

func v2Resume(t *testing.T, w *v2World) {
	content := w.lib.Files["conan_package.tgz"]
	target := file2(w.lib.Revision, "conan_package.tgz")
	relay := conantest.NewRelay(t, w.address)
	through := &site{Conanproxy: w.Conanproxy, address: relay.Address, client: w.client}
	var got string
	for _, limit := range []int64{300_000, 200_000, -1} { // cut twice
		relay.ResetAfter(limit)
		var r reply
		var err error
		if got == "" {
			r, err = through.try(t, http.MethodGet, target)
		} else {
			r, err = through.try(t, http.MethodGet, target, header("Range", fmt.Sprintf("bytes=%d-", len(got))))
			r.is(t, http.StatusPartialContent)
		}
		if (limit >= 0) != (err != nil) {
			t.Fatalf("%d bytes, error %v", len(r.body), err)
		}
		if got == "" && r.header.Get("Accept-Ranges") != "bytes" {
			t.Fatal("the first answer has no Accept-Ranges: clients would not go on")
		}
		got += r.body
	}
	if got != string(content) {
		t.Error("the parts are not the file")
	}
}

func v2UnknownFile(t *testing.T, w *v2World) {
	for _, set := range []conantest.Set{w.hello, w.lib} {
		for _, name := range []string{"metadata/nothing", "conanfile.pyc", "nothing.txt", "conan_package.txz", "conan_export.tzst", "conaninfo.txt.bak"} {
			w.call(t, http.MethodGet, file2(set.Revision, name)).refuses(t, http.StatusNotFound)
			w.call(t, http.MethodHead, file2(set.Revision, name)).is(t, http.StatusNotFound)
		}
	}
	w.call(t, http.MethodGet, file2(w.hello.Revision, conan.InfoFile)).refuses(t, http.StatusNotFound)
	w.call(t, http.MethodGet, file2(w.lib.Revision, conan.RecipeFile)).refuses(t, http.StatusNotFound)
}

func v2Traversal(t *testing.T, w *v2World) {
	before := w.blobs(t)
	whole := file2(w.lib.Revision, conan.InfoFile) // /v2/conans/{0}/{1}/{2}/{3}/revisions/{4}/packages/{5}/revisions/{6}/files/{7}
	segments := strings.Split(whole, "/")
	for i, segment := range segments {
		switch segment {
		case "", "v2", "conans", "revisions", "packages", "files":
			continue
		}
		for _, bad := range []string{
			"..%2f..%2fsecret", "..%2F" + segment, "%2e%2e", "..", ".", "%2e", "..%5c..%5csecret", `..\..\secret`, segment + "%00", "%00", segment + "%2f", "",
			"%2fetc%2fpasswd", segment + "%0a", segment + "%2f..%2f" + segment, "%c0%ae%c0%ae",
		} {
			changed := slices.Clone(segments)
			changed[i] = bad
			path := strings.Join(changed, "/")
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
				r := w.call(t, method, path, w.as(t, "demo"), file([]byte("x")))
				want := []int{http.StatusNotFound}
				switch method {
				case http.MethodPut:
					want = []int{http.StatusBadRequest, http.StatusNotFound}
				case http.MethodDelete:
					want = []int{http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed}
				}
				if !slices.Contains(want, r.status) {
					t.Errorf("%s: %d %s", r.asked, r.status, shorten(r.body))
				}
			}
		}
	}
	for _, path := range []string{"/v2/conans/search/..%2f..%2fsecret", "/v2/../secret", "/v2//conans/search", "/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/local/..%2fsecret", "/upstream/..%2f../v2/ping", "/%2e%2e/secret"} {
		if r := w.call(t, http.MethodGet, path); r.status != http.StatusNotFound && r.status != http.StatusBadRequest {
			t.Errorf("%s: %d", r.asked, r.status)
		}
	}
	if diff := cmp.Diff(before, w.blobs(t)); diff != "" {
		t.Errorf("something was stored:\n%s", diff)
	}
	w.install2(t, "", nobody, w.hello)
	w.install2(t, "", nobody, w.lib)
}

func v2Redirect(t *testing.T, w *v2World) {
	recipe, pkg := sets2("redirects", "1.0")
	up := w.front.up(t, "redirects", recipe, pkg)
	var mu sync.Mutex
	var seen []http.Header
	bucket := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Header.Clone())
		mu.Unlock()
		http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(pkg.Files[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]))
	}))
	defer bucket.Close()
	for i, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect} {
		name := pkg.Names()[i]
		up.Fault(conantest.Fault{Route: "GET */packages/*/files/" + name, Status: status, Header: http.Header{"Location": {bucket.URL + "/bucket/" + name}}})
	}
	w.front.install2(t, "", nobody, recipe)
	w.front.install2(t, "", nobody, pkg) // wants 200 for every file
	mu.Lock()
	defer mu.Unlock()
	if len(seen) == 0 {
		t.Error("the other host was not asked")
	}
	for _, h := range seen {
		if h.Get("Authorization") != "" {
			t.Errorf("the other host got Authorization %q", h.Get("Authorization"))
		}
	}
	if !slices.ContainsFunc(up.Log(), func(r conantest.Request) bool { return r.Header.Get("Authorization") != "" }) {
		t.Error("upstream got no Authorization, so this shows nothing")
	}
}

func v2Head(t *testing.T, w *v2World) {
	told := func(r reply) map[string]string {
		out := make(map[string]string)
		for _, name := range slices.Sorted(maps.Keys(r.header)) {
			switch name {
			case "Date", "Age", "X-Cache": // change from one request to the next
			default:
				out[name] = strings.Join(r.header[name], "|")
			}
		}
		return out
	}
	targets := w.jsonTargets()
	for _, set := range []conantest.Set{w.hello, w.lib} {
		for _, name := range set.Names() {
			targets = append(targets, file2(set.Revision, name))
		}
	}
	for _, target := range targets {
		get, head := w.call(t, http.MethodGet, target).is(t, http.StatusOK), w.call(t, http.MethodHead, target).is(t, http.StatusOK)
		if head.body != "" || get.header.Get("Content-Length") == "" {
			t.Errorf("HEAD %s: body %q, Content-Length %q", target, head.body, get.header.Get("Content-Length"))
		}
		if diff := cmp.Diff(told(get), told(head)); diff != "" {
			t.Errorf("headers of %s (-GET +HEAD):\n%s", target, diff)
		}
	}
}
