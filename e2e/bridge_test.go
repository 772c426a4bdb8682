package e2e

import (
	"strings"
	"testing"
	"time"
)

// generation1 are the two ways a Conan 1 client works.
var generation1 = []struct {
	name   string
	client func(testing.TB, string) *client
}{
	{"revisions off", newConan1},
	{"revisions on", newConan1Revisions},
}

// TestBridgeLocal: what one generation publishes to the local store the other installs, by building its own binary;
// each generation sees only its own binaries, under one recipe revision.
func TestBridgeLocal(t *testing.T) {
	t.Parallel()
	for _, g := range generation1 {
		t.Run("from Conan 1, "+g.name, func(t *testing.T) {
			t.Parallel()
			proxy := startConanproxy(t, nil)
			one := g.client(t, proxy.url("local")).as("demo", "demo")
			one.create(recipe(t, "lib"), "demo/testing")
			one.upload("lib/1.0@demo/testing")
			bothSee(t, proxy, one, newConan2(t, proxy.url("local")).as("demo", "demo"))
		})
		t.Run("from Conan 2 to Conan 1, "+g.name, func(t *testing.T) {
			t.Parallel()
			proxy := startConanproxy(t, nil)
			two := newConan2(t, proxy.url("local")).as("demo", "demo")
			two.create(recipe(t, "lib"), "demo/testing")
			two.upload("lib/1.0@demo/testing")
			bothSee(t, proxy, two, g.client(t, proxy.url("local")).as("demo", "demo"))
		})
	}
}

// bothSee takes a client that has published lib/1.0@demo/testing and one of the other generation. The second does
// not see the first one's binary, builds its own, publishes it, and then either reads its own.
func bothSee(t *testing.T, proxy *conanproxy, first, second *client) {
	t.Helper()
	const ref = "lib/1.0@demo/testing"
	second.fails([]string{"Missing"}, second.installArgs(ref)...)
	second.install(ref, "--build=missing")
	second.upload(ref)
	if got := revisions(t, proxy, "lib/1.0/demo/testing"); len(got) != 1 {
		t.Errorf("recipe revisions after both generations published one recipe: %v, want one", got)
	}
	for _, c := range []*client{first, second} {
		reader := c.fresh(t)
		reader.install(ref)
		sameTree(t, "lib", c, reader)
		var out string
		if c.two {
			out = reader.must("list", ref+":*", "-r", "r")
		} else {
			out = reader.must("search", ref, "-r", "r")
		}
		if n := strings.Count(out, "flavour: "); n != 1 {
			t.Errorf("a client sees %d packages, want its own generation's one:\n%s", n, out)
		}
	}
}

// TestBridgeUpstream: upstreams that speak one API for clients that speak the other.
func TestBridgeUpstream(t *testing.T) {
	t.Parallel()
	const ref = "lib/1.0@demo/testing"
	t.Run("v2-only upstream for Conan 1", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, oldV2Server, nil)
		publisher := newConan1Revisions(t, w.server.url()).as("demo", "demo")
		publisher.create(recipe(t, "lib"), "demo/testing")
		publisher.create(recipe(t, "app", "REQUIREMENT", "lib/[>=1.0 <2]@demo/testing"), "demo/testing")
		publisher.upload("*")
		read := func() {
			t.Helper()
			for _, g := range generation1 {
				reader := g.client(t, w.proxy.url())
				reader.install("app/1.0@demo/testing")
				sameTree(t, "lib", publisher, reader)
				says(t, reader.must("search", ref, "-r", "r"), "flavour: plain")
			}
		}
		read()
		noRepeats(t, w.upstream)
		var snapshot map[string]string
		getJSON(t, w.proxy.url("v1/conans/lib/1.0/demo/testing"), &snapshot)
		for name, body := range fetchAll(t, w.proxy, downloads(t, w.proxy, "v1/conans/lib/1.0/demo/testing")) {
			if snapshot[name] != md5Hex([]byte(body)) {
				t.Errorf("snapshot of %s says %q, its bytes are %s", name, snapshot[name], md5Hex([]byte(body)))
			}
		}
		w.upstream.stop()
		read()
	})
	t.Run("v1-only upstream for Conan 2", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, v1Server, settings{"up": settings{"fresh_for": "1s"}})
		publisher := newConan1(t, w.upstream.url()).as("demo", "demo")
		publisher.create(recipe(t, "lib"), "demo/testing")
		publisher.upload(ref)
		reader := newConan2(t, w.proxy.url())
		says(t, reader.must("list", ref+"#*", "-r", "r"), revisions(t, w.proxy, "lib/1.0/demo/testing")[0])
		silentAbout(t, reader.must("list", ref+":*", "-r", "r"), "flavour")
		reader.install(ref, "--build=missing")

		// A change upstream is a new revision; the older one stays where it was fetched.
		older := revisions(t, w.proxy, "lib/1.0/demo/testing")[0]
		changed := newConan1(t, w.upstream.url()).as("demo", "demo")
		changed.create(recipe(t, "lib", "return 1", "return 2"), "demo/testing")
		time.Sleep(1200 * time.Millisecond)
		changed.upload(ref, "--force")
		time.Sleep(1200 * time.Millisecond)
		newest := revisions(t, w.proxy, "lib/1.0/demo/testing")
		if len(newest) != 2 || newest[0] == older || newest[1] != older {
			t.Errorf("revisions after a change upstream: %v, want a new one before %s", newest, older)
		}
		pinned := newConan2(t, w.proxy.url())
		pinned.install(ref+"#"+older, "--build=missing")
		if got := pinned.cacheTree("lib")["lib/lib.out"]; !strings.Contains(got, "return 1") {
			t.Errorf("the older revision's sources changed: %q", got)
		}
	})
}

