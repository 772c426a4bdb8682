package conan1

import (
	"conanproxy/e2e/e2etest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestConan1Publish uploads new, unchanged, changed, forced and partial content, to the local view
// and through the root view.
func TestConan1Publish(t *testing.T) {
	t.Parallel()
	for _, view := range []string{"local", ""} {
		t.Run("to /"+view, func(t *testing.T) {
			t.Parallel()
			proxy := e2etest.StartConanproxy(t, nil)
			front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)
			publisher := e2etest.NewConan1(t, front.URL()+"/"+view).As("demo", "demo")
			publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			const ref = "lib/1.0@demo/testing"
			read := func(t *testing.T, option string) *e2etest.Client {
				t.Helper()
				c := e2etest.NewConan1(t, proxy.URL())
				c.Install(ref, "-o", "lib:flavour="+option)
				return c
			}

			t.Run("new", func(t *testing.T) {
				publisher.In(t).Upload(ref)
				e2etest.SameTree(t, "lib", publisher, read(t, "plain"))
			})
			t.Run("unchanged", func(t *testing.T) {
				front.Forget()
				out := publisher.In(t).Upload(ref)
				e2etest.Says(t, out, "Recipe is up to date", "Package is up to date")
				if n := front.Count("PUT "); n != 0 {
					t.Errorf("%d files were sent again", n)
				}
			})
			t.Run("forced", func(t *testing.T) {
				front.Forget()
				publisher.In(t).Upload(ref, "--force")
				if front.Count("PUT ") == 0 {
					t.Error("nothing was sent")
				}
				e2etest.SameTree(t, "lib", publisher, read(t, "plain"))
				if n := len(e2etest.Revisions(t, proxy, "lib/1.0/demo/testing")); n != 1 {
					t.Errorf("%d recipe revisions after a forced upload of the same content, want 1", n)
				}
			})
			t.Run("another package only", func(t *testing.T) {
				publisher.In(t).Create(e2etest.Recipe(t, "lib"), "demo/testing", "-o", "lib:flavour=sweet")
				out := publisher.In(t).Upload(ref)
				e2etest.Says(t, out, "Recipe is up to date", "Package is up to date")
				sweet := read(t, "sweet")
				if got := sweet.CacheTree("lib")["lib/lib.out"]; !strings.HasSuffix(got, "Falsesweet") {
					t.Errorf("the other package holds %q", got)
				}
			})
			t.Run("changed", func(t *testing.T) {
				// The new recipe has neither exports nor the second source file any more.
				changed := e2etest.Recipe(t, "lib", "return 1", "return 2", `exports = "LICENSE", "notes/*"`, "")
				publisher.In(t).Must("remove", ref, "-f")
				publisher.In(t).Create(changed, "demo/testing")
				before := e2etest.Downloads(t, proxy, "v1/conans/lib/1.0/demo/testing")
				older := e2etest.FetchAll(t, proxy, before)
				publisher.In(t).Upload(ref)
				reader := read(t, "plain")
				e2etest.SameTree(t, "lib", publisher, reader)
				if got := reader.CacheTree("lib")["lib/lib.out"]; !strings.Contains(got, "return 2") {
					t.Errorf("installed package holds the old content: %q", got)
				}
				now := e2etest.Downloads(t, proxy, "v1/conans/lib/1.0/demo/testing")
				if _, ok := now["conan_export.tgz"]; ok {
					t.Error("the dropped conan_export.tgz is still listed")
				}
				if diff := cmp.Diff(older, e2etest.FetchAll(t, proxy, before)); diff != "" {
					t.Errorf("a reader that holds older URLs gets another set now (-before +now):\n%s", diff)
				}
				if n := len(e2etest.Revisions(t, proxy, "lib/1.0/demo/testing")); n != 2 {
					t.Errorf("%d recipe revisions after a changed upload, want 2", n)
				}
			})
		})
	}
}

