package proxy

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

const helloV2 = "/v2/conans/hello/1.0/demo/testing"

// v2World has two recipe revisions, and packages in the newer one.
func v2World(t *testing.T) *world {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.local.have(t, "hello/1.0@demo/testing#r2", recipeFiles)
	w.local.have(t, "hello/1.0@demo/testing#r2:aaa1#p1", packageFiles)
	w.local.have(t, "hello/1.0@demo/testing#r2:aaa1#p2", changed(packageFiles, conan.InfoFile, info2))
	w.local.have(t, "hello/1.0@demo/testing#r2:bbb2#p1", packageFiles)
	return w
}

func TestV2JSON(t *testing.T) {
	w := v2World(t)
	raw := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	packages := `{"aaa1": {"content": ` + raw(info2) + `},
		"bbb2": {"content": ` + raw(info1) + `, "settings": {"os":"Linux","compiler.version":"9"}, "options": {"shared":"False"},
			"full_requires": ["zlib/1.3:0a1b"], "recipe_hash": "0123456789abcdef0123456789abcdef"}}`
	tests := []struct{ path, want string }{
		{"/latest", `{"revision":"r2","time":"2026-11-01T00:00:00.003000+00:00"}`},
		{"/revisions", `{"revisions":[{"revision":"r2","time":"2026-11-01T00:00:00.003000+00:00"},{"revision":"r1","time":"2026-11-01T00:00:00.001500+00:00"}]}`},
		{"/revisions/r2/packages/aaa1/latest", `{"revision":"p2","time":"2026-11-01T00:00:00.006000+00:00"}`},
		{"/revisions/r2/packages/aaa1/revisions", `{"revisions":[{"revision":"p2","time":"2026-11-01T00:00:00.006000+00:00"},{"revision":"p1","time":"2026-11-01T00:00:00.004500+00:00"}]}`},
		{"/revisions/r2/files", `{"files":{"conanfile.py":{},"conan_export.tgz":{},"conanmanifest.txt":{}}}`},
		{"/revisions/r2/packages/aaa1/revisions/p1/files", `{"files":{"conaninfo.txt":{},"conan_package.tgz":{},"conanmanifest.txt":{}}}`},
		{"/revisions/r2/search", packages},
		{"/search", packages},
		{"/revisions/r2/search?list_only=False", packages},
		{"/revisions/r2/search?list_only=True", `{"aaa1":{},"bbb2":{}}`},
		{"/revisions/r2/search?list_only=true", `{"aaa1":{},"bbb2":{}}`},
		{"/revisions/r1/search", `{}`},
		{"/latest?foo=bar", `{"revision":"r2","time":"2026-11-01T00:00:00.003000+00:00"}`},
	}
	for _, mount := range []string{"", "/local", "/packages/conan", "/api/v4/packages/conan", "/projects/all/packages/conan", "/api/v4/projects/local/packages/conan"} {
		for _, tt := range tests {
			t.Run(mount+tt.path, func(t *testing.T) { wantJSON(t, w.get(mount+helloV2+tt.path), tt.want) })
		}
	}
}

func TestV2Absent(t *testing.T) {
	w := v2World(t)
	for _, path := range []string{
		"/v2/conans/nope/1.0/_/_/latest", "/v2/conans/nope/1.0/_/_/revisions", "/v2/conans/nope/1.0/_/_/search",
		helloV2 + "/revisions/zzz/search", helloV2 + "/revisions/zzz/files", helloV2 + "/revisions/zzz/packages/aaa1/latest",
		helloV2 + "/revisions/r2/packages/zzz/latest", helloV2 + "/revisions/r2/packages/zzz/revisions",
		helloV2 + "/revisions/r2/packages/aaa1/revisions/zzz/files",
		helloV2 + "/revisions/r2/files/conan_sources.tgz", helloV2 + "/revisions/r2/files/metadata/x",
		helloV2 + "/revisions/zzz/files/conanfile.py",
		"/v2/conans/HELLO/1.0/demo/testing/latest",
		"/upstream/conancenter" + helloV2 + "/latest",
	} {
		resp := w.get(path)
		wantStatus(t, resp, http.StatusNotFound)
		if bodyOf(t, resp) == "" {
			t.Errorf("%s: no text", path)
		}
	}
}

