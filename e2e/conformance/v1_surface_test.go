package conformance

import (
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conantest"
)

func v1Ping(t *testing.T, w *v1World) {
	for name, who := range map[string]tweak{
		"nobody":         w.as(t, nobody),
		"demo":           w.as(t, "demo"),
		"broken token":   bearer("no.such.token"),
		"expired token":  bearer(w.expired(t, "demo")),
		"wrong password": basic("demo", "wrong"),
		"odd scheme":     header("Authorization", "Negotiate abc"),
	} {
		r := w.call(t, http.MethodGet, "/v1/ping", who).is(t, http.StatusOK)
		capabilities := strings.Split(r.header.Get("X-Conan-Server-Capabilities"), ",")
		if !slices.Contains(capabilities, "revisions") || slices.Contains(capabilities, "only_v2") || slices.Contains(capabilities, "oauth_token") {
			t.Errorf("%s: capabilities %q", name, capabilities)
		}
		if r.body != "" {
			t.Errorf("%s: body %q, want none", name, r.body)
		}
	}
}

func v1Authenticate(t *testing.T, w *v1World) {
	r := w.call(t, http.MethodGet, "/v1/users/authenticate", basic("demo", "demo")).is(t, http.StatusOK)
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("Content-Type %q", kind)
	}
	if r.body == "" || strings.ContainsAny(r.body, " \r\n\"") {
		t.Errorf("token %q, want one word", r.body)
	}
	who := w.call(t, http.MethodGet, "/v1/users/check_credentials", bearer(r.body)).is(t, http.StatusOK)
	if who.body != "demo" {
		t.Errorf("the token is of %q", who.body)
	}
}

func v1AuthenticateRefuses(t *testing.T, w *v1World) {
	encoded := base64.StdEncoding.EncodeToString
	for name, who := range map[string]tweak{
		"wrong password": basic("demo", "wrong"),
		"no password":    basic("demo", ""),
		"unknown user":   basic("eve", "eve"),
		"no header":      w.as(t, nobody),
		"token":          bearer(w.token(t, "demo")),
		"bad base64":     header("Authorization", "Basic !!!"),
		"no colon":       header("Authorization", "Basic "+encoded([]byte("demo"))),
	} {
		t.Run(name, func(t *testing.T) {
			r := w.call(t, http.MethodGet, "/v1/users/authenticate", who, from("192.0.2.3")).refuses(t, http.StatusUnauthorized)
			if got := r.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic ") {
				t.Errorf("WWW-Authenticate %q", got)
			}
		})
	}
	r := w.call(t, http.MethodGet, "/v1/users/authenticate", basic("colon", colonPassword)).is(t, http.StatusOK)
	if who := w.call(t, http.MethodGet, "/v1/users/check_credentials", bearer(r.body)).is(t, http.StatusOK); who.body != "colon" {
		t.Errorf("logged in as %q", who.body)
	}
}

func v1CheckCredentials(t *testing.T, w *v1World) {
	const target = "/v1/users/check_credentials"
	for name, who := range map[string]tweak{"token": w.as(t, "ann"), "Basic": basic("ann", "ann")} {
		if r := w.call(t, http.MethodGet, target, who).is(t, http.StatusOK); r.body != "ann" {
			t.Errorf("%s: body %q, want the user", name, r.body)
		}
	}
	w.call(t, http.MethodGet, target).refuses(t, http.StatusUnauthorized)
	w.call(t, http.MethodGet, target, bearer(w.expired(t, "ann"))).refuses(t, http.StatusUnauthorized, "expired")
	w.call(t, http.MethodGet, target, basic("ann", "wrong"), from("192.0.2.4")).refuses(t, http.StatusUnauthorized)
}

// jsonTargets are the GET routes that answer with JSON.
func (w *v1World) jsonTargets() []string {
	return []string{
		"/v1/conans/search", "/v1/conans/search?q=hello",
		path1(w.hello.Revision), path1(w.hello.Revision) + "/digest", path1(w.hello.Revision) + "/download_urls", path1(w.hello.Revision) + "/search",
		path1(w.lib.Revision), path1(w.lib.Revision) + "/digest", path1(w.lib.Revision) + "/download_urls",
	}
}

// getTargets are all GET routes, in a form that is 200.
func (w *v1World) getTargets() []string {
	targets := append(w.jsonTargets(), "/v1/ping", "/v2/ping", "/", "/local", "/healthz", "/readyz", "/version")
	for _, set := range []conantest.Set{w.hello, w.lib} {
		for _, name := range set.Names() {
			targets = append(targets, file1(set.Revision, name), file2(set.Revision, name))
		}
		targets = append(targets, path2(set.Revision.With(""))+"/latest", path2(set.Revision.With(""))+"/revisions", path2(set.Revision)+"/files")
	}
	return append(targets, path2(w.hello.Revision.With(""))+"/search", path2(w.hello.Revision)+"/search", "/v2/conans/search")
}