// TestConan1PublishAgainstUpstream: through the root view an upload of what upstream has already is
// skipped by the client, through the local view it is stored; a package for an upstream recipe
// adopts the recipe.
func TestConan1PublishAgainstUpstream(t *testing.T) {
	t.Parallel()
	w := e2etest.NewWorld(t, e2etest.V1Server, nil)
	publisher := e2etest.NewConan1(t, w.Upstream.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Upload("lib/1.0@demo/testing")

	t.Run("skipped by the client at the root view", func(t *testing.T) {
		c := e2etest.NewConan1(t, w.Proxy.URL()).As("demo", "demo")
		c.Install("lib/1.0@demo/testing")
		e2etest.Says(t, c.Upload("lib/1.0@demo/testing"), "Recipe is up to date", "Package is up to date")
		e2etest.NewConan1(t, w.Proxy.URL("local")).Fails([]string{"was not found in remote"}, c.InstallArgs("lib/1.0@demo/testing")...)
	})
	t.Run("a package for a recipe that only upstream has", func(t *testing.T) {
		c := e2etest.NewConan1(t, w.Proxy.URL()).As("demo", "demo")
		c.Install("lib/1.0@demo/testing", "-o", "lib:flavour=sweet", "--build", "lib")
		c.Upload("lib/1.0@demo/testing")
		reader := e2etest.NewConan1(t, w.Proxy.URL())
		reader.Install("lib/1.0@demo/testing", "-o", "lib:flavour=sweet")
		e2etest.SameTree(t, "lib", c, reader)
		// Recipe and package are whole in the local view too, without upstream.
		w.Upstream.Stop()
		defer w.Upstream.CarryOn()
		alone := e2etest.NewConan1(t, w.Proxy.URL("local"))
		alone.Install("lib/1.0@demo/testing", "-o", "lib:flavour=sweet", "--build", "lib")
	})
	t.Run("stored at the local view", func(t *testing.T) {
		c := e2etest.NewConan1(t, w.Proxy.URL("local")).As("demo", "demo")
		c.Create(e2etest.Recipe(t, "lib"), "demo/testing")
		c.Upload("lib/1.0@demo/testing")
		reader := e2etest.NewConan1(t, w.Proxy.URL("local"))
		reader.Install("lib/1.0@demo/testing")
		e2etest.SameTree(t, "lib", c, reader)
	})
	t.Run("refused at an upstream's view", func(t *testing.T) {
		c := e2etest.NewConan1(t, w.Proxy.URL("upstream/up")).As("demo", "demo")
		c.Create(e2etest.Recipe(t, "header"), "demo/testing")
		c.Fails([]string{"ERROR"}, c.UploadArgs("header/1.0@demo/testing", "r")...)
	})
}

// TestConan1Interrupted kills a client in the middle of an upload: nothing half is visible, and a
// plain repetition completes it.
func TestConan1Interrupted(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)
	publisher := e2etest.NewConan1(t, front.URL()+"/local").As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "big", "SEED", "one", "MEGABYTES", "3"), "demo/testing")
	const ref = "big/1.0@demo/testing"

	e2etest.KillDuring(t, front, publisher, "conan_package.tgz", publisher.UploadArgs(ref, "r")...)
	front.InterceptWith(nil)
	e2etest.NewConan1(t, proxy.URL()).Fails([]string{"Missing"}, publisher.InstallArgs(ref)...)

	publisher.Upload(ref)
	reader := e2etest.NewConan1(t, proxy.URL())
	reader.Install(ref)
	e2etest.SameTree(t, "big", publisher, reader)

	// The same for a changed package: the old one is served until the new one is whole.
	changed := e2etest.NewConan1(t, front.URL()+"/local").As("demo", "demo")
	changed.Create(e2etest.Recipe(t, "big", "SEED", "two", "MEGABYTES", "3"), "demo/testing")
	e2etest.KillDuring(t, front, changed, "conan_package.tgz", changed.UploadArgs(ref, "r")...)
	front.InterceptWith(nil)
	reader = e2etest.NewConan1(t, proxy.URL())
	reader.Install(ref)
	e2etest.SameTree(t, "big", publisher, reader)
	changed.Upload(ref)
	reader = e2etest.NewConan1(t, proxy.URL())
	reader.Install(ref)
	e2etest.SameTree(t, "big", changed, reader)
}

