package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"conanproxy/internal/conan"
)

func TestUncleanPathsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	bad := []string{"..", ".", "%2e%2e", "..%2f..%2fetc", "..%5c", "a%2Fb", "a%00b", "ab%0A", "a%20b", "-a", "%C3%A4", "*", strings.Repeat("a", 10_000), "%FF", "a%7Fb"}
	templates := []string{
		"/v1/conans/{}/1.0/demo/testing", "/v1/conans/hello/{}/demo/testing", "/v1/conans/hello/1.0/{}/testing", "/v1/conans/hello/1.0/demo/{}",
		"/v1/conans/hello/1.0/demo/testing/packages/{}", "/v1/files/hello/1.0/demo/testing/{}/export/conanfile.py", "/v1/files/hello/1.0/demo/testing/0/export/{}",
		"/v1/files/{}/{}/etc/passwd", "/v1/files/hello/1.0/demo/testing/0/package/{}/0/conaninfo.txt", "/v1/files/hello/1.0/demo/testing/0/package/aa/{}/conaninfo.txt",
		"/v2/conans/{}/1.0/demo/testing/latest", "/v2/conans/hello/{}/demo/testing/revisions", helloV2 + "/revisions/{}/files", helloV2 + "/revisions/{}/search",
		helloV2 + "/revisions/r1/files/{}", helloV2 + "/revisions/r1/files/metadata/../{}", helloV2 + "/revisions/r1/packages/{}/latest",
		helloV2 + "/revisions/r1/packages/aa/revisions/{}/files/conaninfo.txt",
	}
	for _, template := range templates {
		for _, segment := range bad {
			path := strings.ReplaceAll(template, "{}", segment)
			for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "POST"} {
				resp := w.do(call{method: method, path: path, user: "demo", body: "x"})
				if resp.StatusCode != 404 && resp.StatusCode != 400 && resp.StatusCode != 405 {
					t.Errorf("%s %.200s: status %d", method, path, resp.StatusCode)
				}
				if method == "GET" && resp.StatusCode != 404 {
					t.Errorf("GET %.200s: status %d, want 404, so that clients ask their next remote", path, resp.StatusCode)
				}
			}
		}
	}
	if len(w.local.stages) != 0 || len(w.local.revisions) != 1 {
		t.Error("something was stored or deleted")
	}
}

// A name that no view has is shown to the client, and its segment means no other place.
func TestUnknownViews(t *testing.T) {
	w := newWorld(t)
	for _, template := range []string{"/upstream/{}", "/r/{}", "/projects/{}/packages/conan", "/api/v4/projects/{}/packages/conan"} {
		for _, name := range []string{"nope", "a%20b", "-a", "*", "%C3%A4", strings.Repeat("a", 10_000), "%FF"} {
			for _, rest := range []string{"", "/v1/ping", "/v2/ping", "/v1/conans/search", helloV2 + "/latest", "/metrics"} {
				resp := w.get(strings.ReplaceAll(template, "{}", name) + rest)
				if text := bodyOf(t, resp); resp.StatusCode != http.StatusFailedDependency || !strings.Contains(text, "no store, upstream or view") || len(text) > 300 {
					t.Errorf("%.100s%s: status %d, %q", name, rest, resp.StatusCode, text)
				}
			}
		}
		for _, name := range []string{"..", ".", "%2e%2e", "..%2f..%2fetc", "a%2Fb", "a%00b", "a%7Fb"} {
			wantStatus(t, w.get(strings.ReplaceAll(template, "{}", name)+"/v1/conans/search"), http.StatusNotFound)
		}
	}
}

func TestEscapedAndPlainPathsAreOne(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "png++/1.2+3@u+u/c.c#r1", recipeFiles)
	for _, path := range []string{
		"/v2/conans/png++/1.2+3/u+u/c.c/latest", "/v2/conans/png%2B%2B/1.2%2B3/u%2Bu/c.c/latest", "/v2/conans/png%2b+/1.2%2b3/u+u/c%2Ec/latest",
	} {
		wantStatus(t, w.get(path), http.StatusOK)
	}
	urls := urlsOf(t, w.get("/v1/conans/png++/1.2+3/u+u/c.c/download_urls"))
	if got, want := urls[conan.RecipeFile], "/v1/files/png++/1.2+3/u+u/c.c/r1/export/conanfile.py"; got != want {
		t.Errorf("URL %q, want %q", got, want)
	}
}

