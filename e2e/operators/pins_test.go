package operators

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// admins are rules by which all read, users write, and demo is the administrator.
var admins = harness.Settings{
	"read":  []harness.Settings{{"pattern": "*", "users": []string{"*"}}},
	"write": []harness.Settings{{"pattern": "*", "users": []string{"?"}}},
	"admin": []string{"demo"},
}

// TestPinAndPurge: a closure that was pinned by a graph of the client installs after its space was
// needed, its upstream went away and its answers became too old; a purge has the upstream asked
// again.
func TestPinAndPurge(t *testing.T) {
	t.Parallel()
	w := e2etest.NewWorld(t, e2etest.V2Server, harness.Settings{
		"up":    harness.Settings{"fresh_for": "1s", "not_found_for": "1s", "stale_for": "1s"},
		"cache": harness.Settings{"max_size": "8MiB", "min_free": "1MiB"}, "auth": admins,
	})
	publisher := e2etest.NewConan2(t, w.Server.URL()).As("demo", "demo")
	const app = "app/1.0@demo/testing"
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Create(e2etest.Recipe(t, "app", "REQUIREMENT", "lib/[>=1.0 <2]@demo/testing"), "demo/testing")
	for i := range 6 {
		name := fmt.Sprint("big-", i)
		publisher.Create(e2etest.Recipe(t, "big", `name = "big"`, `name = "`+name+`"`, "SEED", name, "MEGABYTES", "2"), "demo/testing")
	}
	publisher.Upload("*")
	client := e2etest.NewConan2(t, w.Proxy.URL())
	graph := filepath.Join(t.TempDir(), "graph.json")
	if err := os.WriteFile(graph, []byte(client.Output("graph", "info", "--requires="+app, "-r", "r", "--format=json")), 0o600); err != nil {
		t.Fatal(err)
	}

	demo, developer := e2etest.NewOperator(t, w.Proxy, "demo"), e2etest.NewOperator(t, w.Proxy, "ann")
	developer.Fails(1, "administrators", "pin", "--in", "up", app)
	e2etest.Says(t, demo.Must("pin", "--in", "up", "--graph", graph, "--dry-run"), "pinned", "lib/1.0@demo/testing#", "nothing was changed")
	e2etest.Says(t, demo.Must("pin", "--in", "up", "--graph", graph), "4 revisions, 0 skipped")
	e2etest.Says(t, demo.Must("pin", "--in", "up", "--graph", graph), "0 revisions, 4 skipped")
	demo.Fails(1, "cache.max_size", "pin", "--in", "up", "big-*/*")
	e2etest.Says(t, demo.Must("pins", "--in", "up"), "demo", app)
	for i := range 6 {
		client.Install(fmt.Sprintf("big-%d/1.0@demo/testing", i))
	}
	if _, _, metrics := e2etest.Get(t, w.Proxy.URL("metrics")); strings.Contains(metrics, `evicted_revisions_total{member="up"} 0`) {
		t.Error("nothing was evicted, so the test shows nothing")
	}
	time.Sleep(3 * time.Second) // until nothing that upstream said may be used

	w.Upstream.Stop()
	offline := e2etest.NewConan2(t, w.Proxy.URL())
	offline.Install(app)
	e2etest.SameTree(t, "lib", publisher, offline)
	e2etest.SameTree(t, "app", publisher, offline)
	w.Upstream.CarryOn()
	w.Upstream.Forget()
	e2etest.WaitFor(t, time.Minute, func() bool { // until the upstream is asked again
		e2etest.Get(t, w.Proxy.URL("v2/conans/app/1.0/demo/testing/latest"))
		return w.Upstream.Count("latest", "200") > 0
	})

	developer.Fails(1, "administrators", "purge", "--in", "up", "--everything")
	demo.Fails(2, "--yes", "purge", "--in", "up", "lib/*")
	demo.Fails(2, "whole references", "purge", "--in", "up", "lib/1.0#abc", "--yes")
	w.Upstream.Forget()
	e2etest.NewConan2(t, w.Proxy.URL()).Install(app)
	if n := w.Upstream.Count("/files/"); n != 0 {
		t.Errorf("%d stored files were asked for again", n)
	}
	e2etest.Says(t, demo.Must("purge", "--in", "up", "lib/*", "--yes"), "0 stored revisions", "2 pinned revisions are kept")
	demo.Fails(2, "matches nothing", "unpin", "--in", "up", "--owner", "ann", "lib/*")
	e2etest.Says(t, demo.Must("unpin", "--in", "up", "lib/*"), "2 revisions, 0 skipped")
	e2etest.Says(t, demo.Must("purge", "--in", "up", "lib/*", "--dry-run"), "2 stored revisions", "nothing was changed")
	e2etest.Says(t, demo.Must("purge", "--in", "up", "lib/*", "--yes"), "2 stored revisions", "0 pinned revisions are kept: done")
	w.Upstream.Forget()
	again := e2etest.NewConan2(t, w.Proxy.URL())
	again.Install(app)
	e2etest.SameTree(t, "lib", publisher, again)
	if w.Upstream.Count("/lib/", "/files/conan_package.tgz") != 1 || w.Upstream.Count("/app/", "/files/") != 0 {
		t.Errorf("after the purge upstream was asked %v", w.Upstream.Calls())
	}
	e2etest.Says(t, demo.Must("purge", "--in", "up", "--everything", "--pinned", "--yes"), "0 pinned revisions are kept: done")
	if out := demo.Must("pins", "--in", "up"); out != "" {
		t.Errorf("pins are left:\n%s", out)
	}
	e2etest.Says(t, demo.Must("audit", "--action", "purge"), "everything", "lib/*")
}

