package proxy

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/proxy/auth"
)

const helloPath = "/v1/conans/hello/1.0/demo/testing"

// upload does what Conan 1 does: upload_urls, then every file, in the order of their names.
func (w *world) upload(folder, user string, files map[string]string) {
	w.t.Helper()
	urls := urlsOf(w.t, w.do(call{method: "POST", path: folder + "/upload_urls", user: user, body: sizesOf(files)}))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		resp := w.do(call{method: "PUT", path: urls[name], body: files[name], header: map[string]string{"X-Checksum-Sha1": infoOf(name, []byte(files[name])).SHA1}})
		wantStatus(w.t, resp, http.StatusOK)
	}
}

func sizesOf(files map[string]string) string {
	sizes := map[string]int{}
	for name, body := range files {
		sizes[name] = len(body)
	}
	b, _ := json.Marshal(sizes)
	return string(b)
}

func TestV1UploadThenInstall(t *testing.T) {
	w := newWorld(t)
	w.upload(helloPath, "demo", recipeFiles)
	w.upload(helloPath+"/packages/0a1b", "demo", packageFiles)

	wantJSON(t, w.get(helloPath), `{
		"conanfile.py": "`+infoOf("", []byte(recipeFiles["conanfile.py"])).MD5+`",
		"conan_export.tgz": "`+infoOf("", []byte(recipeFiles["conan_export.tgz"])).MD5+`",
		"conanmanifest.txt": "`+infoOf("", []byte(recipeFiles["conanmanifest.txt"])).MD5+`"}`)

	for folder, files := range map[string]map[string]string{helloPath: recipeFiles, helloPath + "/packages/0a1b": packageFiles} {
		urls := urlsOf(t, w.get(folder+"/download_urls"))
		got := map[string]string{}
		for name, u := range urls {
			if !strings.HasPrefix(u, "/v1/files/hello/1.0/demo/testing/") || strings.Contains(u, "/0/") {
				t.Errorf("URL %q is not below the root or does not pin its revision", u)
			}
			resp := w.get(u)
			wantStatus(t, resp, http.StatusOK)
			got[name] = bodyOf(t, resp)
		}
		if diff := cmp.Diff(files, got); diff != "" {
			t.Errorf("files of %s (-uploaded +downloaded):\n%s", folder, diff)
		}
		digest := urlsOf(t, w.get(folder+"/digest"))
		if len(digest) != 1 || digest[conan.ManifestFile] != urls[conan.ManifestFile] {
			t.Errorf("digest of %s: %v, want the manifest only", folder, digest)
		}
	}
}

func TestV1AbsentIs404(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "bare/1.0@demo/testing#r1", recipeFiles)
	for _, path := range []string{
		helloPath, helloPath + "/digest", helloPath + "/download_urls", helloPath + "/search",
		helloPath + "/packages/0a1b", helloPath + "/packages/0a1b/digest", helloPath + "/packages/0a1b/download_urls",
		"/v1/conans/bare/1.0/demo/testing/packages/0a1b",
		"/v1/conans/bare/1.0/demo/testing/packages/0a1b/digest",
		"/v1/conans/bare/1.0/demo/testing/packages/0a1b/download_urls",
		"/v1/files/bare/1.0/demo/testing/r1/export/conan_sources.tgz",
		"/v1/files/hello/1.0/demo/testing/r1/export/conanfile.py",
	} {
		wantStatus(t, w.get(path), http.StatusNotFound)
	}
	wantJSON(t, w.get("/v1/conans/bare/1.0/demo/testing/search"), `{}`)
}

func TestV1WithoutManifestIsAbsent(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", map[string]string{conan.RecipeFile: "x"})
	for _, path := range []string{helloPath, helloPath + "/digest", helloPath + "/download_urls"} {
		wantStatus(t, w.get(path), http.StatusNotFound)
	}
}

func TestV1ListsOnlyItsOwnFiles(t *testing.T) {
	w := newWorld(t)
	files := changed(recipeFiles, "metadata/sign/a.txt", "x")
	files["conan_sources.tzst"] = "y"
	w.local.have(t, "hello/1.0@demo/testing#r1", files)
	want := []string{"conan_export.tgz", "conanfile.py", "conanmanifest.txt"}
	for _, path := range []string{helloPath, helloPath + "/download_urls"} {
		if got := slices.Sorted(maps.Keys(urlsOf(t, w.get(path)))); !slices.Equal(got, want) {
			t.Errorf("%s lists %v, want %v", path, got, want)
		}
	}
}