func v1JSON(t *testing.T, w *v1World) {
	for _, target := range w.jsonTargets() {
		decode[map[string]any](t, w.call(t, http.MethodGet, target))
		decode[map[string]any](t, w.call(t, http.MethodGet, target, header("Accept", "text/html"), header("Accept-Charset", "latin1")))
	}
	w.announce(t, "demo", w.hello.Revision, w.hello.Files)
	w.announce(t, "demo", w.lib.Revision, w.lib.Files)
}

func v1Exactly200(t *testing.T, w *v1World) {
	set := conantest.Recipe("exactly", "1.0", conantest.Conan1())
	one, two := conantest.Package(set, conantest.Conan1()), conantest.Package(set, conantest.Conan1(), conantest.Setting("os", "Macos"))
	w.publish1(t, "demo", set, one, two)
	demo := w.as(t, "demo")
	done := func(r reply) {
		t.Helper()
		if r.is(t, http.StatusOK).body != "" {
			t.Errorf("%s: body %q, want none", r.asked, r.body)
		}
	}
	w.call(t, http.MethodGet, "/v1/users/check_credentials", demo).is(t, http.StatusOK)
	done(w.call(t, http.MethodPost, path1(set.Revision)+"/remove_files", demo, asJSON(map[string]any{"files": []string{"conan_export.tgz"}})))
	done(w.call(t, http.MethodPost, path1(set.Revision)+"/packages/delete", demo, asJSON(map[string]any{"package_ids": []string{one.PackageID}})))
	done(w.call(t, http.MethodPost, path1(set.Revision)+"/packages/delete", demo, asJSON(map[string]any{"package_ids": []string{}})))
	done(w.call(t, http.MethodDelete, path1(set.Revision), demo))
}

func v1UnknownRoutes(t *testing.T, w *v1World) {
	demo := w.as(t, "demo")
	for _, target := range []string{
		"/v1", "/v1/nothing", "/v1/users", "/v1/users/token", "/v3/ping", "/v1/conans", "/v1/conans/hello", "/v1/conans/hello/1.0/demo",
		path1(w.hello.Revision) + "/nothing", path1(w.hello.Revision) + "/packages", path1(w.lib.Revision) + "/search",
		path1(w.lib.Revision) + "/digest/more", "/v1/files", "/v1/files/hello/1.0/demo/testing/0/export",
	} {
		w.call(t, http.MethodGet, target, demo).refuses(t, http.StatusNotFound)
		if strings.HasPrefix(target, "/v1/users/token") {
			w.call(t, http.MethodPost, target, demo, text("")).refuses(t, http.StatusNotFound)
		}
	}
	for target, methods := range map[string][]string{
		path1(w.hello.Revision):                  {http.MethodPut, http.MethodPost, http.MethodPatch},
		path1(w.hello.Revision) + "/digest":      {http.MethodPut, http.MethodPost, http.MethodDelete},
		path1(w.hello.Revision) + "/upload_urls": {http.MethodGet, http.MethodPut, http.MethodDelete},
		path1(w.lib.Revision):                    {http.MethodPut, http.MethodPost, http.MethodDelete},
		"/v1/users/authenticate":                 {http.MethodPost, http.MethodPut},
		"/v1/ping":                               {http.MethodPost, http.MethodDelete},
		file1(w.hello.Revision, "conanfile.py"):  {http.MethodPost, http.MethodDelete},
	} {
		for _, method := range methods {
			w.call(t, method, target, demo, text("")).refuses(t, http.StatusMethodNotAllowed)
		}
	}
	w.install1(t, "", nobody, w.hello)
}

func v1Head(t *testing.T, w *v1World) {
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
	for _, target := range w.getTargets() {
		get, head := w.call(t, http.MethodGet, target).is(t, http.StatusOK), w.call(t, http.MethodHead, target).is(t, http.StatusOK)
		if head.body != "" {
			t.Errorf("HEAD %s has a body", target)
		}
		if get.header.Get("Content-Length") == "" {
			t.Errorf("GET %s has no Content-Length", target)
		}
		if diff := cmp.Diff(told(get), told(head)); diff != "" {
			t.Errorf("headers of %s (-GET +HEAD):\n%s", target, diff)
		}
	}
	w.call(t, http.MethodHead, "/v1/users/authenticate", basic("demo", "demo")).is(t, http.StatusOK)
	w.call(t, http.MethodHead, "/v1/users/check_credentials", w.as(t, "demo")).is(t, http.StatusOK)
	w.call(t, http.MethodHead, "/v1/conans/nothing/1.0/_/_").is(t, http.StatusNotFound)
}

