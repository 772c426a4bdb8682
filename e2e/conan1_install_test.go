package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestConan1Install installs a graph through the proxy: cold, warm with an empty client, and with upstream stopped.
func TestConan1Install(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{v1Server, bothServer} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, k, nil)
			publisher := newConan1(t, w.upstream.url()).as("demo", "demo")
			publisher.create(recipe(t, "lib"), "demo/testing")
			publisher.create(recipe(t, "app", "REQUIREMENT", "lib/[>=1.0 <2]@demo/testing"), "demo/testing")
			publisher.create(recipe(t, "links"), "demo/testing")
			publisher.create(recipe(t, "header"), "demo/testing")
			publisher.export(recipe(t, "alias"), "demo/testing")
			publisher.upload("*")
			w.upstream.forget()

			install := func(t *testing.T) {
				t.Helper()
				c := newConan1(t, w.proxy.url()+"/")
				c.install("app/1.0@demo/testing")
				sameTree(t, "app", publisher, c)
				sameTree(t, "lib", publisher, c)
				c.install("links/1.0@demo/testing")
				sameTree(t, "links", publisher, c)
				c.install("header/latest@demo/testing")
				sameTree(t, "header", publisher, c)
				// Sources are fetched on their own when something is built.
				c.install("header/1.0@demo/testing", "--build", "header")
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
				status, _, body := get(t, w.proxy.url("v1/conans/never/1.0/_/_/download_urls"))
				if status != 503 {
					t.Errorf("status of what nobody could look up: %d %q, want 503", status, body)
				}
			})
		})
	}
}

// TestConan1UpstreamURLs: an upstream that gives absolute file URLs on another host name, as conan_server does by
// default. No answer names a host but ours, and upstream's credentials stay with upstream.
func TestConan1UpstreamURLs(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	server := startConanServer(t, Conan1, conanServerOptions{publicPort: port, readers: "?", signatureSeconds: 5})
	files := &recorder{t: t, addr: hostPort(port), target: mustURL(t, server.url()), dialect: onlyV1}
	files.carryOn()
	t.Cleanup(files.stop)
	api := record(t, server.url(), onlyV1)
	publisher := newConan1(t, api.url()).as("demo", "demo")
	publisher.create(recipe(t, "lib"), "demo/testing")
	publisher.upload("lib/1.0@demo/testing")
	files.forget()
	api.forget()

	proxy := startConanproxy(t, withUpstream(settings{"up": settings{"username": "demo", "password": "demo"}}, api))
	reader := newConan1(t, proxy.url()+"/")
	reader.install("lib/1.0@demo/testing")
	sameTree(t, "lib", publisher, reader)

	// Upstream's file URLs are dead by now; what was not fetched with them is asked for anew.
	time.Sleep(5200 * time.Millisecond)
	reader.install("lib/1.0@demo/testing", "-o", "lib:flavour=sweet", "--build", "lib")

	if len(files.calls()) == 0 {
		t.Error("no file was fetched from the other host name: the test shows nothing")
	}
	for _, e := range files.exchanges() {
		if got := e.Header.Get("Authorization"); got != "" {
			t.Errorf("%s carried Authorization to another host", e)
		}
	}
	for _, e := range append(files.exchanges(), api.exchanges()...) {
		for _, name := range []string{"X-Client-Id", "X-Client-Anonymous-Id", "Conan-Pkgid-Settings", "Conan-Pkgid-Options"} {
			if e.Header.Get(name) != "" {
				t.Errorf("%s carried %s upstream", e, name)
			}
		}
	}
	for _, path := range []string{"download_urls", "digest", "packages/" + packageID(t, proxy, "lib/1.0/demo/testing") + "/download_urls"} {
		status, _, body := get(t, proxy.url("v1/conans/lib/1.0/demo/testing", path))
		if status != 200 || strings.Contains(body, "://") || !strings.Contains(body, `"/v1/files/`) {
			t.Errorf("%s: %d %s, want root-relative URLs of our own", path, status, body)
		}
	}
}