func TestV1UploadURLsRefusals(t *testing.T) {
	w := newWorld(t)
	w.local.room = 1 << 20
	tests := []struct {
		name, folder, user, body string
		want                     int
	}{
		{"anonymous", helloPath, "", `{"conanfile.py":1}`, 401},
		{"anonymous, without user and channel", "/v1/conans/nouc/1.0/_/_", "", `{"conanfile.py":1}`, 401},
		{"not allowed", "/v1/conans/locked/1.0/demo/testing", "demo", `{"conanfile.py":1}`, 403},
		{"unknown name", helloPath, "demo", `{"conanfile.py":1,"readme.md":1}`, 400},
		{"name of Conan 2", helloPath, "demo", `{"conan_sources.tzst":1}`, 400},
		{"file of a package", helloPath, "demo", `{"conaninfo.txt":1}`, 400},
		{"traversal", helloPath, "demo", `{"../x":1}`, 400},
		{"absolute", helloPath, "demo", `{"/etc/x":1}`, 400},
		{"backslash", helloPath, "demo", `{"a\\b":1}`, 400},
		{"no files", helloPath, "demo", `{}`, 400},
		{"null", helloPath, "demo", `null`, 400},
		{"list", helloPath, "demo", `["conanfile.py"]`, 400},
		{"junk", helloPath, "demo", `{"conanfile.py":1} x`, 400},
		{"no body", helloPath, "demo", ``, 400},
		{"negative size", helloPath, "demo", `{"conanfile.py":-1}`, 400},
		{"null size", helloPath, "demo", `{"conanfile.py":null}`, 400},
		{"fraction", helloPath, "demo", `{"conanfile.py":1.5}`, 400},
		{"empty conanfile.py", helloPath, "demo", `{"conanfile.py":0,"conanmanifest.txt":5}`, 400},
		{"empty manifest", helloPath, "demo", `{"conanmanifest.txt":0}`, 400},
		{"body of more than 1 MiB", helloPath, "demo", `{"` + strings.Repeat("x", 2<<20) + `":1}`, 400},
		{"no room", helloPath, "demo", `{"conan_sources.tgz":2000000}`, 400},
		{"package without a recipe", helloPath + "/packages/0a1b", "demo", `{"conaninfo.txt":0}`, 404},
		{"bad package id", helloPath + "/packages/a.b", "demo", `{"conaninfo.txt":1}`, 400},
		{"read-only view", "/upstream/conancenter" + helloPath, "demo", `{"conanfile.py":1}`, 405},
		{"channel without user", "/v1/conans/hello/1.0/_/testing", "demo", `{"conanfile.py":1}`, 400},
		{"user without channel", "/v1/conans/hello/1.0/demo/_", "demo", `{"conanfile.py":1}`, 400},
		{"version of one character", "/v1/conans/hello/1/demo/testing", "demo", `{"conanfile.py":1}`, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := w.do(call{method: "POST", path: tt.folder + "/upload_urls", user: tt.user, body: tt.body})
			wantStatus(t, resp, tt.want)
			if len(w.local.stages) != 0 {
				t.Error("a stage was made")
			}
			if resp.Header.Get("WWW-Authenticate") != "" {
				t.Error("WWW-Authenticate outside of authenticate")
			}
		})
	}
}

func TestV1UploadURLsHaveExactlyTheNamesAsked(t *testing.T) {
	w := newWorld(t)
	resp := w.do(call{method: "POST", path: "/local" + helloPath + "/upload_urls", user: "demo", body: sizesOf(recipeFiles)})
	urls := urlsOf(t, resp)
	if got, want := slices.Sorted(maps.Keys(urls)), slices.Sorted(maps.Keys(recipeFiles)); !slices.Equal(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
	for name, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil || parsed.Path != "/local/v1/files/hello/1.0/demo/testing/0/export/"+name || parsed.Query().Get("signature") == "" {
			t.Errorf("URL of %s is %q", name, u)
		}
	}
}