func TestUnknownRoutes(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/nothing", 404}, {"GET", "/v1", 404}, {"GET", "/v3/ping", 404}, {"GET", "/v1/ping/", 404}, {"GET", "/v1//ping", 404}, {"GET", "//v1/ping", 404},
		{"PUT", "/v1//ping", 400}, {"DELETE", "/v2//conans", 400}, {"POST", "/v1/ping/", 404},
		{"PUT", "/v1/ping", 405}, {"POST", "/v1/users/authenticate", 405}, {"PUT", "/v1/conans/search", 405}, {"PATCH", helloV2 + "/latest", 405},
		{"GET", "/local/healthz", 404}, {"GET", "/upstream/conancenter/metrics", 404}, {"GET", "/local/local/v1/conans/search", 404},
		{"GET", "/upstream/nope/v1/conans/search", 424}, {"GET", "/r/nope/v1/ping", 424}, {"GET", "/r/nope", 424}, {"PUT", "/r/nope/x", 424}, {"GET", "/upstream", 404}, {"GET", "/projects/all/v1/ping2", 404},
		{"PUT", "/v2/conans;k=v/hello/1.0/demo/testing/revisions/r1/files/conanfile.py", 404},
		{"POST", helloPath + "/packages/aa/remove_files", 404},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			req := httptest.NewRequest(tt.method, "/x", strings.NewReader("body"))
			req.URL.Path = tt.path // httptest takes //v1 for a host
			rec := httptest.NewRecorder()
			w.server.ServeHTTP(rec, req)
			resp := rec.Result()
			wantStatus(t, resp, tt.want)
			if tt.want == 405 && resp.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
}

func TestHeadIsGetWithoutBody(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.local.have(t, "hello/1.0@demo/testing#r1:aa#p1", packageFiles)
	for _, path := range []string{
		"/", "/healthz", "/readyz", "/version", "/v1/ping", "/v2/ping", "/v1/users/check_credentials", "/v1/users/authenticate", "/v1/conans/search",
		helloPath, helloPath + "/digest", helloPath + "/download_urls", helloPath + "/search",
		helloPath + "/packages/aa", helloPath + "/packages/aa/digest", helloPath + "/packages/aa/download_urls",
		"/v1/files/hello/1.0/demo/testing/r1/export/conanfile.py", "/v1/files/hello/1.0/demo/testing/r1/package/aa/p1/conan_package.tgz",
		helloV2 + "/latest", helloV2 + "/revisions", helloV2 + "/search", helloV2 + "/revisions/r1/files", helloV2 + "/revisions/r1/search",
		helloV2 + "/revisions/r1/files/conan_export.tgz", helloV2 + "/revisions/r1/packages/aa/latest", helloV2 + "/revisions/r1/packages/aa/revisions",
		helloV2 + "/revisions/r1/packages/aa/revisions/p1/files", helloV2 + "/revisions/r1/packages/aa/revisions/p1/files/conaninfo.txt",
		helloV2 + "/revisions/zz/files", "/nothing",
	} {
		get, head := w.get(path), w.do(call{method: "HEAD", path: path})
		if get.StatusCode != head.StatusCode {
			t.Errorf("%s: GET %d, HEAD %d", path, get.StatusCode, head.StatusCode)
		}
		for _, name := range []string{"Content-Type", "Content-Length", "ETag", "Accept-Ranges", "X-Cache", "X-Conanproxy-Source"} {
			if get.Header.Get(name) != head.Header.Get(name) {
				t.Errorf("%s: %s is %q for GET and %q for HEAD", path, name, get.Header.Get(name), head.Header.Get(name))
			}
		}
		if body := bodyOf(t, head); body != "" {
			t.Errorf("%s: HEAD has the body %q", path, body)
		}
		if get.Header.Get("Content-Length") == "" {
			t.Errorf("%s: no Content-Length", path)
		}
	}
}

func TestReadOnlyWithoutPublisher(t *testing.T) {
	w := newWorld(t)
	views := w.views()
	for i := range views {
		views[i].Publisher = nil
	}
	w.setViews(views...)
	wantStatus(t, w.do(call{method: "POST", path: helloPath + "/upload_urls", user: "demo", body: "{}"}), http.StatusMethodNotAllowed)
	wantStatus(t, w.do(call{method: "PUT", path: helloV2 + "/revisions/r1/files/conanfile.py", user: "demo", body: "x"}), http.StatusBadRequest)
}

func TestSetSettingsReplacesViews(t *testing.T) {
	w := newWorld(t)
	wantStatus(t, w.get("/upstream/conancenter/v1/ping"), http.StatusOK)
	w.setViews(w.views()[:2]...)
	wantStatus(t, w.get("/upstream/conancenter/v1/conans/search"), http.StatusFailedDependency)
	wantStatus(t, w.get("/v1/ping"), http.StatusOK)
}