// TestConan1Reading runs the commands that read, over content of upstream and of the local store.
func TestConan1Reading(t *testing.T) {
	t.Parallel()
	w := newWorld(t, v1Server, nil)
	publisher := newConan1(t, w.upstream.url()).as("demo", "demo")
	publisher.create(recipe(t, "lib"), "demo/testing")
	publisher.create(recipe(t, "lib"), "demo/testing", "-o", "lib:flavour=sweet")
	publisher.upload("lib/1.0@demo/testing")
	local := newConan1(t, w.proxy.url("local")).as("demo", "demo")
	local.create(recipe(t, "header"), "")
	local.create(recipe(t, "lib", `"1.0"`, `"1.1"`), "ann/stable")
	local.upload("*")

	c := newConan1(t, w.proxy.url())
	t.Run("search", func(t *testing.T) {
		c := c.in(t)
		if got, want := c.output("search", "*", "-r", "r", "--raw"), "header/1.0\nlib/1.0@demo/testing\nlib/1.1@ann/stable\n"; got != want {
			t.Errorf("search: %q, want %q", got, want)
		}
		if got, want := c.output("search", "LIB/1.?@demo/*", "-r", "r", "--raw"), "lib/1.0@demo/testing\n"; got != want {
			t.Errorf("search of a pattern: %q, want %q", got, want)
		}
		says(t, c.must("search", "LIB*", "--case-sensitive", "-r", "r"), "There are no packages matching")
		says(t, c.must("search", "lib/1.0@demo/testing", "-r", "r"), "flavour: plain", "flavour: sweet")
		says(t, c.must("search", "lib/1.0@demo/testing", "-r", "r", "-q", "flavour=sweet"), "flavour: sweet")
		says(t, c.must("search", "lib/1.0@demo/testing", "-r", "r", "-q", "os=Windows"), "There are no packages")
		says(t, c.must("search", "*", "-r", "all"), "lib/1.0@demo/testing")
	})
	t.Run("get and inspect", func(t *testing.T) {
		c := c.in(t)
		says(t, c.must("get", "lib/1.0@demo/testing", "-r", "r"), "class Lib(ConanFile)")
		says(t, c.must("get", "lib/1.0@demo/testing", "conanmanifest.txt", "-r", "r"), "export_source/src/lib.c")
		says(t, c.must("inspect", "lib/1.0@demo/testing", "-r", "r", "-a", "version"), "1.0")
	})
	t.Run("download, copy and upload of the copy", func(t *testing.T) {
		c := newConan1(t, w.proxy.url()).as("demo", "demo")
		c.must("download", "lib/1.0@demo/testing", "-r", "r")
		sameTree(t, "lib", publisher, c)
		c.must("copy", "lib/1.0@demo/testing", "ann/stable", "--all")
		c.upload("lib/1.0@ann/stable")
		says(t, newConan1(t, w.proxy.url("local")).must("search", "lib/1.0@ann/stable", "-r", "r"), "flavour: sweet")
	})
	t.Run("with a download cache", func(t *testing.T) {
		front := record(t, w.proxy.url(), bothAPIs)
		c := newConan1(t, front.url())
		c.must("config", "set", "storage.download_cache="+t.TempDir())
		c.install("lib/1.0@demo/testing")
		c.must("remove", "*", "-f")
		front.forget()
		c.install("lib/1.0@demo/testing")
		if n := front.count("/files/"); n != 0 {
			t.Errorf("%d files fetched although the download cache has them", n)
		}
	})
	t.Run("ranges over local and upstream", func(t *testing.T) {
		c := newConan1(t, w.proxy.url())
		says(t, c.must("info", "lib/[>=1.0]@ann/stable"), "lib/1.1@ann/stable")
		says(t, c.must("info", "lib/[>=1.0]@demo/testing"), "lib/1.0@demo/testing")
		says(t, c.must("info", "header/[>0.5]@"), "header/1.0")
	})
}