func TestV1PutRefusals(t *testing.T) {
	w := newWorld(t)
	urls := urlsOf(t, w.do(call{method: "POST", path: helloPath + "/upload_urls", user: "demo", body: sizesOf(recipeFiles)}))
	good := urls[conan.RecipeFile]
	body := recipeFiles[conan.RecipeFile]
	const unsigned = "/v1/files/hello/1.0/demo/testing/0/export/conanfile.py"
	other := strings.Replace(good, "/conanfile.py", "/conan_sources.tgz", 1)
	tests := []struct {
		name string
		call call
		want int
	}{
		{"another path", call{path: other, body: body}, 403},
		{"broken signature", call{path: unsigned + "?signature=abc", user: "demo", body: body}, 403},
		{"no signature, anonymous", call{path: unsigned, body: body}, 401},
		{"no signature, not allowed", call{path: strings.Replace(unsigned, "hello", "locked", 1), user: "demo", body: body}, 403},
		{"empty signature is none", call{path: unsigned + "?signature=", body: body}, 401},
		{"shorter than declared", call{path: good, body: body[1:]}, 400},
		{"longer than declared", call{path: good, body: body + "x"}, 400},
		{"chunked and longer", call{path: good, body: body + "x", chunked: true}, 400},
		{"wrong sum", call{path: good, body: body, header: map[string]string{"X-Checksum-Sha1": strings.Repeat("0", 40)}}, 400},
		{"sum that is none", call{path: good, body: body, header: map[string]string{"X-Checksum-Sha1": "zz"}}, 400},
		{"probe", call{path: unsigned, user: "demo", header: map[string]string{"X-Checksum-Deploy": "true", "X-Checksum-Sha1": infoOf("", []byte(body)).SHA1}}, 404},
		{"probe with a body", call{path: unsigned, user: "demo", body: body, header: map[string]string{"X-Checksum-Deploy": "true"}}, 400},
		{"chunked probe with a body", call{path: unsigned, user: "demo", body: body, chunked: true, header: map[string]string{"X-Checksum-Deploy": "true"}}, 400},
		{"anonymous probe", call{path: unsigned, header: map[string]string{"X-Checksum-Deploy": "true"}}, 401},
		{"signed for another view", call{path: "/local" + good, body: body}, 403},
		{"view without writes", call{path: "/upstream/conancenter" + unsigned, user: "demo", body: body}, 400},
		{"pinned revision", call{path: strings.Replace(unsigned, "/0/", "/r1/", 1), user: "demo", body: body}, 400},
		{"name that is none", call{path: "/v1/files/hello/1.0/demo/testing/0/export/x.exe", user: "demo", body: body}, 400},
		{"matrix parameters", call{path: "/v1/files;k=v/hello/1.0/demo/testing/0/export/conanfile.py", user: "demo", body: body}, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.call.method = "PUT"
			resp := w.do(tt.call)
			wantStatus(t, resp, tt.want)
			if tt.want == 403 && tt.call.user == "" && !strings.Contains(bodyOf(t, resp), "signature") {
				t.Error("the text does not say what is wrong with the signature")
			}
		})
	}
	if n := len(w.local.stages["stage0"].files); n != 0 {
		t.Errorf("%d files were stored", n)
	}
	wantStatus(t, w.get(helloPath), http.StatusNotFound)
}

