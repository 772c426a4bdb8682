package generations

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"strings"
	"testing"
	"time"
)

// generation1 are the two ways a Conan 1 client works.
var generation1 = []struct {
	name   string
	client func(testing.TB, string) *e2etest.Client
}{
	{"revisions off", e2etest.NewConan1},
	{"revisions on", e2etest.NewConan1Revisions},
}

// TestBridgeLocal: what one generation publishes to the local store the other installs, by building
// its own binary; each generation sees only its own binaries, under one recipe revision.
func TestBridgeLocal(t *testing.T) {
	t.Parallel()
	for _, g := range generation1 {
		t.Run("from Conan 1, "+g.name, func(t *testing.T) {
			t.Parallel()
			proxy := e2etest.StartConanproxy(t, nil)
			one := g.client(t, proxy.URL("local")).As("demo", "demo")
			one.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			one.Upload("lib/1.0@demo/testing")
			bothSee(t, proxy, one, e2etest.NewConan2(t, proxy.URL("local")).As("demo", "demo"))
		})
		t.Run("from Conan 2 to Conan 1, "+g.name, func(t *testing.T) {
			t.Parallel()
			proxy := e2etest.StartConanproxy(t, nil)
			two := e2etest.NewConan2(t, proxy.URL("local")).As("demo", "demo")
			two.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			two.Upload("lib/1.0@demo/testing")
			bothSee(t, proxy, two, g.client(t, proxy.URL("local")).As("demo", "demo"))
		})
	}
}

// bothSee takes a client that has published lib/1.0@demo/testing and one of the other generation.
// The second does not see the first one's binary, builds its own, publishes it, and then either
// reads its own.
func bothSee(t *testing.T, proxy *e2etest.Conanproxy, first, second *e2etest.Client) {
	t.Helper()
	const ref = "lib/1.0@demo/testing"
	second.Fails([]string{"Missing"}, second.InstallArgs(ref)...)
	second.Install(ref, "--build=missing")
	second.Upload(ref)
	if got := e2etest.Revisions(t, proxy, "lib/1.0/demo/testing"); len(got) != 1 {
		t.Errorf("recipe revisions after both generations published one recipe: %v, want one", got)
	}
	for _, c := range []*e2etest.Client{first, second} {
		reader := c.Fresh(t)
		reader.Install(ref)
		e2etest.SameTree(t, "lib", c, reader)
		var out string
		if c.Two {
			out = reader.Must("list", ref+":*", "-r", "r")
		} else {
			out = reader.Must("search", ref, "-r", "r")
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
		w := e2etest.NewWorld(t, e2etest.OldV2Server, nil)
		publisher := e2etest.NewConan1Revisions(t, w.Server.URL()).As("demo", "demo")
		publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
		publisher.Create(e2etest.Recipe(t, "app", "REQUIREMENT", "lib/[>=1.0 <2]@demo/testing"), "demo/testing")
		publisher.Upload("*")
		read := func() {
			t.Helper()
			for _, g := range generation1 {
				reader := g.client(t, w.Proxy.URL())
				reader.Install("app/1.0@demo/testing")
				e2etest.SameTree(t, "lib", publisher, reader)
				e2etest.Says(t, reader.Must("search", ref, "-r", "r"), "flavour: plain")
			}
		}
		read()
		e2etest.NoRepeats(t, w.Upstream)
		var snapshot map[string]string
		e2etest.GetJSON(t, w.Proxy.URL("v1/conans/lib/1.0/demo/testing"), &snapshot)
		for name, body := range e2etest.FetchAll(t, w.Proxy, e2etest.Downloads(t, w.Proxy, "v1/conans/lib/1.0/demo/testing")) {
			if snapshot[name] != e2etest.Md5Hex([]byte(body)) {
				t.Errorf("snapshot of %s says %q, its bytes are %s", name, snapshot[name], e2etest.Md5Hex([]byte(body)))
			}
		}
		w.Upstream.Stop()
		read()
	})
	t.Run("v1-only upstream for Conan 2", func(t *testing.T) {
		t.Parallel()
		w := e2etest.NewWorld(t, e2etest.V1Server, harness.Settings{"up": harness.Settings{"fresh_for": "1s"}})
		publisher := e2etest.NewConan1(t, w.Upstream.URL()).As("demo", "demo")
		publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
		publisher.Upload(ref)
		reader := e2etest.NewConan2(t, w.Proxy.URL())
		e2etest.Says(t, reader.Must("list", ref+"#*", "-r", "r"), e2etest.Revisions(t, w.Proxy, "lib/1.0/demo/testing")[0])
		e2etest.SilentAbout(t, reader.Must("list", ref+":*", "-r", "r"), "flavour")
		reader.Install(ref, "--build=missing")

		// A change upstream is a new revision; the older one stays where it was fetched.
		older := e2etest.Revisions(t, w.Proxy, "lib/1.0/demo/testing")[0]
		changed := e2etest.NewConan1(t, w.Upstream.URL()).As("demo", "demo")
		changed.Create(e2etest.Recipe(t, "lib", "return 1", "return 2"), "demo/testing")
		time.Sleep(1200 * time.Millisecond)
		changed.Upload(ref, "--force")
		time.Sleep(1200 * time.Millisecond)
		newest := e2etest.Revisions(t, w.Proxy, "lib/1.0/demo/testing")
		if len(newest) != 2 || newest[0] == older || newest[1] != older {
			t.Errorf("revisions after a change upstream: %v, want a new one before %s", newest, older)
		}
		pinned := e2etest.NewConan2(t, w.Proxy.URL())
		pinned.Install(ref+"#"+older, "--build=missing")
		if got := pinned.CacheTree("lib")["lib/lib.out"]; !strings.Contains(got, "return 1") {
			t.Errorf("the older revision's sources changed: %q", got)
		}
	})
}