func v1UnknownArguments(t *testing.T, w *v1World) {
	for _, target := range w.getTargets() {
		mark := "?"
		if strings.Contains(target, "?") {
			mark = "&"
		}
		want := w.call(t, http.MethodGet, target).is(t, http.StatusOK)
		got := w.call(t, http.MethodGet, target+mark+"foo=bar&baz").is(t, http.StatusOK)
		if diff := cmp.Diff(want.body, got.body); diff != "" {
			t.Errorf("%s with an unknown argument (-without +with):\n%s", target, diff)
		}
	}
	set := conantest.Recipe("arguments", "1.0", conantest.Conan1())
	demo := w.as(t, "demo")
	urls := decode[map[string]string](t, w.call(t, http.MethodPost, path1(set.Revision)+"/upload_urls?foo=bar", demo, asJSON(sizesOf(set.Files))))
	for name, target := range urls {
		w.call(t, http.MethodPut, target+"&foo=bar", file(set.Files[name])).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)
	w.call(t, http.MethodPost, path1(set.Revision)+"/remove_files?foo=bar", demo, asJSON(map[string]any{"files": []string{}})).is(t, http.StatusOK)
	w.call(t, http.MethodPost, path1(set.Revision)+"/packages/delete?foo=bar", demo, asJSON(map[string]any{"package_ids": []string{}})).is(t, http.StatusNotFound)
	w.call(t, http.MethodDelete, path1(set.Revision)+"?foo=bar", demo).is(t, http.StatusOK)
	w.invisible(t, set)
}

func v1UncleanPaths(t *testing.T, w *v1World) {
	request := func(method, path string) reply {
		return w.raw(t, method+" "+path+" HTTP/1.1\r\nHost: conan\r\nAuthorization: Bearer "+w.token(t, "demo")+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false)
	}
	hello := path1(w.hello.Revision)
	for _, path := range []string{
		"//v1/ping", "/v1//ping", "/v1/ping/", "/" + hello, hello + "/", strings.Replace(hello, "/v1/", "/v1//", 1),
		"//" + strings.TrimPrefix(file1(w.hello.Revision, "conanfile.py"), "/"), file1(w.hello.Revision, "conanfile.py") + "/", "/./v1/ping", "/v1/../v1/ping",
	} {
		request(http.MethodGet, path).refuses(t, http.StatusNotFound)
		for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
			want := http.StatusBadRequest
			if strings.HasSuffix(path, "/") {
				want = http.StatusNotFound
			}
			if r := request(method, path).refuses(t, want); r.header.Get("Location") != "" {
				t.Errorf("%s: redirected to %s", r.asked, r.header.Get("Location"))
			}
		}
	}
	w.install1(t, "", nobody, w.hello)
}

func v1ForeignHeaders(t *testing.T, w *v1World) {
	odd := []tweak{
		header("artifact_property_build.name", "nightly"), header("X-Client-Id", ""), header("X-Client-Anonymous-Id", "0123456789abcdef"),
		header("X-Conan-Client-Version", "1.4.5"), header("Conan-PkgID-Settings", "arch=x86_64;os=Linux"), header("X-Unheard-Of", "ä"),
		header("User-Agent", "Conan/1.65.0 (Linux 6.1; Python 3.11; x86_64)"),
	}
	set := conantest.Recipe("headers", "1.0", conantest.Conan1())
	urls := decode[map[string]string](t, w.call(t, http.MethodPost, path1(set.Revision)+"/upload_urls", append(odd, w.as(t, "demo"), asJSON(sizesOf(set.Files)))...))
	for name, target := range urls {
		w.call(t, http.MethodPut, target, append(odd, file(set.Files[name]))...).is(t, http.StatusOK)
	}
	for _, target := range append(w.jsonTargets(), path1(set.Revision)+"/download_urls") {
		w.call(t, http.MethodGet, target, odd...).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)
}

func v1MatrixParameters(t *testing.T, w *v1World) {
	if r := w.call(t, http.MethodGet, "/v1/ping"); strings.Contains(r.header.Get("X-Conan-Server-Capabilities"), "matrix_params") {
		t.Fatal("matrix_params is announced; then this case is another one")
	}
	set := conantest.Recipe("matrix", "1.0", conantest.Conan1())
	demo := w.as(t, "demo")
	before := w.blobs(t)
	for _, name := range set.Names() {
		target := strings.Replace(file1(set.Revision, name), "/v1/files/", "/v1/files;build=1;k=v/", 1)
		w.call(t, http.MethodPut, target, demo, file(set.Files[name])).refuses(t, http.StatusNotFound)
		w.call(t, http.MethodPut, strings.Replace(target, "k=v", "k=v%2F2", 1), demo, file(set.Files[name])).refuses(t, http.StatusBadRequest)
		w.call(t, http.MethodPut, strings.Replace(file1(set.Revision, name), "/matrix/", "/matrix;k=v/", 1), demo, file(set.Files[name])).refuses(t, http.StatusBadRequest)
		w.call(t, http.MethodPut, file1(set.Revision, name)+";k=v", demo, file(set.Files[name])).refuses(t, http.StatusBadRequest)
	}
	w.invisible(t, set)
	if diff := cmp.Diff(before, w.blobs(t)); diff != "" {
		t.Errorf("something was stored:\n%s", diff)
	}
	for _, ref := range w.found(t, "v2", "") {
		if strings.Contains(ref, ";") {
			t.Errorf("search lists %q", ref)
		}
	}
}