// TestRemoveForGood: what is pinned in a store is not removed; with --now it goes from everywhere,
// and the report names who else has its bytes.
func TestRemoveForGood(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{
		"stores": []harness.Settings{{"name": "dev"}, {"name": "release"}}, "upstreams": []harness.Settings{}, "auth": admins,
	})
	const ref, secret = "lib/1.0@acme/stable", "the secret that must not be kept"
	ann := e2etest.NewConan2(t, proxy.URL("r", "dev")).As("ann", "ann")
	ann.Create(e2etest.Recipe(t, "lib", "from conan import", "# "+secret+"\nfrom conan import"), "acme/stable")
	ann.Upload("*")
	published := time.Now().UTC().Add(time.Second)
	time.Sleep(time.Until(published))
	at := proxy.URL("r", "dev", "at", published.Format("2006-01-02T15:04:05Z"))
	e2etest.NewConan2(t, at).Install(ref)

	demo, developer := e2etest.NewOperator(t, proxy, "demo"), e2etest.NewOperator(t, proxy, "ann")
	demo.Must("promote", "--from", "dev", "--to", "release", ref)
	e2etest.Says(t, demo.Must("pin", "--in", "dev", ref), "2 revisions")
	ann.Fails([]string{"is pinned by demo"}, "remove", ref, "-r", "r", "-c")
	developer.Fails(1, "is pinned by demo", "remove", "--in", "dev", "--yes", ref)
	developer.Fails(1, "is pinned by demo", "remove", "--in", "dev", "--dry-run", ref)
	e2etest.Says(t, developer.Must("remove", "--in", "release", "--yes", ref), "2 revisions")

	developer.Fails(2, "cannot be undone", "remove", "--in", "dev", "--now", ref)
	e2etest.Says(t, developer.Must("remove", "--in", "dev", "--now", "--dry-run", ref), "in release (trash)", "nothing was changed")
	e2etest.Says(t, developer.Must("remove", "--in", "dev", "--now", "--yes", ref), "of its files are also in release (trash)", "2 revisions, 0 skipped: done")
	if !stores(t, proxy, secret) {
		t.Error("the bytes that release can restore are gone")
	}
	e2etest.SilentAbout(t, developer.Must("remove", "--in", "release", "--now", "--yes", ref), "of its files are also in")
	if stores(t, proxy, secret) {
		t.Error("the bytes are still stored")
	}
	for _, store := range []string{"dev", "release"} {
		demo.Fails(2, "was not found", "restore", "--in", store, ref)
		demo.Fails(2, "was not found", "remove", "--in", store, "--now", "--yes", ref)
	}
	gone := e2etest.NewConan2(t, at)
	gone.Fails([]string{"Unable to find"}, gone.InstallArgs(ref)...)
	e2etest.Says(t, demo.Must("audit", "--action", "remove_now"), "ann", ref)
}

// stores tells whether a stored file contains a text.
func stores(t *testing.T, proxy *e2etest.Conanproxy, text string) (found bool) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(proxy.Dir, "data", "blobs", "sha256", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found = found || bytes.Contains(content, []byte(text))
	}
	return found
}