func TestV2UserWithoutChannel(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/2.0@solo#r1", recipeFiles)
	wantStatus(t, w.get("/v2/conans/hello/2.0/solo/_/latest"), http.StatusOK)
	wantStatus(t, w.get("/v2/conans/hello/2.0/_/solo/latest"), http.StatusNotFound)
}

func TestV2TimeIsNeverTheEpoch(t *testing.T) {
	if got, want := wireTime(time.Time{}), "1970-01-01T00:00:01.000000+00:00"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestV2Upload(t *testing.T) {
	w := newWorld(t)
	put := func(path, body string, want int) {
		t.Helper()
		wantStatus(t, w.do(call{method: "PUT", path: path, user: "demo", body: body, header: map[string]string{"X-Checksum-Sha1": infoOf("", []byte(body)).SHA1}}), want)
	}
	recipe := helloV2 + "/revisions/r1/files/"
	put(recipe+"conan_export.tgz", recipeFiles["conan_export.tgz"], 200)
	put(recipe+"conanmanifest.txt", recipeFiles["conanmanifest.txt"], 400)
	wantStatus(t, w.get(helloV2+"/latest"), 404)
	wantStatus(t, w.get(helloV2+"/revisions/r1/files"), 404)
	wantJSON(t, w.get("/v2/conans/search"), `{"results":[]}`)
	put(recipe+"conanfile.py", recipeFiles["conanfile.py"], 200)
	put(recipe+"conanmanifest.txt", recipeFiles["conanmanifest.txt"], 200)
	wantStatus(t, w.get(helloV2+"/latest"), 200)

	for _, name := range []string{"a b.log", "i+j", "k;l", "ü", "deep/er/x.txt", "100%25", "sign/pkgsign-manifest.json"} {
		path := recipe + "metadata/" + strings.ReplaceAll(name, " ", "%20")
		put(path, "about "+name, 200)
		if got := bodyOf(t, w.get(path)); got != "about "+name {
			t.Errorf("metadata %q gives %q", name, got)
		}
		if resp := w.get(path); resp.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("metadata has Cache-Control %q", resp.Header.Get("Cache-Control"))
		}
	}
	wantJSON(t, w.get(helloV2+"/revisions/r1/files"), `{"files":{"conanfile.py":{},"conan_export.tgz":{},"conanmanifest.txt":{},
		"metadata/a b.log":{},"metadata/i+j":{},"metadata/k;l":{},"metadata/ü":{},"metadata/deep/er/x.txt":{},"metadata/100%":{},"metadata/sign/pkgsign-manifest.json":{}}}`)

	pkg := helloV2 + "/revisions/r1/packages/da39a3ee5e6b4b0d3255bfef95601890afd80709/revisions/p1/files/"
	put(pkg+"conan_package.tzst", "archive", 200)
	empty := w.do(call{method: "PUT", path: pkg + "conaninfo.txt", user: "demo", chunked: true, header: map[string]string{"X-Checksum-Sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}})
	wantStatus(t, empty, 200)
	put(pkg+"conanmanifest.txt", packageFiles["conanmanifest.txt"], 200)
	resp := w.get(pkg + "conaninfo.txt")
	if wantStatus(t, resp, 200); resp.Header.Get("Content-Length") != "0" {
		t.Errorf("an empty file has Content-Length %q", resp.Header.Get("Content-Length"))
	}
}

func TestV2PutRefusals(t *testing.T) {
	w := v2World(t)
	const file = helloV2 + "/revisions/r9/files/conanfile.py"
	tests := []struct {
		name string
		call call
		want int
	}{
		{"anonymous", call{path: file, body: "x"}, 401},
		{"not allowed", call{path: strings.Replace(file, "hello", "locked", 1), user: "demo", body: "x"}, 403},
		{"wrong sum", call{path: file, user: "demo", body: "x", header: map[string]string{"X-Checksum-Sha1": strings.Repeat("0", 40)}}, 400},
		{"view without writes", call{path: "/upstream/conancenter" + file, user: "demo", body: "x"}, 400},
		{"bad name", call{path: strings.Replace(file, "conanfile.py", "x.exe", 1), user: "demo", body: "x"}, 400},
		{"bad reference", call{path: strings.Replace(file, "hello", "-a", 1), user: "demo", body: "x"}, 400},
		{"Bearer unset", call{path: file, body: "x", header: map[string]string{"Authorization": "Bearer unset"}}, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.call.method = "PUT"
			wantStatus(t, w.do(tt.call), tt.want)
		})
	}
}

func TestV2ChecksumDeploy(t *testing.T) {
	w := v2World(t)
	w.local.have(t, "secret/1.0#r1", changed(recipeFiles, conan.RecipeFile, "class Secret"))
	probe := func(user, path, content string) *http.Response {
		t.Helper()
		return w.do(call{method: "PUT", path: path, user: user, header: map[string]string{
			"X-Checksum-Deploy": "true", "X-Checksum-Sha1": infoOf("", []byte(content)).SHA1}})
	}
	const file = helloV2 + "/revisions/r9/files/conanfile.py"
	wantStatus(t, probe("demo", file, "never seen"), http.StatusNotFound)
	wantStatus(t, probe("other", file, "class Secret"), http.StatusNotFound) // known bytes, but not to this user
	wantStatus(t, probe("", file, recipeFiles[conan.RecipeFile]), http.StatusUnauthorized)
	if len(w.local.stages) != 0 {
		t.Error("a refused probe stored something")
	}
	wantStatus(t, probe("demo", file, "class Secret"), http.StatusCreated)
	wantStatus(t, probe("demo", helloV2+"/revisions/r9/files/conan_export.tgz", recipeFiles["conan_export.tgz"]), http.StatusCreated)
	wantStatus(t, probe("demo", helloV2+"/revisions/r9/files/conanmanifest.txt", recipeFiles["conanmanifest.txt"]), http.StatusCreated)
	if got := bodyOf(t, w.get(file)); got != "class Secret" {
		t.Errorf("the linked file is %q", got)
	}
	noSum := w.do(call{method: "PUT", path: file, user: "demo", header: map[string]string{"X-Checksum-Deploy": "true"}})
	wantStatus(t, noSum, http.StatusNotFound)
}

func TestV2Deletes(t *testing.T) {
	tests := []struct {
		name, path string
		again      int
		gone, kept string
	}{
		{"reference", "", 404, "/latest", ""},
		{"recipe revision", "/revisions/r2", 404, "/revisions/r2/files", "/revisions/r1/files"},
		{"all packages", "/revisions/r2/packages", 404, "/revisions/r2/packages/bbb2/latest", "/revisions/r2/files"},
		{"package", "/revisions/r2/packages/aaa1", 404, "/revisions/r2/packages/aaa1/latest", "/revisions/r2/packages/bbb2/latest"},
		{"package revision", "/revisions/r2/packages/aaa1/revisions/p2", 404, "/revisions/r2/packages/aaa1/revisions/p2/files", "/revisions/r2/packages/aaa1/revisions/p1/files"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := v2World(t)
			wantStatus(t, w.do(call{method: "DELETE", path: helloV2 + tt.path}), http.StatusUnauthorized)
			wantStatus(t, w.do(call{method: "DELETE", path: helloV2 + tt.path, user: "demo"}), http.StatusOK)
			wantStatus(t, w.get(helloV2+tt.gone), http.StatusNotFound)
			if tt.kept != "" {
				wantStatus(t, w.get(helloV2+tt.kept), http.StatusOK)
			}
			wantStatus(t, w.do(call{method: "DELETE", path: helloV2 + tt.path, user: "demo"}), tt.again)
			if last := w.local.removals[len(w.local.removals)-1]; last.User != "demo" {
				t.Errorf("the removal names user %q", last.User)
			}
		})
	}
}

func TestPing(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		path string
		want string
	}{
		{"/v1/ping", "revisions,checksum_deploy"},
		{"/v2/ping", "revisions,checksum_deploy"},
		{"/local/v1/ping", "revisions,checksum_deploy"},
		{"/upstream/conancenter/v1/ping", "revisions"},
		{"/packages/conan/v1/ping", "revisions,checksum_deploy"},
		{"/api/v4/projects/conancenter/packages/conan/v1/ping", "revisions"},
	}
	for _, tt := range tests {
		for _, header := range []map[string]string{nil, {"Authorization": "Bearer broken"}, withBasic("demo", "wrong"), {"X-Client-Id": ""}} {
			for _, method := range []string{"GET", "HEAD"} {
				resp := w.do(call{method: method, path: tt.path, header: header})
				wantStatus(t, resp, http.StatusOK)
				if got := resp.Header.Get("X-Conan-Server-Capabilities"); got != tt.want {
					t.Errorf("%s %s announces %q, want %q", method, tt.path, got, tt.want)
				}
				if body := bodyOf(t, resp); body != "" {
					t.Errorf("%s %s has the body %q", method, tt.path, body)
				}
			}
		}
	}
	for _, path := range []string{"/upstream/nope/v1/ping", "/projects/nope/packages/conan/v1/ping", "/conan/v1/ping", "/a/b/v2/ping"} {
		wantStatus(t, w.get(path), http.StatusFailedDependency) // 404 would make clients skip the remote without a word
	}
}

