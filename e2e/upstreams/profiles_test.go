package upstreams

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// clients are the generations of clients.
var clients = []struct {
	name string
	make func(testing.TB, string) *e2etest.Client
	sets []conantest.Option
}{
	{"Conan 2", e2etest.NewConan2, nil},
	{"Conan 1", e2etest.NewConan1, []conantest.Option{conantest.Conan1()}},
}

// library is a recipe with a binary for Linux.
func library(name string, options ...conantest.Option) (recipe, pkg conantest.Set) {
	recipe = conantest.Recipe(name, "1.0", options...)
	return recipe, conantest.Package(recipe, append(options, conantest.File("marker.txt", "from upstream"))...)
}

// TestProfiles: both generations install from every known server, cold, warm, and with it stopped.
func TestProfiles(t *testing.T) {
	t.Parallel()
	for name, o := range conantest.Profiles() {
		for _, client := range clients {
			t.Run(name+", "+client.name, func(t *testing.T) {
				t.Parallel()
				recipe, pkg := library("zlib", client.sets...)
				settings := harness.Settings{"allow_networks": []string{"127.0.0.0/8", "::1/128"}}
				if !o.Profile.NoUsersRoutes { // the locked form of the server asks for more
					o.Private, o.Users = true, map[string]string{"me": "s3cret"}
					settings["username"], settings["password"] = "me", "s3cret"
				}
				up := conantest.NewServerWith(t, o, recipe, pkg)
				proxy := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{harness.Upstream("up", up.URL, settings)}})
				first := client.make(t, proxy.URL())
				first.Install("zlib/1.0", "-s", "os=Linux")
				hasMarker(t, first)
				up.Stop()
				second := first.Fresh(t)
				second.Install("zlib/1.0", "-s", "os=Linux")
				hasMarker(t, second)
			})
		}
	}
}

// hasMarker looks for the package's file in the client's own cache.
func hasMarker(t *testing.T, c *e2etest.Client) {
	t.Helper()
	found := errors.New("found")
	err := filepath.WalkDir(c.Path(""), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "marker.txt" {
			return found
		}
		return err
	})
	if !errors.Is(err, found) {
		t.Errorf("the package is not installed: %v", err)
	}
}

// TestRefusedPackage: one package that upstream does not give, in whatever words, fails with these,
// is asked for once, and all others are installed as ever.
func TestRefusedPackage(t *testing.T) {
	t.Parallel()
	const route = "*/refused/*/conan_package.tgz*"
	tests := map[string]struct {
		fault conantest.Fault
		says  string
		asked int
	}{
		"policy":   {conantest.Refused(route), "blocked by policy 'no-gpl'", 1},
		"web page": {conantest.HTML(route), "web page instead of the file", 1},
		"500 in text": {conantest.Fault{Route: route, Status: http.StatusInternalServerError, Body: conantest.Text("out of luck")},
			"status 500: out of luck", 3}, // a 500 is tried again inside the question
		"501": {conantest.Fault{Route: route, Status: http.StatusNotImplemented}, "status 501", 1},
	}
	for name, test := range tests {
		for _, client := range clients {
			t.Run(name+", "+client.name, func(t *testing.T) {
				t.Parallel()
				zlib, zlibPkg := library("zlib", client.sets...)
				bad, badPkg := library("refused", client.sets...)
				up := conantest.NewServerWith(t, conantest.Profiles()["artifactory"], zlib, zlibPkg, bad, badPkg)
				up.Fault(test.fault)
				proxy := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{harness.Upstream("up", up.URL)}})
				c := client.make(t, proxy.URL())
				for attempt := range 3 {
					out, ok := c.Try(c.InstallArgs("refused/1.0", "-s", "os=Linux")...)
					if ok {
						t.Fatalf("the client succeeded:\n%s", out)
					}
					// Clients print nothing but the status of a file that fails, but the text of a
					// list: that one is refused as soon as the refusal of the file is known.
					if attempt > 0 && !strings.Contains(out, test.says) {
						t.Fatalf("the client does not say why:\n%s", out)
					}
				}
				if n := up.Count(route); n != test.asked {
					t.Errorf("the refused file was asked for %d times, want %d", n, test.asked)
				}
				c.Install("zlib/1.0", "-s", "os=Linux")
				hasMarker(t, c)
			})
		}
	}
}

// TestNoConanRemote: a URL without a Conan server behind it is an error that says so, and never a
// package that does not exist.
func TestNoConanRemote(t *testing.T) {
	t.Parallel()
	answers := map[string]conantest.Fault{
		"ping alone":      {Route: "*/v1/ping", Status: http.StatusOK},
		"JSON everywhere": {Route: "*", Status: http.StatusOK, ContentType: "application/json", Body: conantest.Text(`{"status":"ok"}`)},
	}
	for name, fault := range answers {
		for _, client := range clients {
			t.Run(name+", "+client.name, func(t *testing.T) {
				t.Parallel()
				up := conantest.NewServerWith(t, conantest.Profiles()["artifactory"])
				up.Fault(fault)
				proxy := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{
					harness.Upstream("up", strings.TrimSuffix(up.URL, "/api/conan/conan-local")),
				}})
				c := client.make(t, proxy.URL())
				c.Fails([]string{"is not a Conan remote", "/api/conan/REPOSITORY"}, c.InstallArgs("zlib/1.0", "--build=missing")...)
			})
		}
	}
}
