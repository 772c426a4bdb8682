package conan1

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"strings"
	"testing"
	"time"
)

// TestConan1Install installs a graph through the proxy: cold, warm with an empty client, and with
// upstream stopped.
func TestConan1Install(t *testing.T) {
	t.Parallel()
	for _, k := range []e2etest.Kind{e2etest.V1Server, e2etest.BothServer} {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			w := e2etest.NewWorld(t, k, nil)
			publisher := e2etest.NewConan1(t, w.Upstream.URL()).As("demo", "demo")
			publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "app", "REQUIREMENT", "lib/[>=1.0 <2]@demo/testing"), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "links"), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "header"), "demo/testing")
			publisher.Export(e2etest.Recipe(t, "alias"), "demo/testing")
			publisher.Upload("*")
			w.Upstream.Forget()

			install := func(t *testing.T) {
				t.Helper()
				c := e2etest.NewConan1(t, w.Proxy.URL()+"/")
				c.Install("app/1.0@demo/testing")
				e2etest.SameTree(t, "app", publisher, c)
				e2etest.SameTree(t, "lib", publisher, c)
				c.Install("links/1.0@demo/testing")
				e2etest.SameTree(t, "links", publisher, c)
				c.Install("header/latest@demo/testing")
				e2etest.SameTree(t, "header", publisher, c)
				// Sources are fetched on their own when something is built.
				c.Install("header/1.0@demo/testing", "--build", "header")
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
				status, _, body := e2etest.Get(t, w.Proxy.URL("v1/conans/never/1.0/_/_/download_urls"))
				if status != 503 {
					t.Errorf("status of what nobody could look up: %d %q, want 503", status, body)
				}
			})
		})
	}
}

// TestConan1UpstreamURLs: an upstream that gives absolute file URLs on another host name, as
// conan_server does by default. No answer names a host but ours, and upstream's credentials stay
// with upstream.
func TestConan1UpstreamURLs(t *testing.T) {
	t.Parallel()
	port := e2etest.FreePort(t)
	server := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: harness.Conan1, PublicPort: port, Readers: "?", SignatureSeconds: 5})
	files := e2etest.RecordAt(t, port, server.URL(), e2etest.OnlyV1)
	api := e2etest.Record(t, server.URL(), e2etest.OnlyV1)
	publisher := e2etest.NewConan1(t, api.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Upload("lib/1.0@demo/testing")
	files.Forget()
	api.Forget()

	proxy := e2etest.StartConanproxy(t, e2etest.WithUpstream(harness.Settings{"up": harness.Settings{"username": "demo", "password": "demo", "allow_networks": []string{"127.0.0.0/8", "::1/128"}}}, api))
	reader := e2etest.NewConan1(t, proxy.URL()+"/")
	reader.Install("lib/1.0@demo/testing")
	e2etest.SameTree(t, "lib", publisher, reader)

	// Upstream's file URLs are dead by now; what was not fetched with them is asked for anew.
	time.Sleep(5200 * time.Millisecond)
	reader.Install("lib/1.0@demo/testing", "-o", "lib:flavour=sweet", "--build", "lib")

	if len(files.Calls()) == 0 {
		t.Error("no file was fetched from the other host name: the test shows nothing")
	}
	for _, e := range files.Exchanges() {
		if got := e.Header.Get("Authorization"); got != "" {
			t.Errorf("%s carried Authorization to another host", e)
		}
	}
	for _, e := range append(files.Exchanges(), api.Exchanges()...) {
		for _, name := range []string{"X-Client-Id", "X-Client-Anonymous-Id", "Conan-Pkgid-Settings", "Conan-Pkgid-Options"} {
			if e.Header.Get(name) != "" {
				t.Errorf("%s carried %s upstream", e, name)
			}
		}
	}
	for _, path := range []string{"download_urls", "digest", "packages/" + e2etest.PackageID(t, proxy, "lib/1.0/demo/testing") + "/download_urls"} {
		status, _, body := e2etest.Get(t, proxy.URL("v1/conans/lib/1.0/demo/testing", path))
		if status != 200 || strings.Contains(body, "://") || !strings.Contains(body, `"/v1/files/`) {
			t.Errorf("%s: %d %s, want root-relative URLs of our own", path, status, body)
		}
	}
}

