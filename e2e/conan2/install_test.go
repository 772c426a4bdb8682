package conan2

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// generation2 pairs each Conan 2 client with one of the servers that it meets as an upstream.
var generation2 = []struct {
	name   string
	client func(testing.TB, string) *e2etest.Client
	kind   e2etest.Kind
}{
	{"newest client, newest server", e2etest.NewConan2, e2etest.V2Server},
	{"2.9 client, server of the 1.x line", e2etest.NewConan29, e2etest.BothServer},
}

// TestConan2Install installs a graph through the proxy: cold, warm with an empty client, and with
// upstream stopped.
func TestConan2Install(t *testing.T) {
	t.Parallel()
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			w := e2etest.NewWorld(t, g.kind, nil)
			publisher := g.client(t, w.Upstream.URL()).As("demo", "demo")
			publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "app", "REQUIREMENT", "lib/[>=1.0 <2]@demo/testing"), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "links"), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "header"), "")
			publisher.Upload("*")
			w.Upstream.Forget()

			install := func(t *testing.T) {
				t.Helper()
				c := g.client(t, w.Proxy.URL()+"/")
				c.Install("app/1.0@demo/testing", "--requires=links/1.0@demo/testing", "--requires=header/1.0")
				for _, name := range []string{"app", "lib", "links", "header"} {
					e2etest.SameTree(t, name, publisher, c)
				}
				// Sources are fetched on their own when something is built.
				c.Install("header/1.0", "--build=header/*")
			}
			t.Run("cold", install)
			w.Upstream.Settle()
			e2etest.NoRepeats(t, w.Upstream)
			w.Upstream.Forget()
			t.Run("warm", install)
			if calls := w.Upstream.Calls(); len(calls) != 0 {
				t.Errorf("a warm install asked upstream:\n%s", strings.Join(calls, "\n"))
			}
			w.Upstream.Stop()
			w.Proxy.Stop()
			w.Proxy.Start()
			t.Run("upstream stopped", install)
			t.Run("unknown while upstream is stopped", func(t *testing.T) {
				c := g.client(t, w.Proxy.URL())
				out := c.Fails([]string{"503"}, c.InstallArgs("never/1.0")...)
				e2etest.SilentAbout(t, out, "not found")
			})
		})
	}
}

// TestConan2Reading compares what every listing command prints through the proxy with what it
// prints without it.
func TestConan2Reading(t *testing.T) {
	t.Parallel()
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			w := e2etest.NewWorld(t, g.kind, nil)
			publisher := g.client(t, w.Upstream.URL()).As("demo", "demo")
			for _, change := range []string{"return 1", "return 2", "return 3"} {
				publisher.Create(e2etest.Recipe(t, "lib", "return 1", change), "demo/testing", "-o", "lib/*:flavour=plain")
				publisher.Upload("lib/*")
			}
			publisher.Create(e2etest.Recipe(t, "lib", "return 1", "return 3"), "demo/testing", "-o", "lib/*:flavour=sweet")
			publisher.Create(e2etest.Recipe(t, "lib", `"1.0"`, `"1.1"`), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "header"), "")
			publisher.Create(e2etest.Recipe(t, "app", "REQUIREMENT", "lib/1.0@demo/testing"), "")
			publisher.Upload("*")

			c := g.client(t, w.Proxy.URL())
			c.Remotes(
				harness.Remote{Name: "r", URL: w.Proxy.URL(), VerifySSL: true},
				harness.Remote{Name: "direct", URL: w.Server.URL(), VerifySSL: true},
			)
			const ref = "lib/1.0@demo/testing"
			for _, args := range [][]string{
				{"list", "*"},
				{"list", "lib"},
				{"list", "LIB/1.?@demo/*"},
				{"list", ref},
				{"list", ref + "#latest"},
				{"list", ref + "#*"},
				{"list", ref + "#!latest"},
				{"list", ref + ":*"},
				{"list", ref + ":*", "-p", "options.flavour=sweet"},
				{"list", ref + "#*:*"},
				{"list", ref + "#*:*#*"},
				{"list", "*#*:*#*"},
				{"list", "lib/[>=1.0]@demo/testing"},
				{"list", "never/1.0#*"},
				{"search", "lib*"},
			} {
				t.Run(strings.Join(args, " "), func(t *testing.T) {
					want := listing(t, c, "direct", args...)
					if diff := cmp.Diff(want, listing(t, c, "r", args...)); diff != "" {
						t.Errorf("the proxy lists something else (-direct +proxy):\n%s", diff)
					}
				})
			}

			t.Run("graph", func(t *testing.T) {
				c := g.client(t, w.Proxy.URL())
				e2etest.Says(t, c.Must("graph", "info", "--requires=app/1.0", "-r", "r"), "ref: lib/1.0@demo/testing#")
				e2etest.Says(t, c.Must("graph", "outdated", "--requires=app/1.0", "-r", "r"), "Latest in remote(s):  lib/1.1@demo/testing")
				e2etest.Says(t, c.Must("graph", "explain", "--requires=app/1.0", "-o", "lib/*:shared=True", "-r", "r"), "shared=True")
			})
			t.Run("download", func(t *testing.T) {
				c := g.client(t, w.Proxy.URL())
				c.Must("download", ref+":*", "-r", "r")
				out := c.Output("list", ref+":*", "--format=json")
				if n := strings.Count(out, `"flavour": `); n != 2 {
					t.Errorf("%d packages downloaded, want 2:\n%s", n, out)
				}
			})
			t.Run("in parallel and with a download cache", func(t *testing.T) {
				front := e2etest.Record(t, w.Proxy.URL(), e2etest.BothAPIs)
				c := g.client(t, front.URL())
				cache := t.TempDir()
				c.Write("global.conf", "core:non_interactive=True\ncore.download:parallel=4\ncore.download:download_cache="+cache+"\n")
				c.Install("app/1.0", "--requires=header/1.0")
				e2etest.SameTree(t, "lib", publisherTree(t, g.client, w, ref), c)
				c.Must("remove", "*", "-c")
				front.Forget()
				c.Install("app/1.0", "--requires=header/1.0")
				if n := front.Count("/files/"); n != 0 {
					t.Errorf("%d files fetched although the download cache has them", n)
				}
			})
		})
	}
}

