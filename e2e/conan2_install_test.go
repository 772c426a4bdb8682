package e2e

import (
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
	client func(testing.TB, string) *client
	kind   kind
}{
	{"newest client, newest server", newConan2, v2Server},
	{"2.9 client, server of the 1.x line", newConan29, bothServer},
}

// TestConan2Install installs a graph through the proxy: cold, warm with an empty client, and with upstream stopped.
func TestConan2Install(t *testing.T) {
	t.Parallel()
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, g.kind, nil)
			publisher := g.client(t, w.upstream.url()).as("demo", "demo")
			publisher.create(recipe(t, "lib"), "demo/testing")
			publisher.create(recipe(t, "app", "REQUIREMENT", "lib/[>=1.0 <2]@demo/testing"), "demo/testing")
			publisher.create(recipe(t, "links"), "demo/testing")
			publisher.create(recipe(t, "header"), "")
			publisher.upload("*")
			w.upstream.forget()

			install := func(t *testing.T) {
				t.Helper()
				c := g.client(t, w.proxy.url()+"/")
				c.install("app/1.0@demo/testing", "--requires=links/1.0@demo/testing", "--requires=header/1.0")
				for _, name := range []string{"app", "lib", "links", "header"} {
					sameTree(t, name, publisher, c)
				}
				// Sources are fetched on their own when something is built.
				c.install("header/1.0", "--build=header/*")
			}
			t.Run("cold", install)
			w.upstream.settle()
			noRepeats(t, w.upstream)
			w.upstream.forget()
			t.Run("warm", install)
			if calls := w.upstream.calls(); len(calls) != 0 {
				t.Errorf("a warm install asked upstream:\n%s", strings.Join(calls, "\n"))
			}
			w.upstream.stop()
			w.proxy.stop()
			w.proxy.start()
			t.Run("upstream stopped", install)
			t.Run("unknown while upstream is stopped", func(t *testing.T) {
				c := g.client(t, w.proxy.url())
				out := c.fails([]string{"503"}, c.installArgs("never/1.0")...)
				silentAbout(t, out, "not found")
			})
		})
	}
}

// TestConan2Reading compares what every listing command prints through the proxy with what it prints without it.
func TestConan2Reading(t *testing.T) {
	t.Parallel()
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, g.kind, nil)
			publisher := g.client(t, w.upstream.url()).as("demo", "demo")
			for _, change := range []string{"return 1", "return 2", "return 3"} {
				publisher.create(recipe(t, "lib", "return 1", change), "demo/testing", "-o", "lib/*:flavour=plain")
				publisher.upload("lib/*")
			}
			publisher.create(recipe(t, "lib", "return 1", "return 3"), "demo/testing", "-o", "lib/*:flavour=sweet")
			publisher.create(recipe(t, "lib", `"1.0"`, `"1.1"`), "demo/testing")
			publisher.create(recipe(t, "header"), "")
			publisher.create(recipe(t, "app", "REQUIREMENT", "lib/1.0@demo/testing"), "")
			publisher.upload("*")

			c := g.client(t, w.proxy.url())
			c.remotes(
				remote{Name: "r", URL: w.proxy.url(), VerifySSL: true},
				remote{Name: "direct", URL: w.server.url(), VerifySSL: true},
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
				c := g.client(t, w.proxy.url())
				says(t, c.must("graph", "info", "--requires=app/1.0", "-r", "r"), "ref: lib/1.0@demo/testing#")
				says(t, c.must("graph", "outdated", "--requires=app/1.0", "-r", "r"), "Latest in remote(s):  lib/1.1@demo/testing")
				says(t, c.must("graph", "explain", "--requires=app/1.0", "-o", "lib/*:shared=True", "-r", "r"), "shared=True")
			})
			t.Run("download", func(t *testing.T) {
				c := g.client(t, w.proxy.url())
				c.must("download", ref+":*", "-r", "r")
				out := c.output("list", ref+":*", "--format=json")
				if n := strings.Count(out, `"flavour": `); n != 2 {
					t.Errorf("%d packages downloaded, want 2:\n%s", n, out)
				}
			})
			t.Run("in parallel and with a download cache", func(t *testing.T) {
				front := record(t, w.proxy.url(), bothAPIs)
				c := g.client(t, front.url())
				cache := t.TempDir()
				c.write("global.conf", "core:non_interactive=True\ncore.download:parallel=4\ncore.download:download_cache="+cache+"\n")
				c.install("app/1.0", "--requires=header/1.0")
				sameTree(t, "lib", publisherTree(t, g.client, w, ref), c)
				c.must("remove", "*", "-c")
				front.forget()
				c.install("app/1.0", "--requires=header/1.0")
				if n := front.count("/files/"); n != 0 {
					t.Errorf("%d files fetched although the download cache has them", n)
				}
			})
		})
	}
}

// publisherTree installs a reference directly from the server and returns that client, to compare with.
func publisherTree(t *testing.T, make func(testing.TB, string) *client, w *world, ref string) *client {
	t.Helper()
	c := make(t, w.server.url())
	c.install(ref)
	return c
}

// listing runs a command with JSON output against one remote and returns what it says about that remote.
func listing(t *testing.T, c *client, remote string, args ...string) any {
	t.Helper()
	text := c.in(t).output(append(args, "-r", remote, "--format=json")...)
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

// TestConan2Update: a newer revision upstream arrives with --update once the older answer is no longer fresh, and a
// lockfile keeps the older one installable even after upstream dropped it.
func TestConan2Update(t *testing.T) {
	t.Parallel()
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			const fresh = time.Second
			w := newWorld(t, g.kind, settings{"up": settings{"fresh_for": fresh.String(), "not_found_for": "1s"}})
			publisher := g.client(t, w.upstream.url()).as("demo", "demo")
			const ref = "lib/1.0@demo/testing"
			publisher.create(recipe(t, "lib"), "demo/testing")
			publisher.upload(ref)
			first := publisher.cacheTree("lib")

			reader := g.client(t, w.proxy.url())
			reader.install(ref)
			reader.must("lock", "create", "--requires="+ref, "-r", "r", "--lockfile-out="+filepath.Join(reader.work, "pinned.lock"))

			publisher.must("remove", "*", "-c")
			publisher.create(recipe(t, "lib", "return 1", "return 2"), "demo/testing")
			publisher.upload(ref)
			time.Sleep(fresh + 200*time.Millisecond)

			updated := g.client(t, w.proxy.url())
			updated.install(ref)
			sameTree(t, "lib", publisher, updated)
			out := reader.must("install", "--requires="+ref, "-r", "r", "--update")
			says(t, out, "Updated")

			// The lockfile's revision goes upstream; what was fetched once stays.
			publisher.must("remove", ref+"#!latest", "-c", "-r", "r")
			time.Sleep(fresh + 200*time.Millisecond)
			pinned := g.client(t, w.proxy.url())
			lock, err := os.ReadFile(filepath.Join(reader.work, "pinned.lock"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(pinned.work, "pinned.lock"), lock, 0o644); err != nil {
				t.Fatal(err)
			}
			pinned.install(ref, "--lockfile="+filepath.Join(pinned.work, "pinned.lock"))
			if diff := cmp.Diff(first, pinned.cacheTree("lib")); diff != "" {
				t.Errorf("the locked revision differs (-want +got):\n%s", diff)
			}
		})
	}
}
