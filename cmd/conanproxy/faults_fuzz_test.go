package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"conanproxy/internal/conantest"
	"conanproxy/internal/config"
)

// FuzzSurface sends anything to the whole server, with its real stores and an upstream: no panic
// and no 500.
func FuzzSurface(f *testing.F) {
	recipe := conantest.Recipe("hello", "1.0", conantest.Owner("demo", "testing"), conantest.File("data.yml", "x"))
	pkg := conantest.Package(recipe)
	v1, v2 := "/v1/conans/"+recipe.Ref.Path(), "/v2/conans/"+recipe.Ref.Path()
	v2recipe := v2 + "/revisions/" + recipe.RRev
	v2pkg := v2recipe + "/packages/" + pkg.PackageID
	files := "/v1/files/" + recipe.Ref.Path() + "/" + recipe.RRev
	for _, path := range []string{
		"/", "/metrics", "/v1/ping", "/v2/users/authenticate", "/v2/users/check_credentials", "/v1/conans/search?q=he*&ignorecase=False",
		v1, v1 + "/digest", v1 + "/download_urls", v1 + "/search?q=os%3DLinux", v1 + "/packages/" + pkg.PackageID + "/digest",
		v2 + "/latest", v2 + "/revisions", v2recipe + "/search?list_only=True", v2recipe + "/files", v2recipe + "/files/conanfile.py", v2pkg + "/latest",
		v2pkg + "/revisions/" + pkg.PRev + "/files/conan_package.tgz", files + "/export/conanfile.py", files + "/package/" + pkg.PackageID + "/" + pkg.PRev + "/conaninfo.txt",
		"/local" + v2 + "/latest", "/upstream/origin" + v2 + "/latest", "/api/v4/projects/all/packages/conan" + v2 + "/latest",
	} {
		f.Add("GET", path, "Range", "bytes=0-9", "")
		f.Add("HEAD", path, "If-None-Match", `"x"`, "")
		f.Add("PUT", path, "X-Checksum-Sha1", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "text")
	}
	f.Add("PUT", "/local"+v2recipe+"/files/conanmanifest.txt", "X-Checksum-Deploy", "true", string(recipe.Files["conanmanifest.txt"]))
	f.Add("POST", v1+"/upload_urls", "Content-Type", "application/json", `{"conanfile.py": 3, "conanmanifest.txt": 4}`)
	f.Add("POST", v1+"/remove_files", "Content-Type", "application/json", `{"files": ["conanfile.py"]}`)
	f.Add("POST", v1+"/packages/delete", "Content-Type", "application/json", `{"package_ids": []}`)
	f.Add("DELETE", v2pkg, "Authorization", "Bearer x", "")

	handler, token, logs := fuzzedServer(f, recipe, pkg)
	f.Fuzz(func(t *testing.T, method, path, name, value, body string) {
		if !strings.HasPrefix(path, "/") || len(body) > 1<<16 {
			return
		}
		req, err := http.NewRequest(method, "http://x"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set(name, value)
		req.RemoteAddr = "127.0.0.1:1"
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		if rec.Code == http.StatusInternalServerError || rec.Code < 200 {
			t.Errorf("%s %q with %q: %q: status %d, %s; log: %v", method, path, name, value, rec.Code, rec.Body, logs.TakeAll())
		}
		if rec.Code == http.StatusServiceUnavailable && !strings.Contains(rec.Body.String(), "origin") {
			t.Errorf("%s %q: 503 that names no upstream: %s", method, path, rec.Body)
		}
	})
}

// fuzzedServer is the whole server, and the token of a user with all rights.
func fuzzedServer(f *testing.F, sets ...conantest.Set) (http.Handler, string, *observer.ObservedLogs) {
	f.Helper()
	dir, err := os.MkdirTemp("", "conanproxy-fuzz-")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	origin := conantest.NewServer(f, conantest.V2, sets...)
	cfg := config.Default()
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.Auth.HtpasswdFile = filepath.Join(dir, "users")
	if err := os.WriteFile(cfg.Auth.HtpasswdFile, []byte("demo:"+demoHash(f)+"\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	cfg.Cache.MinFree, cfg.Cache.Memory = 0, 8<<20
	up := cfg.Upstreams[0]
	up.Name, up.URL, up.Clients = "origin", origin.URL, "any"
	cfg.Upstreams = []config.Upstream{up}
	core, observed := observer.New(zap.ErrorLevel)
	logs := quiet()
	logs.app = zap.New(core)
	s, err := newServer(context.Background(), cfg, logs)
	if err != nil {
		f.Fatal(err)
	}
	s.start()
	f.Cleanup(s.close)
	req := httptest.NewRequest(http.MethodGet, "/v2/users/authenticate", nil)
	req.SetBasicAuth("demo", "demo")
	rec := httptest.NewRecorder()
	s.http.ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		f.Fatalf("login: %d %s", rec.Code, rec.Body)
	}
	return s.http, rec.Body.String(), observed
}

func demoHash(f *testing.F) string {
	f.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("demo"), bcrypt.MinCost)
	if err != nil {
		f.Fatal(err)
	}
	return string(hash)
}
