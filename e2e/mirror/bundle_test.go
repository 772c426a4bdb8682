// Package mirror lets real clients use what was carried from one server to another.
package mirror

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

func TestMain(m *testing.M) { e2etest.Main(m) }

// closed are the settings of a server without upstreams that demo administers.
func closed(more ...harness.Settings) harness.Settings {
	s := harness.Settings{"upstreams": []harness.Settings{}, "auth": harness.Settings{"admin": []string{"demo"}}}
	for _, m := range more {
		for key, value := range m {
			s[key] = value
		}
	}
	return s
}

// TestAirGap: everything that clients published at one server is carried to another one by a
// bundle. Every body of the second is that of the first, and a client installs from it.
func TestAirGap(t *testing.T) {
	t.Parallel()
	from, to := e2etest.StartConanproxy(t, closed()), e2etest.StartConanproxy(t, closed())
	for name, client := range map[string]func(testing.TB, string) *e2etest.Client{
		"conan2": e2etest.NewConan2, "conan1": e2etest.NewConan1Revisions,
	} {
		publisher := client(t, from.URL("r", "local")).As("ann", "ann")
		for _, code := range []string{"", "# better\n"} { // two recipe revisions
			publisher.Create(e2etest.Recipe(t, "lib", `name = "lib"`, `name = "lib-`+name+`"`, "from conan", code+"from conan"), "acme/stable")
			publisher.Upload("lib-" + name + "/*")
		}
	}
	file := filepath.Join(t.TempDir(), "all.bundle")
	ann, demo := e2etest.NewOperator(t, from, "ann"), e2etest.NewOperator(t, to, "demo")
	e2etest.Says(t, ann.Must("bundle", "create", "--from", "local", "--output", file, "*#*:*#*"), "8 revisions", "signed: false")
	e2etest.Says(t, ann.Must("bundle", "verify", file), "8 revisions")
	e2etest.NewOperator(t, to, "ann").Fails(1, "administrators", "bundle", "apply", file, "--to", "local")
	e2etest.Says(t, demo.Must("bundle", "apply", file, "--to", "local", "--dry-run"), "8 revisions, 0 skipped", "nothing was changed")
	e2etest.Says(t, demo.Must("bundle", "apply", file, "--to", "local"), "8 revisions, 0 skipped")
	e2etest.Says(t, demo.Must("bundle", "apply", file, "--to", "local"), "0 revisions, 8 skipped")
	e2etest.Says(t, demo.Must("audit"), "import", "bundle ")
	sameBodies(t, from, to)

	for name, client := range map[string]func(testing.TB, string) *e2etest.Client{
		"conan2": e2etest.NewConan2, "conan1": e2etest.NewConan1Revisions,
	} {
		ref := "lib-" + name + "/1.0@acme/stable"
		one, other := client(t, from.URL("r", "local")), client(t, to.URL("r", "local"))
		one.Install(ref)
		other.Install(ref)
		e2etest.SameTree(t, "lib-"+name, one, other)
	}
	damage(t, demo, file)
}

// sameBodies compares every answer about references, revisions, packages and files.
func sameBodies(t *testing.T, from, to *e2etest.Conanproxy) {
	t.Helper()
	count := 0
	same := func(path string) {
		t.Helper()
		count++
		status, _, want := e2etest.Get(t, from.URL("r", "local")+path)
		other, _, got := e2etest.Get(t, to.URL("r", "local")+path)
		if status != http.StatusOK || other != status || got != want {
			t.Errorf("%s: %d %.300s, want %d %.300s", path, other, got, status, want)
		}
	}
	list := func(node string) (ids []string) {
		var answer struct{ Revisions []struct{ Revision string } }
		e2etest.GetJSON(t, from.URL("r", "local")+node+"/revisions", &answer)
		for _, r := range answer.Revisions {
			ids = append(ids, r.Revision)
		}
		return ids
	}
	same("/v2/conans/search?q=*")
	for _, name := range []string{"lib-conan1", "lib-conan2"} {
		ref := "/v2/conans/" + name + "/1.0/acme/stable"
		same(ref + "/latest")
		same(ref + "/revisions")
		for _, rrev := range list(ref) {
			recipe := ref + "/revisions/" + rrev
			same(recipe + "/search")
			sameFiles(t, from, recipe, same)
			var packages map[string]any
			e2etest.GetJSON(t, from.URL("r", "local")+recipe+"/search", &packages)
			for id := range packages {
				pkg := recipe + "/packages/" + id
				same(pkg + "/latest")
				same(pkg + "/revisions")
				for _, prev := range list(pkg) {
					sameFiles(t, from, pkg+"/revisions/"+prev, same)
				}
			}
		}
	}
	if count < 50 {
		t.Errorf("only %d answers were compared", count)
	}
}

func sameFiles(t *testing.T, from *e2etest.Conanproxy, revision string, same func(string)) {
	t.Helper()
	same(revision + "/files")
	var list struct{ Files map[string]any }
	e2etest.GetJSON(t, from.URL("r", "local")+revision+"/files", &list)
	for name := range list.Files {
		same(revision + "/files/" + name)
	}
}

// damage cuts a bundle and flips a bit: both are refused.
func damage(t *testing.T, demo e2etest.Operator, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, changed := range map[string][]byte{
		"cut": text[:len(text)-600], "empty": nil, "flipped": []byte(strings.Replace(string(text), "acme", "acne", 1)),
	} {
		bad := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(bad, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		demo.Fails(2, "damaged", "bundle", "apply", bad, "--to", "local")
		demo.Fails(1, fmt.Sprintf("%s: ", bad), "bundle", "verify", bad)
	}
}

// TestBundleOfUpstream: a view over an upstream, of which nothing is stored yet, goes into a
// bundle; both have what the upstream's own client lists.
func TestBundleOfUpstream(t *testing.T) {
	t.Parallel()
	server := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: harness.Server2})
	fill(t, e2etest.NewConan2(t, server.URL()).As("ann", "ann"))
	from := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{harness.Upstream("far", server.URL())}})
	to := e2etest.StartConanproxy(t, closed())
	file := filepath.Join(t.TempDir(), "bundle")
	e2etest.Says(t, e2etest.NewOperator(t, from, "ann").Must("bundle", "create", "--output", file, everything), "5 revisions")
	e2etest.NewOperator(t, to, "demo").Must("bundle", "apply", file, "--to", "local")
	same(t, server.URL(), to.URL("r", "local"))
	e2etest.NewConan2(t, to.URL("r", "local")).Install("lib/1.0@acme/stable")
}

// TestEarlyRefusal: whoever sends a large file that is no bundle is told so, and not cut off.
func TestEarlyRefusal(t *testing.T) {
	t.Parallel()
	to := e2etest.StartConanproxy(t, closed())
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 2<<30); err != nil {
		t.Fatal(err)
	}
	demo, ann := e2etest.NewOperator(t, to, "demo"), e2etest.NewOperator(t, to, "ann")
	for range 20 {
		demo.Fails(2, "damaged", "bundle", "apply", file, "--to", "local")
		ann.Fails(1, "administrators", "bundle", "apply", file, "--to", "local")
	}
}
