package conantest

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"conanproxy/internal/conan"
)

// TestProfiles looks at what tells the servers apart on the wire.
func TestProfiles(t *testing.T) {
	recipe := Recipe("zlib", "1.3", File("a", "a"))
	pkg := Package(recipe)
	ref, rev := "/v2/conans/zlib/1.3/_/_", "/v2/conans/zlib/1.3/_/_/revisions/"+recipe.RRev
	manifest := rev + "/files/conanmanifest.txt"
	sums, _ := recipe.Snapshot().Find(conan.ManifestFile)
	tests := map[string]struct {
		profile, route string
		private        bool
		status         int
		header         map[string]string // "" means none
		body           string            // a part of it
	}{
		"ping":                      {"artifactory", "/v1/ping", false, 200, map[string]string{"X-Conan-Server-Capabilities": "complex_search,checksum_deploy,revisions,matrix_params", "X-Conan-Server-Version": "0.20.0"}, ""},
		"locked ping":               {"artifactory", "/v1/ping", true, 401, map[string]string{"X-Conan-Server-Capabilities": "", "Www-Authenticate": `Basic realm="Artifactory Realm"`}, "Bad Credentials"},
		"JSON":                      {"artifactory", ref + "/latest", false, 200, map[string]string{"Content-Length": "", "Content-Type": "application/json"}, "\n  \"revision\""},
		"times":                     {"artifactory", ref + "/latest", false, 200, nil, "2026-01-02T03:04:05.678+0000"},
		"key of package revisions":  {"artifactory", rev + "/packages/" + pkg.PackageID + "/revisions", false, 200, nil, "packageReference"},
		"not found":                 {"artifactory", "/v2/conans/no/1/_/_/latest", false, 404, map[string]string{"Content-Type": "application/json"}, `"message" : "Not Found"`},
		"other API":                 {"artifactory", "/v1/conans/zlib/1.3/_/_/digest", false, 400, nil, "Unsupported Conan v1"},
		"file":                      {"artifactory", manifest, false, 200, map[string]string{"ETag": sums.SHA1, "X-Checksum-Sha256": sums.SHA256, "Accept-Ranges": "bytes", "Content-Disposition": "attachment; filename=conanmanifest.txt"}, "conanfile.py"},
		"unknown is empty":          {"artifactory virtual", "/v2/conans/no/1/_/_/revisions", false, 200, nil, `"revisions": []`},
		"redirect":                  {"artifactory cloud", manifest, false, 302, nil, ""},
		"login of v2 at v1":         {"artifactory 6, v1", "/v2/users/authenticate", false, 500, nil, "Unsupported Conan v2"},
		"locked ping, empty header": {"artifactory 6, v1", "/v1/ping", true, 401, map[string]string{"Www-Authenticate": `Basic realm="Artifactory Realm"`}, ""},
		"cached JSON":               {"conancenter", ref + "/revisions", false, 200, map[string]string{"Cache-Control": "public,max-age=300", "ETag": ""}, ""},
		"no users":                  {"conancenter", "/v2/users/authenticate", false, 404, nil, ""},
		"HTML not found":            {"nexus", "/v2/conans/no/1/_/_/latest", false, 404, map[string]string{"Content-Type": "text/html"}, "Nexus"},
		"search by prefix":          {"gitlab", "/v2/conans/search?q=zl", false, 200, nil, `["zlib/1.3"]`},
		"search for all":            {"gitlab", "/v2/conans/search?q=*", false, 200, nil, `{"results":[]}`},
		"v1 of a missing recipe":    {"gitlab", "/v1/conans/no/1.0/acme/dev", false, 200, nil, "{}"},
		"parsed packages":           {"gitlab", rev + "/search", false, 200, nil, `"settings":{"os":"Linux"}`},
		"announced, not there":      {"gitlab, instance", ref + "/latest", false, 404, nil, "404 Package Not Found"},
		"latest alone":              {"gitlab, no revisions", ref + "/latest", false, 200, nil, recipe.RRev},
		"no list":                   {"gitlab, no revisions", ref + "/revisions", false, 404, nil, ""},
		"null files":                {"gitea", rev + "/files", false, 200, nil, `"conanfile.py":null`},
		"anonymous login":           {"gitea", "/v2/users/authenticate", false, 400, nil, ""},
		"Gitea's times":             {"gitea", ref + "/latest", false, 200, nil, "2026-01-02T03:04:05+00:00"},
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o, ok := Profiles()[test.profile]
			if !ok {
				t.Fatalf("no profile %q", test.profile)
			}
			o.Private = test.private
			srv := NewServerWith(t, o, recipe, pkg)
			resp, err := client.Get(srv.URL + test.route)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != test.status || !strings.Contains(string(body), test.body) {
				t.Errorf("status %d, want %d; error %v; body %s", resp.StatusCode, test.status, err, body)
			}
			for key, want := range test.header {
				if got := resp.Header.Get(key); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
		})
	}
	srv := NewServerWith(t, Profiles()["nexus"], recipe)
	resp, err := client.Head(srv.URL + manifest)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("HEAD of a file of Nexus is %d", resp.StatusCode)
	}
}