func TestLogin(t *testing.T) {
	w := newWorld(t)
	expired := w.token("demo")
	w.now = w.now.Add(48 * time.Hour)
	tests := []struct {
		name   string
		header map[string]string
		login  int // status of authenticate
		check  int // status of check_credentials
	}{
		{"good", withBasic("demo", "demo"), 200, 200},
		{"password with a colon", withBasic("other", "pass:word"), 200, 200},
		{"UTF-8", withBasic("mü", "pä:ss"), 200, 200},
		{"wrong password", withBasic("demo", "nope"), 401, 401},
		{"unknown user", withBasic("nobody", "nope"), 401, 401},
		{"nothing", nil, 401, 401},
		{"bad base64", map[string]string{"Authorization": "Basic !!"}, 401, 401},
		{"good token", map[string]string{"Authorization": "Bearer " + w.token("demo")}, 401, 200},
		{"expired token", map[string]string{"Authorization": "Bearer " + expired}, 401, 401},
		{"unset", map[string]string{"Authorization": "Bearer unset"}, 401, 401},
	}
	for _, tt := range tests {
		for _, version := range []string{"/v1", "/v2"} {
			t.Run(tt.name+version, func(t *testing.T) {
				resp := w.do(call{method: "GET", path: version + "/users/authenticate", header: tt.header})
				wantStatus(t, resp, tt.login)
				if got := resp.Header.Get("WWW-Authenticate"); (tt.login == 401) != strings.HasPrefix(got, "Basic ") {
					t.Errorf("WWW-Authenticate %q", got)
				}
				body := bodyOf(t, resp)
				if resp.Header.Get("Content-Type") != textType || strings.Contains(body, "html>") || strings.HasSuffix(body, "\n") {
					t.Errorf("the body is %q as %q", body, resp.Header.Get("Content-Type"))
				}
				if tt.login == 200 {
					again := w.do(call{method: "GET", path: version + "/users/check_credentials", header: map[string]string{"Authorization": "Bearer " + body}})
					wantStatus(t, again, http.StatusOK)
				}
				wantStatus(t, w.do(call{method: "GET", path: version + "/users/check_credentials", header: tt.header}), tt.check)
			})
		}
	}
}

