package conan2

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConan2Publish uploads new, unchanged, forced, parallel and metadata, and removes in all
// forms.
func TestConan2Publish(t *testing.T) {
	t.Parallel()
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			proxy := e2etest.StartConanproxy(t, nil)
			front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)
			publisher := g.client(t, front.URL()+"/local").As("demo", "demo")
			publisher.Write("global.conf", "core:non_interactive=True\ncore.upload:parallel=4\ncore.upload:retry_wait=0\n")
			publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing", "-o", "lib/*:flavour=sweet")
			publisher.Create(e2etest.Recipe(t, "links"), "demo/testing")
			header := e2etest.Recipe(t, "header")
			publisher.Create(header, "solo")
			publisher.Create(e2etest.Recipe(t, "header", `"header"`, `"other"`), "")
			const ref = "lib/1.0@demo/testing"

			t.Run("new, in parallel", func(t *testing.T) {
				publisher.In(t).Upload("*")
				reader := g.client(t, proxy.URL())
				reader.Install(ref, "--requires=links/1.0@demo/testing", "--requires=header/1.0@solo", "-o", "lib/*:flavour=sweet")
				e2etest.SameTree(t, "links", publisher, reader)
				e2etest.SameTree(t, "header", publisher, reader)
				if got := reader.CacheTree("lib")["lib/lib.out"]; !strings.HasSuffix(got, "Falsesweet") {
					t.Errorf("the sweet package holds %q", got)
				}
			})
			t.Run("unchanged", func(t *testing.T) {
				front.Forget()
				publisher.In(t).Upload("*")
				if n := front.Count("PUT "); n != 0 {
					t.Errorf("%d files were sent again", n)
				}
			})
			t.Run("forced", func(t *testing.T) {
				before := listing(t, publisher, "r", "list", ref+"#*:*#*")
				front.Forget()
				publisher.In(t).Upload(ref, "--force")
				if front.Count("PUT ") == 0 {
					t.Error("nothing was sent")
				}
				after := listing(t, publisher, "r", "list", ref+"#*:*#*")
				e2etest.SameListing(t, before, after)
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
				front.Forget()
				c := publisher.In(t)
				c.Create(header, "ann/stable")
				c.Upload("header/1.0@ann/stable")
				if known, sent := front.Count("PUT ", ".tgz 201"), front.Count("PUT ", ".tgz 200"); known != 2 || sent != 0 {
					t.Errorf("%d archives found by digest and %d sent, want 2 and 0", known, sent)
				}
				reader := g.client(t, proxy.URL())
				reader.Install("header/1.0@ann/stable")
			})
			t.Run("metadata", func(t *testing.T) {
				c := publisher.In(t)
				folder := strings.TrimSpace(c.Output("cache", "path", ref, "--folder=metadata"))
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
				c.Must("upload", ref, "-r", "r", "-c", "--metadata=*")
				e2etest.SameListing(t, before, listing(t, publisher, "r", "list", ref+"#*"))
				reader := g.client(t, proxy.URL())
				reader.Must("download", ref, "-r", "r", "--metadata=*")
				folder = strings.TrimSpace(reader.Output("cache", "path", ref, "--folder=metadata"))
				for name, want := range map[string]string{"logs/build.log": "built", "two words.txt": "words"} {
					got, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(name)))
					if err != nil || string(got) != want {
						t.Errorf("metadata %s: %q %v, want %q", name, got, err, want)
					}
				}
			})
			t.Run("saved and restored", func(t *testing.T) {
				reader := g.client(t, proxy.URL())
				reader.Install("links/1.0@demo/testing")
				archive := filepath.Join(reader.Work, "saved.tgz")
				reader.Must("cache", "save", "*:*", "--file="+archive)
				other := g.client(t, proxy.URL("local")).As("demo", "demo")
				other.Must("cache", "restore", archive)
				e2etest.SameTree(t, "links", publisher, other)
				front.Forget()
				other.Upload("*")
				if n := front.Count("PUT "); n != 0 {
					t.Errorf("%d files of a restored package were sent again", n)
				}
			})
			t.Run("remove", func(t *testing.T) {
				c := publisher.In(t)
				c.Must("remove", ref+":*", "-p", "options.flavour=sweet", "-c", "-r", "r")
				out := c.Must("list", ref+":*", "-r", "r")
				e2etest.Says(t, out, "flavour: plain")
				e2etest.SilentAbout(t, out, "flavour: sweet")

				c.Create(e2etest.Recipe(t, "lib", "return 1", "return 2"), "demo/testing")
				c.Upload(ref)
				c.Must("remove", ref+"#!latest", "-c", "-r", "r")
				if got := e2etest.Revisions(t, proxy, "lib/1.0/demo/testing"); len(got) != 1 {
					t.Errorf("revisions after the older ones were removed: %v", got)
				}
				c.Must("remove", ref+"#latest:*#latest", "-c", "-r", "r")
				e2etest.SilentAbout(t, c.Must("list", ref+":*", "-r", "r"), "flavour")
				c.Must("remove", ref, "-c", "-r", "r")
				c.Fails([]string{"not found"}, "remove", ref+"#"+strings.Repeat("0", 32), "-c", "-r", "r")
				c.Must("remove", "header/*", "-c", "-r", "r")
				out = c.Must("list", "*", "-r", "r")
				e2etest.SilentAbout(t, out, "lib/1.0", "header/1.0")
				e2etest.Says(t, out, "links/1.0@demo/testing")
			})
		})
	}
}

// TestConan2Interrupted kills a client in the middle of an upload: nothing half is visible, and a
// plain repetition completes it.
func TestConan2Interrupted(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)
	publisher := e2etest.NewConan2(t, front.URL()+"/local").As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "big", "SEED", "one", "MEGABYTES", "3"), "demo/testing")
	const ref = "big/1.0@demo/testing"
	e2etest.KillDuring(t, front, publisher, "conan_package.tgz", publisher.UploadArgs(ref, "r")...)
	front.InterceptWith(nil)
	e2etest.NewConan2(t, proxy.URL()).Fails([]string{"Missing"}, publisher.InstallArgs(ref)...)
	publisher.Upload(ref)
	reader := e2etest.NewConan2(t, proxy.URL())
	reader.Install(ref)
	e2etest.SameTree(t, "big", publisher, reader)
}

// TestConan2PublishAgainstUpstream: packages for a recipe that only upstream has adopt it; readers
// see both.
func TestConan2PublishAgainstUpstream(t *testing.T) {
	t.Parallel()
	w := e2etest.NewWorld(t, e2etest.V2Server, nil)
	publisher := e2etest.NewConan2(t, w.Upstream.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Upload("lib/1.0@demo/testing")
	const ref = "lib/1.0@demo/testing"

	c := e2etest.NewConan2(t, w.Proxy.URL()).As("demo", "demo")
	c.Install(ref, "-o", "lib/*:flavour=sweet", "--build=lib/*")
	c.Upload(ref)
	reader := e2etest.NewConan2(t, w.Proxy.URL())
	reader.Install(ref, "-o", "lib/*:flavour=sweet")
	e2etest.SameTree(t, "lib", c, reader)
	e2etest.NewConan2(t, w.Proxy.URL()).Install(ref, "-o", "lib/*:flavour=plain")

	w.Upstream.Stop()
	alone := e2etest.NewConan2(t, w.Proxy.URL("local"))
	alone.Install(ref, "-o", "lib/*:flavour=sweet", "--build=lib/*")

	elsewhere := e2etest.NewConan2(t, w.Proxy.URL("upstream/up")).As("demo", "demo")
	elsewhere.Create(e2etest.Recipe(t, "header"), "demo/testing")
	elsewhere.Fails([]string{"ERROR"}, elsewhere.UploadArgs("header/1.0@demo/testing", "r")...)
}

// TestConan2Access: login by command, wrong passwords, missing rights, anonymous readers of private
// names.
func TestConan2Access(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{"auth": harness.Settings{
		"read":  []harness.Settings{{"pattern": "*@ann/*", "users": []string{"ann"}}, {"pattern": "*", "users": []string{"*"}}},
		"write": []harness.Settings{{"pattern": "*@{user}/*", "users": []string{"?"}}},
	}})
	for _, g := range generation2 {
		t.Run(g.name, func(t *testing.T) {
			front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)
			c := g.client(t, front.URL()+"/local")
			c.Must("remote", "login", "r", "ann", "-p", "ann")
			c.Fails([]string{"Wrong user or password"}, "remote", "login", "r", "ann", "-p", "wrong")
			c.Must("remote", "login", "r", "ann", "-p", "ann")
			c.Create(e2etest.Recipe(t, "header"), "ann/testing")
			c.Upload("header/1.0@ann/testing")
			c.Create(e2etest.Recipe(t, "header"), "bob/testing")
			front.Forget()
			c.Fails([]string{"Permission denied"}, c.UploadArgs("header/1.0@bob/testing", "r")...)
			if front.Count("PUT ") > 1 || len(front.Calls()) > 8 {
				t.Errorf("too many requests for one refusal:\n%s", strings.Join(front.Calls(), "\n"))
			}
			anonymous := g.client(t, front.URL())
			front.Forget()
			anonymous.Fails(nil, anonymous.InstallArgs("header/1.0@ann/testing")...)
			if front.Count("header", " 401") == 0 {
				t.Errorf("an anonymous reader of a private name was not asked to log in:\n%s", strings.Join(front.Calls(), "\n"))
			}
			e2etest.SilentAbout(t, g.client(t, front.URL()).As("bob", "bob").Must("list", "*", "-r", "r"), "header")
			g.client(t, front.URL()).As("ann", "ann").Install("header/1.0@ann/testing")
			c.Must("remove", "header/*", "-c", "-r", "r")
		})
	}
}