// TestConan1Reading runs the commands that read, over content of upstream and of the local store.
func TestConan1Reading(t *testing.T) {
	t.Parallel()
	w := e2etest.NewWorld(t, e2etest.V1Server, nil)
	publisher := e2etest.NewConan1(t, w.Upstream.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing", "-o", "lib:flavour=sweet")
	publisher.Upload("lib/1.0@demo/testing")
	local := e2etest.NewConan1(t, w.Proxy.URL("local")).As("demo", "demo")
	local.Create(e2etest.Recipe(t, "header"), "")
	local.Create(e2etest.Recipe(t, "lib", `"1.0"`, `"1.1"`), "ann/stable")
	local.Upload("*")

	c := e2etest.NewConan1(t, w.Proxy.URL())
	t.Run("search", func(t *testing.T) {
		c := c.In(t)
		if got, want := c.Output("search", "*", "-r", "r", "--raw"), "header/1.0\nlib/1.0@demo/testing\nlib/1.1@ann/stable\n"; got != want {
			t.Errorf("search: %q, want %q", got, want)
		}
		if got, want := c.Output("search", "LIB/1.?@demo/*", "-r", "r", "--raw"), "lib/1.0@demo/testing\n"; got != want {
			t.Errorf("search of a pattern: %q, want %q", got, want)
		}
		e2etest.Says(t, c.Must("search", "LIB*", "--case-sensitive", "-r", "r"), "There are no packages matching")
		e2etest.Says(t, c.Must("search", "lib/1.0@demo/testing", "-r", "r"), "flavour: plain", "flavour: sweet")
		e2etest.Says(t, c.Must("search", "lib/1.0@demo/testing", "-r", "r", "-q", "flavour=sweet"), "flavour: sweet")
		e2etest.Says(t, c.Must("search", "lib/1.0@demo/testing", "-r", "r", "-q", "os=Windows"), "There are no packages")
		e2etest.Says(t, c.Must("search", "*", "-r", "all"), "lib/1.0@demo/testing")
	})
	t.Run("get and inspect", func(t *testing.T) {
		c := c.In(t)
		e2etest.Says(t, c.Must("get", "lib/1.0@demo/testing", "-r", "r"), "class Lib(ConanFile)")
		e2etest.Says(t, c.Must("get", "lib/1.0@demo/testing", "conanmanifest.txt", "-r", "r"), "export_source/src/lib.c")
		e2etest.Says(t, c.Must("inspect", "lib/1.0@demo/testing", "-r", "r", "-a", "version"), "1.0")
	})
	t.Run("download, copy and upload of the copy", func(t *testing.T) {
		c := e2etest.NewConan1(t, w.Proxy.URL()).As("demo", "demo")
		c.Must("download", "lib/1.0@demo/testing", "-r", "r")
		e2etest.SameTree(t, "lib", publisher, c)
		c.Must("copy", "lib/1.0@demo/testing", "ann/stable", "--all")
		c.Upload("lib/1.0@ann/stable")
		e2etest.Says(t, e2etest.NewConan1(t, w.Proxy.URL("local")).Must("search", "lib/1.0@ann/stable", "-r", "r"), "flavour: sweet")
	})
	t.Run("with a download cache", func(t *testing.T) {
		front := e2etest.Record(t, w.Proxy.URL(), e2etest.BothAPIs)
		c := e2etest.NewConan1(t, front.URL())
		c.Must("config", "set", "storage.download_cache="+t.TempDir())
		c.Install("lib/1.0@demo/testing")
		c.Must("remove", "*", "-f")
		front.Forget()
		c.Install("lib/1.0@demo/testing")
		if n := front.Count("/files/"); n != 0 {
			t.Errorf("%d files fetched although the download cache has them", n)
		}
	})
	t.Run("ranges over local and upstream", func(t *testing.T) {
		c := e2etest.NewConan1(t, w.Proxy.URL())
		e2etest.Says(t, c.Must("info", "lib/[>=1.0]@ann/stable"), "lib/1.1@ann/stable")
		e2etest.Says(t, c.Must("info", "lib/[>=1.0]@demo/testing"), "lib/1.0@demo/testing")
		e2etest.Says(t, c.Must("info", "header/[>0.5]@"), "header/1.0")
	})
}