func TestV1PutNeverAnswers5xx(t *testing.T) {
	for _, err := range []error{
		conan.ErrNoSpace, conan.ErrConflict, conan.ErrIncomplete, fmt.Errorf("disk broke"),
		&conan.UnavailableError{Member: "conancenter", Reason: "down"},
	} {
		t.Run(err.Error(), func(t *testing.T) {
			w := newWorld(t)
			w.local.putErr = err
			resp := w.do(call{method: "PUT", path: "/v1/files/hello/1.0/demo/testing/0/export/conanfile.py", user: "demo", body: "x"})
			if resp.StatusCode < 400 || resp.StatusCode >= 500 || resp.Header.Get("Retry-After") != "" {
				t.Errorf("status %d with Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
			}
			if strings.Contains(bodyOf(t, resp), "disk broke") {
				t.Error("an internal error was shown")
			}
		})
	}
}

func TestV1OldClientSendsManifestFirst(t *testing.T) {
	w := newWorld(t)
	urls := urlsOf(t, w.do(call{method: "POST", path: helloPath + "/upload_urls", user: "demo", body: sizesOf(recipeFiles)}))
	for i, name := range []string{conan.ManifestFile, conan.RecipeFile, "conan_export.tgz"} {
		wantStatus(t, w.get(helloPath), http.StatusNotFound)
		wantStatus(t, w.do(call{method: "PUT", path: urls[name], body: recipeFiles[name]}), http.StatusOK)
		if i == 2 {
			wantStatus(t, w.get(helloPath), http.StatusOK)
		}
	}
}

func TestV1UndeclaredManifestOverIncompleteSet(t *testing.T) {
	w := newWorld(t)
	put := func(name string, want int) {
		t.Helper()
		resp := w.do(call{method: "PUT", path: "/v1/files/hello/1.0/demo/testing/0/export/" + name, user: "demo", body: recipeFiles[name]})
		wantStatus(t, resp, want)
		if want == 400 && !strings.Contains(bodyOf(t, resp), conan.RecipeFile) {
			t.Error("the text does not name the missing file")
		}
	}
	put("conan_export.tgz", 200)
	put(conan.ManifestFile, 400)
	put(conan.RecipeFile, 200)
	put(conan.ManifestFile, 200)
	wantStatus(t, w.get(helloPath), http.StatusOK)
}

func TestV1ReaderOfOldURLsGetsTheOldSet(t *testing.T) {
	w := newWorld(t)
	w.upload(helloPath, "demo", recipeFiles)
	old := urlsOf(t, w.get(helloPath+"/download_urls"))
	w.upload(helloPath, "demo", changed(recipeFiles, conan.ManifestFile, "1795346700\nconanfile.py: 00000000000000000000000000000000\n"))
	if got := bodyOf(t, w.get(old[conan.ManifestFile])); got != recipeFiles[conan.ManifestFile] {
		t.Errorf("the old URL gives %q", got)
	}
	if now := urlsOf(t, w.get(helloPath+"/download_urls")); now[conan.ManifestFile] == old[conan.ManifestFile] {
		t.Error("the new set has the old URL")
	}
}

func TestV1RevisionZeroIsNewest(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", changed(recipeFiles, conan.RecipeFile, "old"))
	w.local.have(t, "hello/1.0@demo/testing#r2", changed(recipeFiles, conan.RecipeFile, "new"))
	w.local.have(t, "hello/1.0@demo/testing#r1:0a1b#p1", packageFiles)
	if got := bodyOf(t, w.get("/v1/files/hello/1.0/demo/testing/0/export/conanfile.py")); got != "new" {
		t.Errorf("revision 0 gives %q", got)
	}
	resp := w.get("/v1/files/hello/1.0/demo/testing/0/package/0a1b/0/conan_package.tgz")
	if got := bodyOf(t, resp); got != packageFiles["conan_package.tgz"] {
		t.Errorf("a package of an older recipe revision gives %q", got)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control of a revision that is not pinned: %q", got)
	}
}

func TestV1SignedDownloads(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "secret/1.0#r1", recipeFiles)
	const folder = "/v1/conans/secret/1.0/_/_"
	wantStatus(t, w.get(folder+"/download_urls"), http.StatusUnauthorized)
	wantStatus(t, w.do(call{method: "GET", path: folder + "/download_urls", user: "other"}), http.StatusForbidden)

	urls := urlsOf(t, w.do(call{method: "GET", path: folder + "/download_urls", user: "demo"}))
	signed := urls[conan.RecipeFile]
	path, query, _ := strings.Cut(signed, "?")
	if path != "/v1/files/secret/1.0/_/_/r1/export/conanfile.py" || !strings.HasPrefix(query, "signature=") {
		t.Fatalf("URL is %q", signed)
	}
	tests := []struct {
		name string
		call call
		want int
	}{
		{"signature only", call{path: signed}, 200},
		{"HEAD", call{method: "HEAD", path: signed}, 200},
		{"in another view", call{path: "/local" + signed}, 403},
		{"at another path of its view", call{path: "/projects/all/packages/conan" + signed}, 200},
		{"more query arguments", call{path: signed + "&foo=bar"}, 200},
		{"with unrelated credentials", call{path: signed, header: withBasic("x", "y")}, 200},
		{"another file", call{path: strings.Replace(signed, "conanfile.py", "conanmanifest.txt", 1)}, 403},
		{"for writing", call{method: "PUT", path: signed, body: "x"}, 403},
		{"garbled", call{path: signed + "x"}, 403},
		{"none, anonymous", call{path: path}, 401},
		{"none, not allowed", call{path: path, user: "other"}, 403},
		{"none, allowed", call{path: path, user: "demo"}, 200},
		{"an API token as signature", call{path: path + "?signature=" + w.token("demo")}, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.call.method == "" {
				tt.call.method = "GET"
			}
			wantStatus(t, w.do(tt.call), tt.want)
		})
	}
	w.now = w.now.Add(25 * time.Hour)
	resp := w.get(signed)
	wantStatus(t, resp, http.StatusForbidden)
	if text := bodyOf(t, resp); !strings.Contains(text, "expired") {
		t.Errorf("an expired signature is told as %q", text)
	}
}

