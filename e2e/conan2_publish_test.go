package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConan2Publish uploads new, unchanged, forced, parallel and metadata, and removes in all forms.
func TestConan2Publish(t *testing.T) {
	t.Parallel()
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			proxy := startConanproxy(t, nil)
			front := record(t, proxy.url(), bothAPIs)
			publisher := g.client(t, front.url()+"/local").as("demo", "demo")
			publisher.write("global.conf", "core:non_interactive=True\ncore.upload:parallel=4\ncore.upload:retry_wait=0\n")
			publisher.create(recipe(t, "lib"), "demo/testing")
			publisher.create(recipe(t, "lib"), "demo/testing", "-o", "lib/*:flavour=sweet")
			publisher.create(recipe(t, "links"), "demo/testing")
			header := recipe(t, "header")
			publisher.create(header, "solo")
			publisher.create(recipe(t, "header", `"header"`, `"other"`), "")
			const ref = "lib/1.0@demo/testing"

			t.Run("new, in parallel", func(t *testing.T) {
				publisher.in(t).upload("*")
				reader := g.client(t, proxy.url())
				reader.install(ref, "--requires=links/1.0@demo/testing", "--requires=header/1.0@solo", "-o", "lib/*:flavour=sweet")
				sameTree(t, "links", publisher, reader)
				sameTree(t, "header", publisher, reader)
				if got := reader.cacheTree("lib")["lib/lib.out"]; !strings.HasSuffix(got, "Falsesweet") {
					t.Errorf("the sweet package holds %q", got)
				}
			})
			t.Run("unchanged", func(t *testing.T) {
				front.forget()
				publisher.in(t).upload("*")
				if n := front.count("PUT "); n != 0 {
					t.Errorf("%d files were sent again", n)
				}
			})
			t.Run("forced", func(t *testing.T) {
				before := listing(t, publisher, "r", "list", ref+"#*:*#*")
				front.forget()
				publisher.in(t).upload(ref, "--force")
				if front.count("PUT ") == 0 {
					t.Error("nothing was sent")
				}
				after := listing(t, publisher, "r", "list", ref+"#*:*#*")
				sameListing(t, before, after)
			})
			t.Run("archives already here are not sent again", func(t *testing.T) {
				// The recipe changed, its sources did not: their archive is known by its digest.
				path := filepath.Join(header, "conanfile.py")
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, append(text, "# changed\n"...), 0o644); err != nil {
					t.Fatal(err)
				}
				front.forget()
				c := publisher.in(t)
				c.create(header, "ann/stable")
				c.upload("header/1.0@ann/stable")
				if known, sent := front.count("PUT ", ".tgz 201"), front.count("PUT ", ".tgz 200"); known != 2 || sent != 0 {
					t.Errorf("%d archives found by digest and %d sent, want 2 and 0", known, sent)
				}
				reader := g.client(t, proxy.url())
				reader.install("header/1.0@ann/stable")
			})
			t.Run("metadata", func(t *testing.T) {
				c := publisher.in(t)
				folder := strings.TrimSpace(c.output("cache", "path", ref, "--folder=metadata"))
				for name, text := range map[string]string{"logs/build.log": "built", "two words.txt": "words"} {
					path := filepath.Join(folder, filepath.FromSlash(name))
					if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				before := listing(t, publisher, "r", "list", ref+"#*")
				c.must("upload", ref, "-r", "r", "-c", "--metadata=*")
				sameListing(t, before, listing(t, publisher, "r", "list", ref+"#*"))
				reader := g.client(t, proxy.url())
				reader.must("download", ref, "-r", "r", "--metadata=*")
				folder = strings.TrimSpace(reader.output("cache", "path", ref, "--folder=metadata"))
				for name, want := range map[string]string{"logs/build.log": "built", "two words.txt": "words"} {
					got, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(name)))
					if err != nil || string(got) != want {
						t.Errorf("metadata %s: %q %v, want %q", name, got, err, want)
					}
				}
			})
			t.Run("saved and restored", func(t *testing.T) {
				reader := g.client(t, proxy.url())
				reader.install("links/1.0@demo/testing")
				archive := filepath.Join(reader.work, "saved.tgz")
				reader.must("cache", "save", "*:*", "--file="+archive)
				other := g.client(t, proxy.url("local")).as("demo", "demo")
				other.must("cache", "restore", archive)
				sameTree(t, "links", publisher, other)
				front.forget()
				other.upload("*")
				if n := front.count("PUT "); n != 0 {
					t.Errorf("%d files of a restored package were sent again", n)
				}
			})
			t.Run("remove", func(t *testing.T) {
				c := publisher.in(t)
				c.must("remove", ref+":*", "-p", "options.flavour=sweet", "-c", "-r", "r")
				out := c.must("list", ref+":*", "-r", "r")
				says(t, out, "flavour: plain")
				silentAbout(t, out, "flavour: sweet")

				c.create(recipe(t, "lib", "return 1", "return 2"), "demo/testing")
				c.upload(ref)
				c.must("remove", ref+"#!latest", "-c", "-r", "r")
				if got := revisions(t, proxy, "lib/1.0/demo/testing"); len(got) != 1 {
					t.Errorf("revisions after the older ones were removed: %v", got)
				}
				c.must("remove", ref+"#latest:*#latest", "-c", "-r", "r")
				silentAbout(t, c.must("list", ref+":*", "-r", "r"), "flavour")
				c.must("remove", ref, "-c", "-r", "r")
				c.fails([]string{"not found"}, "remove", ref+"#"+strings.Repeat("0", 32), "-c", "-r", "r")
				c.must("remove", "header/*", "-c", "-r", "r")
				out = c.must("list", "*", "-r", "r")
				silentAbout(t, out, "lib/1.0", "header/1.0")
				says(t, out, "links/1.0@demo/testing")
			})
		})
	}
}