// TestConan1Update installs and updates with Conan 1.66, revisions enabled or not; with them
// enabled it publishes, lists and removes revisions.
func TestConan1Update(t *testing.T) {
	t.Parallel()
	const ref = "lib/1.0@demo/testing"
	for _, tt := range []struct {
		name   string
		client func(testing.TB, string) *e2etest.Client
		kind   e2etest.Kind
	}{
		{"install from a v1-only upstream", e2etest.NewConan1Revisions, e2etest.V1Server},
		{"install from an upstream with both APIs", e2etest.NewConan1Revisions, e2etest.BothServer},
		{"install without revisions", e2etest.NewConan1, e2etest.V1Server},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := e2etest.NewWorld(t, tt.kind, harness.Settings{"up": harness.Settings{"fresh_for": "1s"}})
			publisher := tt.client(t, w.Upstream.URL()).As("demo", "demo")
			publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "app", "REQUIREMENT", "lib/[>=1.0 <2]@demo/testing"), "demo/testing")
			publisher.Upload("*")
			reader := tt.client(t, w.Proxy.URL())
			reader.Install("app/1.0@demo/testing")
			e2etest.SameTree(t, "lib", publisher, reader)
			e2etest.NoRepeats(t, w.Upstream)

			time.Sleep(1100 * time.Millisecond) // manifests carry whole seconds, and only later ones are newer
			publisher.Create(e2etest.Recipe(t, "lib", "return 1", "return 2"), "demo/testing")
			publisher.Upload(ref)
			time.Sleep(1200 * time.Millisecond)
			reader.Install("app/1.0@demo/testing", "--update")
			if got := reader.CacheTree("lib")["lib/lib.out"]; !strings.Contains(got, "return 2") {
				t.Errorf("--update did not bring the new revision: %q", got)
			}
			w.Upstream.Stop()
			alone := tt.client(t, w.Proxy.URL())
			alone.Install("app/1.0@demo/testing")
			e2etest.SameTree(t, "lib", reader, alone)
		})
	}
	t.Run("publish, list and remove", func(t *testing.T) {
		t.Parallel()
		proxy := e2etest.StartConanproxy(t, nil)
		c := e2etest.NewConan1Revisions(t, proxy.URL("local")).As("demo", "demo")
		c.Must("user", "-p", "demo", "-r", "r", "demo")
		c.Create(e2etest.Recipe(t, "lib"), "demo/testing")
		c.Upload(ref)
		e2etest.Says(t, c.Upload(ref), "Recipe is up to date", "Package is up to date")
		c.Create(e2etest.Recipe(t, "lib", "return 1", "return 2"), "demo/testing")
		c.Upload(ref)
		got := e2etest.Revisions(t, proxy, "lib/1.0/demo/testing")
		if len(got) != 2 {
			t.Fatalf("revisions after two uploads: %v", got)
		}
		out := c.Must("search", ref, "-rev", "-r", "r")
		e2etest.Says(t, out, got[0], got[1])
		older := e2etest.NewConan1Revisions(t, proxy.URL())
		older.Install(ref + "#" + got[1])
		if text := older.CacheTree("lib")["lib/lib.out"]; !strings.Contains(text, "return 1") {
			t.Errorf("the older revision holds %q", text)
		}
		// A client without revisions sees the newest.
		plain := e2etest.NewConan1(t, proxy.URL())
		plain.Install(ref)
		if text := plain.CacheTree("lib")["lib/lib.out"]; !strings.Contains(text, "return 2") {
			t.Errorf("a client without revisions got %q", text)
		}
		c.Must("remove", ref+"#"+got[0], "-f", "-r", "r")
		if left := e2etest.Revisions(t, proxy, "lib/1.0/demo/testing"); len(left) != 1 || left[0] != got[1] {
			t.Errorf("revisions after one was removed: %v, want %s", left, got[1])
		}
		c.Must("remove", ref, "-p", "-f", "-r", "r")
		e2etest.Says(t, c.Must("search", ref, "-r", "r"), "There are no packages")
		c.Must("remove", ref, "-f", "-r", "r")
		e2etest.Says(t, c.Must("search", "*", "-r", "r"), "There are no packages")
	})
}