func TestV1UploadSignatureDoesNotRead(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	urls := urlsOf(t, w.do(call{method: "POST", path: helloPath + "/upload_urls", user: "demo", body: sizesOf(recipeFiles)}))
	wantStatus(t, w.get(urls[conan.RecipeFile]), http.StatusForbidden)
}

func TestV1PackageSearch(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.local.have(t, "hello/1.0@demo/testing#r1:aaa1#p1", packageFiles)
	w.local.have(t, "hello/1.0@demo/testing#r2", recipeFiles)
	w.local.have(t, "hello/1.0@demo/testing#r2:bbb2#p1", changed(packageFiles, conan.InfoFile, info2))
	w.local.have(t, "hello/1.0@demo/testing#r2:ccc3#p1", changed(packageFiles, conan.InfoFile, ""))
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	want := `{
		"aaa1": {"content": ` + quoted(info1) + `, "settings": {"os":"Linux","compiler.version":"9"}, "options": {"shared":"False"},
			"full_requires": ["zlib/1.3:0a1b"], "recipe_hash": "0123456789abcdef0123456789abcdef"},
		"bbb2": {"content": ` + quoted(info2) + `, "settings": {"os":"Linux"}, "options": {}, "full_requires": [], "recipe_hash": null},
		"ccc3": {"content": "", "settings": {}, "options": {}, "full_requires": [], "recipe_hash": null}}`
	wantJSON(t, w.get(helloPath+"/search"), want)
	wantJSON(t, w.get(helloPath+"/search?q=os%3DLinux"), want)
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	for _, ref := range []string{"hello/1.0@demo/testing", "nouc/2.0", "zlib/1", "zlib-ng/1.0", "a+b/1.0+x.y", "secret/1.0", "hello/2.0@solo", "secret/2.0@xx/yy"} {
		if strings.HasPrefix(ref, "secret/2") || strings.HasPrefix(ref, "zlib-ng") {
			w.upstream.have(t, ref+"#r1", recipeFiles)
			continue
		}
		w.local.have(t, ref+"#r1", recipeFiles)
	}
	tests := []struct {
		path, user, agent string
		want              []string
	}{
		{"/v1/conans/search", "", "", []string{"a+b/1.0+x.y", "hello/1.0@demo/testing", "nouc/2.0", "zlib-ng/1.0"}},
		{"/v1/conans/search?q=", "demo", "", []string{"a+b/1.0+x.y", "hello/1.0@demo/testing", "nouc/2.0", "secret/1.0", "secret/2.0@xx/yy", "zlib-ng/1.0"}},
		{"/v2/conans/search?q=hello", "", "", []string{"hello/1.0@demo/testing", "hello/2.0@solo"}},
		{"/v2/conans/search?q=hello", "", "Conan/1.65.0 (Linux)", []string{"hello/1.0@demo/testing"}},
		{"/v2/conans/search?q=zlib", "", "Conan/2.9.0 (Linux)", []string{"zlib/1"}},
		{"/v2/conans/search?q=zlib%2F%2A", "", "", []string{"zlib/1"}},
		{"/v2/conans/search?q=a%2Bb%2F1.0%2B%2A", "", "", []string{"a+b/1.0+x.y"}},
		{"/v1/conans/search?q=HELLO%2A", "", "", []string{"hello/1.0@demo/testing"}},
		{"/v1/conans/search?q=HELLO%2A&ignorecase=False", "", "", []string{}},
		{"/v1/conans/search?q=HELLO%2A&ignorecase=0", "", "", []string{"hello/1.0@demo/testing"}},
		{"/v1/conans/search?q=hell", "", "", []string{}},
		{"/v1/conans/search?q=%5B", "", "", []string{}},
		{"/v1/conans/search?q=hello&foo=bar", "", "", []string{"hello/1.0@demo/testing"}},
		{"/v1/conans/search?q=secret%2A", "other", "", []string{}},
		{"/local/v1/conans/search?q=zlib-ng", "", "", []string{}},
		{"/upstream/conancenter/v1/conans/search", "demo", "", []string{"secret/2.0@xx/yy", "zlib-ng/1.0"}},
	}
	for _, tt := range tests {
		t.Run(tt.path+" "+tt.user+tt.agent, func(t *testing.T) {
			resp := w.do(call{method: "GET", path: tt.path, user: tt.user, header: map[string]string{"User-Agent": tt.agent}})
			want, _ := json.Marshal(map[string][]string{"results": tt.want})
			wantJSON(t, resp, string(want))
		})
	}
	for path, want := range map[string]int{
		"/v1/conans/search?q=secret%2F%2A":                 401, // whatever it finds, it is secret
		"/v1/conans/search?q=secret%2A":                    200, // it might find more
		"/v1/conans/search?q=%ff":                          400,
		"/v1/conans/search?q=" + strings.Repeat("a", 9000): 400,
	} {
		wantStatus(t, w.get(path), want)
	}
}