// TestConan1Update installs and updates with Conan 1.66, revisions enabled or not; with them enabled it publishes, lists
// and removes revisions.
func TestConan1Update(t *testing.T) {
	t.Parallel()
	const ref = "lib/1.0@demo/testing"
	for _, tt := range []struct {
		name   string
		client func(testing.TB, string) *client
		kind   kind
	}{
		{"install from a v1-only upstream", newConan1Revisions, v1Server},
		{"install from an upstream with both APIs", newConan1Revisions, bothServer},
		{"install without revisions", newConan1, v1Server},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.kind, settings{"up": settings{"fresh_for": "1s"}})
			publisher := tt.client(t, w.upstream.url()).as("demo", "demo")
			publisher.create(recipe(t, "lib"), "demo/testing")
			publisher.create(recipe(t, "app", "REQUIREMENT", "lib/[>=1.0 <2]@demo/testing"), "demo/testing")
			publisher.upload("*")
			reader := tt.client(t, w.proxy.url())
			reader.install("app/1.0@demo/testing")
			sameTree(t, "lib", publisher, reader)
			noRepeats(t, w.upstream)

			time.Sleep(1100 * time.Millisecond) // manifests carry whole seconds, and only later ones are newer
			publisher.create(recipe(t, "lib", "return 1", "return 2"), "demo/testing")
			publisher.upload(ref)
			time.Sleep(1200 * time.Millisecond)
			reader.install("app/1.0@demo/testing", "--update")
			if got := reader.cacheTree("lib")["lib/lib.out"]; !strings.Contains(got, "return 2") {
				t.Errorf("--update did not bring the new revision: %q", got)
			}
			w.upstream.stop()
			alone := tt.client(t, w.proxy.url())
			alone.install("app/1.0@demo/testing")
			sameTree(t, "lib", reader, alone)
		})
	}
	t.Run("publish, list and remove", func(t *testing.T) {
		t.Parallel()
		proxy := startConanproxy(t, nil)
		c := newConan1Revisions(t, proxy.url("local")).as("demo", "demo")
		c.must("user", "-p", "demo", "-r", "r", "demo")
		c.create(recipe(t, "lib"), "demo/testing")
		c.upload(ref)
		says(t, c.upload(ref), "Recipe is up to date", "Package is up to date")
		c.create(recipe(t, "lib", "return 1", "return 2"), "demo/testing")
		c.upload(ref)
		got := revisions(t, proxy, "lib/1.0/demo/testing")
		if len(got) != 2 {
			t.Fatalf("revisions after two uploads: %v", got)
		}
		out := c.must("search", ref, "-rev", "-r", "r")
		says(t, out, got[0], got[1])
		older := newConan1Revisions(t, proxy.url())
		older.install(ref + "#" + got[1])
		if text := older.cacheTree("lib")["lib/lib.out"]; !strings.Contains(text, "return 1") {
			t.Errorf("the older revision holds %q", text)
		}
		// A client without revisions sees the newest.
		plain := newConan1(t, proxy.url())
		plain.install(ref)
		if text := plain.cacheTree("lib")["lib/lib.out"]; !strings.Contains(text, "return 2") {
			t.Errorf("a client without revisions got %q", text)
		}
		c.must("remove", ref+"#"+got[0], "-f", "-r", "r")
		if left := revisions(t, proxy, "lib/1.0/demo/testing"); len(left) != 1 || left[0] != got[1] {
			t.Errorf("revisions after one was removed: %v, want %s", left, got[1])
		}
		c.must("remove", ref, "-p", "-f", "-r", "r")
		says(t, c.must("search", ref, "-r", "r"), "There are no packages")
		c.must("remove", ref, "-f", "-r", "r")
		says(t, c.must("search", "*", "-r", "r"), "There are no packages")
	})
}