// TestConan2Interrupted kills a client in the middle of an upload: nothing half is visible, and a plain repetition
// completes it.
func TestConan2Interrupted(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, nil)
	front := record(t, proxy.url(), bothAPIs)
	publisher := newConan2(t, front.url()+"/local").as("demo", "demo")
	publisher.create(recipe(t, "big", "SEED", "one", "MEGABYTES", "3"), "demo/testing")
	const ref = "big/1.0@demo/testing"
	killDuring(t, front, publisher, "conan_package.tgz", publisher.uploadArgs(ref, "r")...)
	front.interceptWith(nil)
	newConan2(t, proxy.url()).fails([]string{"Missing"}, publisher.installArgs(ref)...)
	publisher.upload(ref)
	reader := newConan2(t, proxy.url())
	reader.install(ref)
	sameTree(t, "big", publisher, reader)
}

// TestConan2PublishAgainstUpstream: packages for a recipe that only upstream has adopt it; readers see both.
func TestConan2PublishAgainstUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, v2Server, nil)
	publisher := newConan2(t, w.upstream.url()).as("demo", "demo")
	publisher.create(recipe(t, "lib"), "demo/testing")
	publisher.upload("lib/1.0@demo/testing")
	const ref = "lib/1.0@demo/testing"

	c := newConan2(t, w.proxy.url()).as("demo", "demo")
	c.install(ref, "-o", "lib/*:flavour=sweet", "--build=lib/*")
	c.upload(ref)
	reader := newConan2(t, w.proxy.url())
	reader.install(ref, "-o", "lib/*:flavour=sweet")
	sameTree(t, "lib", c, reader)
	newConan2(t, w.proxy.url()).install(ref, "-o", "lib/*:flavour=plain")

	w.upstream.stop()
	alone := newConan2(t, w.proxy.url("local"))
	alone.install(ref, "-o", "lib/*:flavour=sweet", "--build=lib/*")

	elsewhere := newConan2(t, w.proxy.url("upstream/up")).as("demo", "demo")
	elsewhere.create(recipe(t, "header"), "demo/testing")
	elsewhere.fails([]string{"ERROR"}, elsewhere.uploadArgs("header/1.0@demo/testing", "r")...)
}

// TestConan2Access: login by command, wrong passwords, missing rights, anonymous readers of private names.
func TestConan2Access(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, settings{"auth": settings{
		"read":  []settings{{"pattern": "*@ann/*", "users": []string{"ann"}}, {"pattern": "*", "users": []string{"*"}}},
		"write": []settings{{"pattern": "*@{user}/*", "users": []string{"?"}}},
	}})
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			front := record(t, proxy.url(), bothAPIs)
			c := g.client(t, front.url()+"/local")
			c.must("remote", "login", "r", "ann", "-p", "ann")
			c.fails([]string{"Wrong user or password"}, "remote", "login", "r", "ann", "-p", "wrong")
			c.must("remote", "login", "r", "ann", "-p", "ann")
			c.create(recipe(t, "header"), "ann/testing")
			c.upload("header/1.0@ann/testing")
			c.create(recipe(t, "header"), "bob/testing")
			front.forget()
			c.fails([]string{"Permission denied"}, c.uploadArgs("header/1.0@bob/testing", "r")...)
			if front.count("PUT ") > 1 || len(front.calls()) > 8 {
				t.Errorf("too many requests for one refusal:\n%s", strings.Join(front.calls(), "\n"))
			}
			anonymous := g.client(t, front.url())
			front.forget()
			anonymous.fails(nil, anonymous.installArgs("header/1.0@ann/testing")...)
			if front.count("header", " 401") == 0 {
				t.Errorf("an anonymous reader of a private name was not asked to log in:\n%s", strings.Join(front.calls(), "\n"))
			}
			silentAbout(t, g.client(t, front.url()).as("bob", "bob").must("list", "*", "-r", "r"), "header")
			g.client(t, front.url()).as("ann", "ann").install("header/1.0@ann/testing")
			c.must("remove", "header/*", "-c", "-r", "r")
		})
	}
}