// publisherTree installs a reference directly from the server and returns that client, to compare
// with.
func publisherTree(t *testing.T, make func(testing.TB, string) *e2etest.Client, w *e2etest.World, ref string) *e2etest.Client {
	t.Helper()
	c := make(t, w.Server.URL())
	c.Install(ref)
	return c
}

// listing runs a command with JSON output against one remote and returns what it says about that
// remote.
func listing(t *testing.T, c *e2etest.Client, remote string, args ...string) any {
	t.Helper()
	text := c.In(t).Output(append(args, "-r", remote, "--format=json")...)
	var all map[string]any
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	answer, ok := all[remote]
	if !ok {
		t.Fatalf("nothing about remote %s: %s", remote, text)
	}
	if m, ok := answer.(map[string]any); ok {
		if message, ok := m["error"].(string); ok {
			// Messages name the server's own words; only that there is an error counts.
			m["error"] = message != ""
		}
	}
	return answer
}

// TestConan2Update: a newer revision upstream arrives with --update once the older answer is no
// longer fresh, and a lockfile keeps the older one installable even after upstream dropped it.
func TestConan2Update(t *testing.T) {
	t.Parallel()
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			const fresh = time.Second
			w := e2etest.NewWorld(t, g.kind, harness.Settings{"up": harness.Settings{"fresh_for": fresh.String(), "not_found_for": "1s"}})
			publisher := g.client(t, w.Upstream.URL()).As("demo", "demo")
			const ref = "lib/1.0@demo/testing"
			publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			publisher.Upload(ref)
			first := publisher.CacheTree("lib")

			reader := g.client(t, w.Proxy.URL())
			reader.Install(ref)
			reader.Must("lock", "create", "--requires="+ref, "-r", "r", "--lockfile-out="+filepath.Join(reader.Work, "pinned.lock"))

			publisher.Must("remove", "*", "-c")
			publisher.Create(e2etest.Recipe(t, "lib", "return 1", "return 2"), "demo/testing")
			publisher.Upload(ref)
			time.Sleep(fresh + 200*time.Millisecond)

			updated := g.client(t, w.Proxy.URL())
			updated.Install(ref)
			e2etest.SameTree(t, "lib", publisher, updated)
			out := reader.Must("install", "--requires="+ref, "-r", "r", "--update")
			e2etest.Says(t, out, "Updated")

			// The lockfile's revision goes upstream; what was fetched once stays.
			publisher.Must("remove", ref+"#!latest", "-c", "-r", "r")
			time.Sleep(fresh + 200*time.Millisecond)
			pinned := g.client(t, w.Proxy.URL())
			lock, err := os.ReadFile(filepath.Join(reader.Work, "pinned.lock"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(pinned.Work, "pinned.lock"), lock, 0o644); err != nil {
				t.Fatal(err)
			}
			pinned.Install(ref, "--lockfile="+filepath.Join(pinned.Work, "pinned.lock"))
			if diff := cmp.Diff(first, pinned.CacheTree("lib")); diff != "" {
				t.Errorf("the locked revision differs (-want +got):\n%s", diff)
			}
		})
	}
}
