package operators

import (
	"path/filepath"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// TestPromoteLockfile promotes what a lockfile names that the running client wrote: from the other
// store the same client then installs the locked revisions with it, though newer ones were
// published since.
func TestPromoteLockfile(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{"stores": []harness.Settings{{"name": "dev"}, {"name": "release"}}})
	for name, client := range map[string]func(t testing.TB, url string) *e2etest.Client{
		"conan1": e2etest.NewConan1Revisions, "conan2": e2etest.NewConan2, "conan29": e2etest.NewConan29,
	} {
		t.Run(name, func(t *testing.T) {
			lib, app := "lib-"+name+"/1.0@acme/stable", "app-"+name+"/1.0@acme/stable"
			named := func(recipe, code string) string {
				return e2etest.Recipe(t, recipe, `name = "`+recipe+`"`, `name = "`+recipe+"-"+name+`"`, "REQUIREMENT", "lib-"+name+"/[>=1.0]@acme/stable", "from conan import", code+"from conan import")
			}
			c := client(t, proxy.URL("r", "dev")).As("demo", "demo")
			c.Create(named("lib", ""), "acme/stable")
			c.Create(named("app", ""), "acme/stable")
			c.Upload("*")
			lock := filepath.Join(t.TempDir(), "app.lock")
			if c.Two {
				c.Must("lock", "create", "--requires="+app, "--lockfile-out="+lock, "-r", "r")
			} else {
				c.Must("lock", "create", "--reference="+app, "--lockfile-out="+lock, "-r", "r")
			}
			locked := e2etest.Revisions(t, proxy, "lib-"+name+"/1.0/acme/stable")[0]
			newer := client(t, proxy.URL("r", "dev")).As("demo", "demo")
			newer.Create(named("lib", "# newer\n"), "acme/stable")
			newer.Upload("lib-*")

			out := e2etest.NewOperator(t, proxy, "demo").Must("promote", "--from", "dev", "--to", "release", "--lockfile", lock)
			e2etest.Says(t, out, "4 revisions", lib+"#"+locked, app)
			if got := e2etest.RevisionsAt(t, proxy, "release", "lib-"+name+"/1.0/acme/stable"); len(got) != 1 || got[0] != locked {
				t.Errorf("the revisions of %s in release are %v, want %s alone", lib, got, locked)
			}
			reader := client(t, proxy.URL("r", "release")).As("demo", "demo")
			reader.Install(app, "--lockfile="+lock)
			e2etest.SameTree(t, "lib-"+name, c, reader)
		})
	}
}