// TestConan1TwoUploaders: two clients upload different content under one reference at once. One
// whole set wins.
func TestConan1TwoUploaders(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	const ref = "big/1.0@demo/testing"
	var publishers []*e2etest.Client
	for _, seed := range []string{"one", "two"} {
		c := e2etest.NewConan1(t, proxy.URL("local")).As("demo", "demo")
		c.Create(e2etest.Recipe(t, "big", "SEED", seed, "MEGABYTES", "2"), "demo/testing")
		publishers = append(publishers, c)
	}
	var wg sync.WaitGroup
	for _, c := range publishers {
		// Either may be told that the other was first; what counts is what readers get afterwards.
		wg.Go(func() { c.Try(c.UploadArgs(ref, "r", "--force")...) })
	}
	wg.Wait()

	reader := e2etest.NewConan1(t, proxy.URL())
	reader.Install(ref)
	got := reader.CacheTree("big")
	if !cmp.Equal(got, publishers[0].CacheTree("big")) && !cmp.Equal(got, publishers[1].CacheTree("big")) {
		t.Error("the installed package is neither of the two uploaded ones")
	}
	recipeText, err := os.ReadFile(filepath.Join(reader.Home, ".conan", "data", "big", "1.0", "demo", "testing", "export", "conanfile.py"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(reader.Home, ".conan", "data", "big", "1.0", "demo", "testing", "export", "conanmanifest.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(manifest), "conanfile.py: "+e2etest.Md5Hex(recipeText)) {
		t.Errorf("recipe and manifest do not belong together:\n%s", manifest)
	}
}

// TestConan1ParallelUpload uploads many packages with the client's threads.
func TestConan1ParallelUpload(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	publisher := e2etest.NewConan1(t, proxy.URL("local")).As("demo", "demo")
	publisher.Must("user", "-p", "demo", "-r", "r", "demo")
	versions := []string{"1.0", "1.1", "1.2", "1.3", "1.4", "1.5"}
	for _, version := range versions {
		publisher.Create(e2etest.Recipe(t, "header", `"1.0"`, `"`+version+`"`), "demo/testing")
	}
	publisher.Upload("header/*", "--parallel")
	reader := e2etest.NewConan1(t, proxy.URL())
	reader.Must("download", "header/1.5@demo/testing", "-r", "r")
	want := ""
	for _, version := range versions {
		want += "header/" + version + "@demo/testing\n"
	}
	if got := reader.Output("search", "header", "-r", "r", "--raw"); got != want {
		t.Errorf("search after a parallel upload: %q, want %q", got, want)
	}
	for _, version := range versions {
		e2etest.PackageID(t, proxy, "header/"+version+"/demo/testing")
	}
}

// TestConan1Remove removes packages by id and by query, then recipes by reference and by pattern.
func TestConan1Remove(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	c := e2etest.NewConan1(t, proxy.URL("local")).As("demo", "demo")
	c.Must("user", "-p", "demo", "-r", "r", "demo")
	for _, flavour := range []string{"plain", "sweet"} {
		c.Create(e2etest.Recipe(t, "lib"), "demo/testing", "-o", "lib:flavour="+flavour)
	}
	c.Create(e2etest.Recipe(t, "header"), "demo/testing")
	c.Create(e2etest.Recipe(t, "header", `"1.0"`, `"2.0"`), "demo/testing")
	c.Upload("*")
	const ref = "lib/1.0@demo/testing"

	c.Must("remove", ref, "-q", "flavour=sweet", "-f", "-r", "r")
	out := c.Must("search", ref, "-r", "r")
	e2etest.Says(t, out, "flavour: plain")
	e2etest.SilentAbout(t, out, "flavour: sweet")

	id := e2etest.PackageID(t, proxy, "lib/1.0/demo/testing")
	c.Must("remove", ref, "-p", id, "-f", "-r", "r")
	e2etest.Says(t, c.Must("search", ref, "-r", "r"), "There are no packages")
	c.Fails([]string{"404"}, "remove", ref, "-p", id, "-f", "-r", "r")
	// All packages of a recipe without any: the client asks again and is content.
	c.Must("remove", ref, "-p", "-f", "-r", "r")

	c.Upload(ref)
	e2etest.Says(t, c.Must("search", ref, "-r", "r"), "flavour: plain", "flavour: sweet")
	c.Must("remove", ref, "-f", "-r", "r")
	c.Fails([]string{"404"}, "remove", ref, "-f", "-r", "r")
	c.Must("remove", "header/*", "-f", "-r", "r")
	e2etest.Says(t, c.Must("search", "*", "-r", "r"), "There are no packages")
	e2etest.NewConan1(t, proxy.URL()).Fails([]string{"was not found in remote"}, c.InstallArgs(ref)...)
}
