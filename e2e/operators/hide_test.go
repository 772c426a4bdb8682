package operators

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// TestHideWhileCIInstalls hides a bad release while jobs of every client install it again and
// again: no installation fails, and each that begins after the command returned gets the revision
// before.
func TestHideWhileCIInstalls(t *testing.T) {
	t.Parallel()
	const ref = "lib/1.0@acme/stable"
	proxy := e2etest.StartConanproxy(t, harness.Settings{"auth": harness.Settings{
		"read": []harness.Settings{{"pattern": "*", "users": []string{"*"}}}, "write": []harness.Settings{{"pattern": "*", "users": []string{"?"}}},
		"admin": []string{"demo"},
	}})
	publisher := e2etest.NewConan1Revisions(t, proxy.URL("local")).As("demo", "demo")
	two := e2etest.NewConan2(t, proxy.URL("local")).As("demo", "demo")
	for _, code := range []string{"# good\nfrom conan", "# bad\nfrom conan"} {
		for _, c := range []*e2etest.Client{publisher, two} {
			c.Create(e2etest.Recipe(t, "lib", "from conan", code), "acme/stable")
			c.Upload("lib/*")
		}
	}
	list := e2etest.Revisions(t, proxy, "lib/1.0/acme/stable")
	if len(list) != 2 {
		t.Fatalf("two recipes have the revisions %v", list)
	}
	bad, good := list[0], list[1]

	hidden := make(chan struct{})
	var installed sync.WaitGroup // the first time
	clients := map[string]func(testing.TB, string) *e2etest.Client{
		"conan1": e2etest.NewConan1Revisions, "conan2": e2etest.NewConan2, "conan29": e2etest.NewConan29,
	}
	installed.Add(len(clients))
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := sync.OnceFunc(installed.Done)
			defer first()
			for last := false; !last; first() {
				select {
				case <-hidden:
					last = true
				default:
				}
				c := client(t, proxy.URL("local"))
				c.Install(ref)
				switch got := installedRevision(t, c, ref); {
				case got != good && got != bad:
					t.Fatalf("installed the revision %q", got)
				case last && got != good:
					t.Errorf("after it was hidden the bad revision %s was installed", bad)
				}
			}
		})
	}
	t.Run("hide", func(t *testing.T) {
		t.Parallel()
		defer close(hidden)
		installed.Wait()
		e2etest.NewOperator(t, proxy, "demo").Must("hide", "--reason", "it crashes", "--yes", ref+"#"+bad)
	})
}

// installedRevision is the recipe revision that a client has.
func installedRevision(t *testing.T, c *e2etest.Client, ref string) string {
	t.Helper()
	if c.Two {
		out := c.Output("list", ref+"#*", "--format=json")
		_, rest, _ := strings.Cut(out, `"revisions": {`)
		return strings.Trim(strings.SplitN(strings.TrimSpace(rest), ":", 2)[0], `"`)
	}
	text, err := os.ReadFile(filepath.Join(c.Home, ".conan", "data", "lib", "1.0", "acme", "stable", "metadata.json"))
	if err != nil {
		t.Fatal(err)
	}
	var metadata struct{ Recipe struct{ Revision string } }
	if err := json.Unmarshal(text, &metadata); err != nil {
		t.Fatal(err)
	}
	return metadata.Recipe.Revision
}