func TestBadTokenIs401EvenWhereAnonymousMayRead(t *testing.T) {
	w := v2World(t)
	for _, path := range []string{helloV2 + "/latest", helloPath + "/download_urls", helloV2 + "/revisions/r2/files/conanfile.py", "/v1/conans/search"} {
		resp := w.do(call{method: "GET", path: path, header: map[string]string{"Authorization": "Bearer old"}})
		wantStatus(t, resp, http.StatusUnauthorized)
	}
}

func TestValidTokenNeverGets401(t *testing.T) {
	w := v2World(t)
	w.local.have(t, "secret/1.0#r1", recipeFiles)
	for _, c := range []call{
		{method: "GET", path: "/v2/conans/secret/1.0/_/_/latest"},
		{method: "GET", path: "/v1/conans/secret/1.0/_/_/download_urls"},
		{method: "PUT", path: "/v2/conans/locked2/1.0/_/_/revisions/r1/files/conanfile.py", body: "x"},
		{method: "DELETE", path: "/v2/conans/locked/1.0/_/_"},
		{method: "POST", path: "/v1/conans/locked/1.0/_/_/upload_urls", body: "{}"},
	} {
		for _, user := range []string{"demo", "other"} {
			c.user = user
			if resp := w.do(c); resp.StatusCode == http.StatusUnauthorized {
				t.Errorf("%s %s as %s: 401", c.method, c.path, user)
			}
		}
	}
}