func TestSettingsRefuseBadOptions(t *testing.T) {
	w := newWorld(t)
	guard, r := w.guard, w.views()[0].Resolver
	for name, o := range map[string]SettingsOptions{
		"no guard":            {},
		"relative public URL": {Guard: guard, PublicURL: "conan.example.com"},
		"other scheme":        {Guard: guard, PublicURL: "ftp://x"},
		"URL with query":      {Guard: guard, PublicURL: "https://x/?a=b"},
		"relative base path":  {Guard: guard, BasePath: "conan"},
		"dotted base path":    {Guard: guard, BasePath: "/a/../b"},
		"no resolver":         {Guard: guard, Views: []View{{Name: "a"}}},
		"no name":             {Guard: guard, Views: []View{{Resolver: r}}},
		"one name twice":      {Guard: guard, Views: []View{{Name: "a", Resolver: r}, {Name: "a", Path: "/b", Resolver: r}}},
		"one path twice":      {Guard: guard, Views: []View{{Name: "a", Resolver: r}, {Name: "b", Resolver: r}}},
		"relative path":       {Guard: guard, Views: []View{{Name: "a", Path: "b", Resolver: r}}},
		"slash at the end":    {Guard: guard, Views: []View{{Name: "a", Path: "/b/", Resolver: r}}},
		"one more path twice": {Guard: guard, Views: []View{{Name: "a", Resolver: r}, {Name: "b", Path: "/b", Also: []string{""}, Resolver: r}}},
		"long path":           {Guard: guard, Views: []View{{Name: "a", Path: "/b/c/d", Resolver: r}}},
	} {
		if _, err := NewSettings(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a server without settings")
	}
}

// Views have the names that the configuration gives them.
func TestViewsMayHaveAnyName(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	team := w.view("team", "/r/team", w.storeMember())
	team.Also = []string{"/local"}
	w.setViews(w.view("default", "", w.upstreamMember()), team)
	for _, prefix := range []string{
		"/r/team", "/local", "/projects/team/packages/conan", "/api/v4/projects/team/packages/conan", "/projects/local/packages/conan",
	} {
		wantStatus(t, w.get(prefix+helloV2+"/latest"), http.StatusOK)
	}
	for _, prefix := range []string{"", "/packages/conan", "/projects/default/packages/conan", "/projects/all/packages/conan"} {
		wantStatus(t, w.get(prefix+helloV2+"/latest"), http.StatusNotFound)
	}
	refused := w.do(call{method: "PUT", path: helloV2 + "/revisions/r1/files/conanfile.py", user: "demo", body: "x"})
	wantStatus(t, refused, http.StatusBadRequest)
	if text := bodyOf(t, refused); !strings.Contains(text, "use /r/team") {
		t.Errorf("the text %q does not say where to upload", text)
	}
}

// FuzzRoutes sends anything to the whole surface: no panic, no internal error, no redirect.
func FuzzRoutes(f *testing.F) {
	for _, path := range append(hotPaths, "/", "/metrics", "/local/v1/ping", "/v2/conans/%2e%2e/x", "/api/v4/projects/all/packages/conan/v1/ping") {
		f.Add("GET", path, "", "")
		f.Add("PUT", path, "bytes=0-", "{}")
	}
	f.Add("POST", helloPath+"/upload_urls", "", `{"conanfile.py":1}`)
	f.Add("POST", helloPath+"/packages/delete", "", `{"package_ids":["a"]}`)
	f.Add("PUT", helloV2+"/revisions/r1/files/metadata/x", "", "body")
	f.Add("DELETE", helloV2+"/revisions/r1", "", "")
	f.Add("GET", helloPath+"?signature=x&q=%5B&list_only=TRUE", "bytes=1-2,3-4", "")
	f.Fuzz(func(t *testing.T, method, path, ranges, body string) {
		target, ok := strings.CutPrefix(path, "/")
		if !ok {
			return
		}
		req, err := http.NewRequest(method, "http://x/"+target, strings.NewReader(body))
		if err != nil {
			return
		}
		w := newWorld(t)
		w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
		w.local.have(t, "hello/1.0@demo/testing#r1:aaa1#p1", packageFiles)
		req.Header.Set("Authorization", "Bearer "+w.token("demo"))
		req.Header.Set("Range", ranges)
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, req)
		if rec.Code >= 500 || rec.Code >= 300 && rec.Code < 400 {
			t.Errorf("%s %q: status %d, %s", method, path, rec.Code, rec.Body)
		}
		if n := w.log.FilterMessage("panic").Len(); n > 0 {
			t.Errorf("%s %q: a panic", method, path)
		}
	})
}