func TestV1Removals(t *testing.T) {
	type step struct {
		method, path, user, body string
		want                     int
	}
	const remove = "/packages/delete"
	tests := []struct {
		name  string
		steps []step
	}{
		{"recipe twice", []step{{"DELETE", "", "demo", "", 200}, {"DELETE", "", "demo", "", 404}, {"GET", "", "", "", 404}}},
		{"anonymous, existing", []step{{"DELETE", "", "", "", 401}, {"GET", "", "", "", 200}}},
		{"all packages, then none", []step{{"POST", remove, "demo", `{"package_ids":[]}`, 200}, {"POST", remove, "demo", `{"package_ids":[]}`, 404}}},
		{"one package", []step{{"POST", remove, "demo", `{"package_ids":["aaa1"]}`, 200}, {"GET", "/packages/aaa1", "", "", 404}, {"GET", "/packages/bbb2", "", "", 200}}},
		{"known and unknown", []step{{"POST", remove, "demo", `{"package_ids":["aaa1","zzz9"]}`, 404}, {"GET", "/packages/aaa1", "", "", 200}}},
		{"junk", []step{{"POST", remove, "demo", `{}`, 400}, {"POST", remove, "demo", `{"package_ids":null}`, 400}, {"POST", remove, "demo", `["x"]`, 400}, {"POST", remove, "demo", `{"package_ids":[".."]}`, 400}}},
		{"packages, anonymous", []step{{"POST", remove, "", `{"package_ids":[]}`, 401}}},
		{"files", []step{{"POST", "/remove_files", "demo", `{"files":["conan_export.tgz"]}`, 200}, {"POST", "/remove_files", "demo", `{"files":["conan_sources.tgz"]}`, 200}}},
		{"files that cannot go", []step{{"POST", "/remove_files", "demo", `{"files":["conanfile.py"]}`, 400}, {"POST", "/remove_files", "demo", `{"files":["../../x"]}`, 400}, {"POST", "/remove_files", "demo", `{}`, 400}}},
		{"files, anonymous", []step{{"POST", "/remove_files", "", `{"files":[]}`, 401}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
			w.local.have(t, "hello/1.0@demo/testing#r1:aaa1#p1", packageFiles)
			w.local.have(t, "hello/1.0@demo/testing#r1:bbb2#p1", packageFiles)
			for i, s := range tt.steps {
				resp := w.do(call{method: s.method, path: helloPath + s.path, user: s.user, body: s.body})
				if resp.StatusCode != s.want {
					t.Errorf("step %d: status %d (%s), want %d", i, resp.StatusCode, bodyOf(t, resp), s.want)
				}
			}
		})
	}
}

func TestAnonymousDeleteOfMissingIs401(t *testing.T) {
	w := newWorld(t)
	wantStatus(t, w.do(call{method: "DELETE", path: helloPath}), http.StatusUnauthorized)
	wantStatus(t, w.do(call{method: "DELETE", path: "/v2/conans/hello/1.0/demo/testing/revisions/r1/packages"}), http.StatusUnauthorized)
}

func TestDeleteOfWhatUpstreamHas(t *testing.T) {
	w := newWorld(t)
	w.upstream.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	resp := w.do(call{method: "DELETE", path: helloPath, user: "demo"})
	wantStatus(t, resp, http.StatusConflict) // clients hide the text of a 404
	if text := bodyOf(t, resp); !strings.Contains(text, "conancenter") || !strings.Contains(text, "exclude") {
		t.Errorf("text %q names neither the upstream nor the rule", text)
	}
	resp = w.do(call{method: "DELETE", path: "/upstream/conancenter" + helloPath, user: "demo"})
	wantStatus(t, resp, http.StatusMethodNotAllowed)
}

