package mirror

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// everything selects what a server has.
const everything = "*#*:*#*"

// local are the settings of a server that may import from this machine.
func local() harness.Settings {
	return closed(harness.Settings{"allow_networks": []string{"127.0.0.0/8"}})
}

// fill uploads a library in two recipe revisions, with two revisions of a package, and a recipe
// without packages.
func fill(t *testing.T, c *e2etest.Client) {
	t.Helper()
	for _, code := range []string{"", "# better\n"} {
		c.Create(e2etest.Recipe(t, "lib", "from conan", code+"from conan"), "acme/stable")
		c.Upload("lib/*")
	}
	header := e2etest.Recipe(t, "header")
	c.Export(header, "")
	c.Upload("header/*")
}

// listed is what a client's `conan list` says of everything at a server.
func listed(t *testing.T, url string) (list any) {
	t.Helper()
	c := e2etest.NewConan2(t, url).As("ann", "ann")
	var remotes map[string]any
	if err := json.Unmarshal([]byte(c.Output("list", everything, "-r", "r", "--format=json")), &remotes); err != nil {
		t.Fatal(err)
	}
	return remotes["r"]
}

// TestImportFromServer: everything that a real conan_server has is copied, times included; what is
// uploaded later comes with the next import.
func TestImportFromServer(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{harness.Server2, harness.Conan1} {
		t.Run(environment, func(t *testing.T) {
			t.Parallel()
			old := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: environment, Readers: "ann"})
			publisher := e2etest.NewConan2(t, old.URL()).As("ann", "ann")
			fill(t, publisher)
			proxy := e2etest.StartConanproxy(t, local())
			demo := e2etest.NewOperator(t, proxy, "demo").With("CONANPROXY_IMPORT_PASSWORD=ann")
			args := []string{"import", "--from", old.URL(), "--into", "local", "--username", "ann", everything}
			e2etest.NewOperator(t, proxy, "ann").Fails(1, "administrators", "import", "--from", old.URL(), "--into", "local", everything)
			demo.Fails(1, "asks for a login", "import", "--from", old.URL(), "--into", "local", everything)
			demo.With("CONANPROXY_IMPORT_PASSWORD=a-wrong-one").Fails(1, "refuses the configured user name", args...)
			e2etest.Says(t, demo.Must(append(args, "--dry-run")...), "5 revisions, 0 skipped", "nothing was changed")
			e2etest.Says(t, demo.Must(args...), "5 revisions, 0 skipped")
			same(t, old.URL(), proxy.URL("r", "local"))

			publisher.Create(e2etest.Recipe(t, "lib", "from conan", "# best\nfrom conan"), "acme/stable")
			publisher.Upload("lib/*")
			publisher.Create(e2etest.Recipe(t, "lib"), "acme/stable")
			publisher.Upload("lib/*", "--force") // the first revision again, which makes it the newest
			demo.Must(args...)
			same(t, old.URL(), proxy.URL("r", "local"))
			e2etest.NewConan2(t, proxy.URL("r", "local")).Install("lib/1.0@acme/stable")
			e2etest.SilentAbout(t, proxy.Log(), "a-wrong-one")

			copied := e2etest.StartConanproxy(t, closed())
			operator, folder := e2etest.NewOperator(t, copied, "demo"), filepath.Join(old.Dir, "data")
			e2etest.NewOperator(t, copied, "ann").Fails(1, "administrators", "import", "--from", folder, "--into", "local", everything)
			e2etest.Says(t, operator.Must("import", "--from", folder, "--into", "local", "--dry-run", everything), "7 revisions, 0 skipped", "nothing was changed")
			e2etest.Says(t, operator.Must("import", "--from", folder, "--into", "local", everything), "7 revisions, 0 skipped")
			e2etest.Says(t, operator.Must("import", "--from", folder, "--into", "local", everything), "0 revisions, 7 skipped")
			same(t, old.URL(), copied.URL("r", "local"))
			e2etest.NewConan2(t, copied.URL("r", "local")).Install("lib/1.0@acme/stable")
		})
	}
}

func same(t *testing.T, old, new string) {
	t.Helper()
	want, got := listed(t, old), listed(t, new)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the list of the new server differs:\n%s", diff)
	}
}

// TestImportAddresses: only addresses that the configuration allows are read from.
func TestImportAddresses(t *testing.T) {
	t.Parallel()
	old := e2etest.StartConanproxy(t, closed())
	demo := e2etest.NewOperator(t, e2etest.StartConanproxy(t, closed()), "demo")
	demo.Fails(1, "allow_networks", "import", "--from", old.URL(), "--into", "local", "*")
	demo.Fails(2, "credentials", "import", "--from", "http://ann:secret@127.0.0.1/", "--into", "local", "*")
	demo.Fails(2, "http", "import", "--from", "file:///etc", "--into", "local", "*")
}

// TestImportGenerations: from another conanproxy with what Conan 1 published without revisions.
func TestImportGenerations(t *testing.T) {
	t.Parallel()
	old := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: harness.Conan1})
	publisher := e2etest.NewConan1(t, old.URL()).As("ann", "ann")
	fill(t, publisher)
	proxy := e2etest.StartConanproxy(t, local())
	demo := e2etest.NewOperator(t, proxy, "demo")
	demo.Must("import", "--from", old.URL(), "--into", "local", everything)
	folder := e2etest.StartConanproxy(t, closed())
	e2etest.NewOperator(t, folder, "demo").Must("import", "--from", filepath.Join(old.Dir, "data"), "--into", "local", everything)
	for _, server := range []*e2etest.Conanproxy{proxy, folder} {
		installer := e2etest.NewConan1(t, server.URL("r", "local"))
		installer.Install("lib/1.0@acme/stable")
		e2etest.SameTree(t, "lib", publisher, installer)
	}
	same(t, proxy.URL("r", "local"), folder.URL("r", "local"))
}

// TestImportDamagedFolder: what is damaged is told, and all else is copied.
func TestImportDamagedFolder(t *testing.T) {
	t.Parallel()
	old := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: harness.Server2})
	fill(t, e2etest.NewConan2(t, old.URL()).As("ann", "ann"))
	folder := filepath.Join(old.Dir, "data")
	archives, err := filepath.Glob(filepath.Join(folder, "lib/1.0/acme/stable/*/package/*/*/conan_package.tgz"))
	if err != nil || len(archives) != 2 {
		t.Fatal(archives, err)
	}
	if err := os.WriteFile(archives[0], []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	proxy := e2etest.StartConanproxy(t, closed())
	demo := e2etest.NewOperator(t, proxy, "demo")
	demo.Fails(1, "4 revisions, 0 skipped: 1 failed", "import", "--from", folder, "--into", "local", everything)
	demo.Fails(1, "0 revisions, 4 skipped: 1 failed", "import", "--from", folder, "--into", "local", everything)

	rules := demo.Must("config", "translate", filepath.Join(old.Dir, ".conan_server", "server.conf"))
	e2etest.Says(t, rules, `# user "bob"`, "- {pattern: \"*/*\", users: [\"demo\",\"ann\",\"bob\"]}")
	e2etest.SilentAbout(t, rules, "NOT TRANSLATED", "{user}")
}