func TestV1Authorize(t *testing.T) {
	w := newWorld(t)
	w.local.room = 100
	const recipe = "/v1/files/hello/1.0/demo/testing/0/export/conanfile.py/authorize"
	tests := []struct {
		name, path, user, body string
		want                   int
	}{
		{"recipe file", recipe, "demo", "", 200},
		{"package file", "/v1/files/hello/1.0/demo/testing/0/package/0a1b/0/conaninfo.txt/authorize", "demo", "", 200},
		{"anonymous", recipe, "", "", 401},
		{"not allowed", strings.Replace(recipe, "hello", "locked", 1), "demo", "", 403},
		{"bad name", strings.Replace(recipe, "conanfile.py", "x.exe", 1), "demo", "", 400},
		{"bad reference", strings.Replace(recipe, "hello", "-a", 1), "demo", "", 400},
		{"pinned", strings.Replace(recipe, "/0/", "/r1/", 1), "demo", "", 400},
		{"no room", recipe, "demo", strings.Repeat("x", 101), 400},
		{"read-only view", "/upstream/conancenter" + recipe, "demo", "", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := w.do(call{method: "PUT", path: tt.path, user: tt.user, body: tt.body})
			wantStatus(t, resp, tt.want)
			if tt.want != 200 {
				return
			}
			u := urlsOf(t, resp)["url"]
			if u+"/authorize" != tt.path {
				t.Errorf("url %q", u)
			}
		})
	}
	if len(w.local.stages) != 0 {
		t.Error("something was stored")
	}
}

// A signed URL is worth what its user may do when it is used.
func TestSignedURLsEndWithRights(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "secret/1.0#r1", recipeFiles)
	download := urlsOf(t, w.do(call{method: "GET", path: "/v1/conans/secret/1.0/_/_/download_urls", user: "demo"}))[conan.RecipeFile]
	upload := urlsOf(t, w.do(call{method: "POST", path: helloPath + "/upload_urls", user: "demo", body: sizesOf(recipeFiles)}))[conan.RecipeFile]
	w.setRules(readRules[1:], writeRules[1:])
	wantStatus(t, w.get(download), http.StatusOK)
	w.setRules(nil, nil)
	wantStatus(t, w.get(download), http.StatusForbidden)
	wantStatus(t, w.do(call{method: "PUT", path: upload, body: recipeFiles[conan.RecipeFile]}), http.StatusForbidden)
	w.setRules(readRules, writeRules)
	wantStatus(t, w.do(call{method: "PUT", path: upload, body: recipeFiles[conan.RecipeFile]}), http.StatusOK)
}

// A URL that was signed for an anonymous caller is no invitation to log in once the rules changed.
func TestAnonymousSignaturesEndWithRights(t *testing.T) {
	w := newWorld(t)
	everybody := []auth.Rule{{Pattern: "*", Users: []string{"*"}}}
	w.setRules(everybody, everybody)
	upload := urlsOf(t, w.do(call{method: "POST", path: helloPath + "/upload_urls", body: sizesOf(recipeFiles)}))[conan.RecipeFile]
	w.setRules(readRules, writeRules)
	wantStatus(t, w.do(call{method: "PUT", path: upload, body: recipeFiles[conan.RecipeFile]}), http.StatusForbidden)
}

// What installs asks for next is fetched ahead; commands that only look do not cause it.
func TestPrefetch(t *testing.T) {
	for path, want := range map[string]int{
		helloV2 + "/latest": 1, helloV2 + "/revisions/r1/files": 1, helloPath + "/download_urls": 1,
		helloPath: 0, helloPath + "/digest": 0, helloPath + "/packages/aaa1/download_urls": 0, helloV2 + "/revisions": 0,
	} {
		w := newWorld(t)
		w.upstream.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
		w.upstream.have(t, "hello/1.0@demo/testing#r1:aaa1#p1", packageFiles)
		began := 0
		w.upstream.prefetch = func() { began++ }
		wantStatus(t, w.get(path), http.StatusOK)
		if began != want {
			t.Errorf("%s began %d, want %d", path, began, want)
		}
	}
}
