package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestConan1Publish uploads new, unchanged, changed, forced and partial content, to the local view and through the
// root view.
func TestConan1Publish(t *testing.T) {
	t.Parallel()
	for _, view := range []string{"local", ""} {
		t.Run("to /"+view, func(t *testing.T) {
			t.Parallel()
			proxy := startConanproxy(t, nil)
			front := record(t, proxy.url(), bothAPIs)
			publisher := newConan1(t, front.url()+"/"+view).as("demo", "demo")
			publisher.create(recipe(t, "lib"), "demo/testing")
			const ref = "lib/1.0@demo/testing"
			read := func(t *testing.T, option string) *client {
				t.Helper()
				c := newConan1(t, proxy.url())
				c.install(ref, "-o", "lib:flavour="+option)
				return c
			}

			t.Run("new", func(t *testing.T) {
				publisher.in(t).upload(ref)
				sameTree(t, "lib", publisher, read(t, "plain"))
			})
			t.Run("unchanged", func(t *testing.T) {
				front.forget()
				out := publisher.in(t).upload(ref)
				says(t, out, "Recipe is up to date", "Package is up to date")
				if n := front.count("PUT "); n != 0 {
					t.Errorf("%d files were sent again", n)
				}
			})
			t.Run("forced", func(t *testing.T) {
				front.forget()
				publisher.in(t).upload(ref, "--force")
				if front.count("PUT ") == 0 {
					t.Error("nothing was sent")
				}
				sameTree(t, "lib", publisher, read(t, "plain"))
				if n := len(revisions(t, proxy, "lib/1.0/demo/testing")); n != 1 {
					t.Errorf("%d recipe revisions after a forced upload of the same content, want 1", n)
				}
			})
			t.Run("another package only", func(t *testing.T) {
				publisher.in(t).create(recipe(t, "lib"), "demo/testing", "-o", "lib:flavour=sweet")
				out := publisher.in(t).upload(ref)
				says(t, out, "Recipe is up to date", "Package is up to date")
				sweet := read(t, "sweet")
				if got := sweet.cacheTree("lib")["lib/lib.out"]; !strings.HasSuffix(got, "Falsesweet") {
					t.Errorf("the other package holds %q", got)
				}
			})
			t.Run("changed", func(t *testing.T) {
				// The new recipe has neither exports nor the second source file any more.
				changed := recipe(t, "lib", "return 1", "return 2", `exports = "LICENSE", "notes/*"`, "")
				publisher.in(t).must("remove", ref, "-f")
				publisher.in(t).create(changed, "demo/testing")
				before := downloads(t, proxy, "v1/conans/lib/1.0/demo/testing")
				older := fetchAll(t, proxy, before)
				publisher.in(t).upload(ref)
				reader := read(t, "plain")
				sameTree(t, "lib", publisher, reader)
				if got := reader.cacheTree("lib")["lib/lib.out"]; !strings.Contains(got, "return 2") {
					t.Errorf("installed package holds the old content: %q", got)
				}
				now := downloads(t, proxy, "v1/conans/lib/1.0/demo/testing")
				if _, ok := now["conan_export.tgz"]; ok {
					t.Error("the dropped conan_export.tgz is still listed")
				}
				if diff := cmp.Diff(older, fetchAll(t, proxy, before)); diff != "" {
					t.Errorf("a reader that holds older URLs gets another set now (-before +now):\n%s", diff)
				}
				if n := len(revisions(t, proxy, "lib/1.0/demo/testing")); n != 2 {
					t.Errorf("%d recipe revisions after a changed upload, want 2", n)
				}
			})
		})
	}
}

// TestConan1PublishAgainstUpstream: through the root view an upload of what upstream has already is skipped by the
// client, through the local view it is stored; a package for an upstream recipe adopts the recipe.
func TestConan1PublishAgainstUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, v1Server, nil)
	publisher := newConan1(t, w.upstream.url()).as("demo", "demo")
	publisher.create(recipe(t, "lib"), "demo/testing")
	publisher.upload("lib/1.0@demo/testing")

	t.Run("skipped by the client at the root view", func(t *testing.T) {
		c := newConan1(t, w.proxy.url()).as("demo", "demo")
		c.install("lib/1.0@demo/testing")
		says(t, c.upload("lib/1.0@demo/testing"), "Recipe is up to date", "Package is up to date")
		newConan1(t, w.proxy.url("local")).fails([]string{"was not found in remote"}, c.installArgs("lib/1.0@demo/testing")...)
	})
	t.Run("a package for a recipe that only upstream has", func(t *testing.T) {
		c := newConan1(t, w.proxy.url()).as("demo", "demo")
		c.install("lib/1.0@demo/testing", "-o", "lib:flavour=sweet", "--build", "lib")
		c.upload("lib/1.0@demo/testing")
		reader := newConan1(t, w.proxy.url())
		reader.install("lib/1.0@demo/testing", "-o", "lib:flavour=sweet")
		sameTree(t, "lib", c, reader)
		// Recipe and package are whole in the local view too, without upstream.
		w.upstream.stop()
		defer w.upstream.carryOn()
		alone := newConan1(t, w.proxy.url("local"))
		alone.install("lib/1.0@demo/testing", "-o", "lib:flavour=sweet", "--build", "lib")
	})
	t.Run("stored at the local view", func(t *testing.T) {
		c := newConan1(t, w.proxy.url("local")).as("demo", "demo")
		c.create(recipe(t, "lib"), "demo/testing")
		c.upload("lib/1.0@demo/testing")
		reader := newConan1(t, w.proxy.url("local"))
		reader.install("lib/1.0@demo/testing")
		sameTree(t, "lib", c, reader)
	})
	t.Run("refused at an upstream's view", func(t *testing.T) {
		c := newConan1(t, w.proxy.url("upstream/up")).as("demo", "demo")
		c.create(recipe(t, "header"), "demo/testing")
		c.fails([]string{"ERROR"}, c.uploadArgs("header/1.0@demo/testing", "r")...)
	})
}

// TestConan1Interrupted kills a client in the middle of an upload: nothing half is visible, and a plain repetition
// completes it.
func TestConan1Interrupted(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, nil)
	front := record(t, proxy.url(), bothAPIs)
	publisher := newConan1(t, front.url()+"/local").as("demo", "demo")
	publisher.create(recipe(t, "big", "SEED", "one", "MEGABYTES", "3"), "demo/testing")
	const ref = "big/1.0@demo/testing"

	killDuring(t, front, publisher, "conan_package.tgz", publisher.uploadArgs(ref, "r")...)
	front.interceptWith(nil)
	newConan1(t, proxy.url()).fails([]string{"Missing"}, publisher.installArgs(ref)...)

	publisher.upload(ref)
	reader := newConan1(t, proxy.url())
	reader.install(ref)
	sameTree(t, "big", publisher, reader)

	// The same for a changed package: the old one is served until the new one is whole.
	changed := newConan1(t, front.url()+"/local").as("demo", "demo")
	changed.create(recipe(t, "big", "SEED", "two", "MEGABYTES", "3"), "demo/testing")
	killDuring(t, front, changed, "conan_package.tgz", changed.uploadArgs(ref, "r")...)
	front.interceptWith(nil)
	reader = newConan1(t, proxy.url())
	reader.install(ref)
	sameTree(t, "big", publisher, reader)
	changed.upload(ref)
	reader = newConan1(t, proxy.url())
	reader.install(ref)
	sameTree(t, "big", changed, reader)
}

// killDuring starts a command and kills the client when a part of the body of the named file has gone through.
func killDuring(t *testing.T, front *recorder, c *client, file string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	reached := make(chan struct{})
	front.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, file) {
			r.Body = &stallingBody{ReadCloser: r.Body, left: 64 << 10, gone: r.Context().Done(), reached: func() {
				once.Do(func() { close(reached) })
			}}
		}
		return false
	})
	cmd := c.command(ctx, args...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-reached:
	case err := <-ended:
		t.Fatalf("conan %s ended before it sent %s: %v\n%s", strings.Join(args, " "), file, err, out.String())
	}
	cmd.Process.Kill()
	if err := <-ended; err == nil {
		t.Fatalf("conan %s succeeded although it was killed", strings.Join(args, " "))
	}
}

// stallingBody lets a number of bytes through and then waits for the client to go.
type stallingBody struct {
	io.ReadCloser
	left    int
	gone    <-chan struct{}
	reached func()
}

func (b *stallingBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.reached()
		<-b.gone
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// TestConan1TwoUploaders: two clients upload different content under one reference at once. One whole set wins.
func TestConan1TwoUploaders(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, nil)
	const ref = "big/1.0@demo/testing"
	var publishers []*client
	for _, seed := range []string{"one", "two"} {
		c := newConan1(t, proxy.url("local")).as("demo", "demo")
		c.create(recipe(t, "big", "SEED", seed, "MEGABYTES", "2"), "demo/testing")
		publishers = append(publishers, c)
	}
	var wg sync.WaitGroup
	for _, c := range publishers {
		// Either may be told that the other was first; what counts is what readers get afterwards.
		wg.Go(func() { c.try(c.uploadArgs(ref, "r", "--force")...) })
	}
	wg.Wait()

	reader := newConan1(t, proxy.url())
	reader.install(ref)
	got := reader.cacheTree("big")
	if !cmp.Equal(got, publishers[0].cacheTree("big")) && !cmp.Equal(got, publishers[1].cacheTree("big")) {
		t.Error("the installed package is neither of the two uploaded ones")
	}
	recipeText, err := os.ReadFile(filepath.Join(reader.home, ".conan", "data", "big", "1.0", "demo", "testing", "export", "conanfile.py"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(reader.home, ".conan", "data", "big", "1.0", "demo", "testing", "export", "conanmanifest.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(manifest), "conanfile.py: "+md5Hex(recipeText)) {
		t.Errorf("recipe and manifest do not belong together:\n%s", manifest)
	}
}

// TestConan1ParallelUpload uploads many packages with the client's threads.
func TestConan1ParallelUpload(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, nil)
	publisher := newConan1(t, proxy.url("local")).as("demo", "demo")
	publisher.must("user", "-p", "demo", "-r", "r", "demo")
	versions := []string{"1.0", "1.1", "1.2", "1.3", "1.4", "1.5"}
	for _, version := range versions {
		publisher.create(recipe(t, "header", `"1.0"`, `"`+version+`"`), "demo/testing")
	}
	publisher.upload("header/*", "--parallel")
	reader := newConan1(t, proxy.url())
	reader.must("download", "header/1.5@demo/testing", "-r", "r")
	want := ""
	for _, version := range versions {
		want += "header/" + version + "@demo/testing\n"
	}
	if got := reader.output("search", "header", "-r", "r", "--raw"); got != want {
		t.Errorf("search after a parallel upload: %q, want %q", got, want)
	}
	for _, version := range versions {
		packageID(t, proxy, "header/"+version+"/demo/testing")
	}
}

// TestConan1Remove removes packages by id and by query, then recipes by reference and by pattern.
func TestConan1Remove(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, nil)
	c := newConan1(t, proxy.url("local")).as("demo", "demo")
	c.must("user", "-p", "demo", "-r", "r", "demo")
	for _, flavour := range []string{"plain", "sweet"} {
		c.create(recipe(t, "lib"), "demo/testing", "-o", "lib:flavour="+flavour)
	}
	c.create(recipe(t, "header"), "demo/testing")
	c.create(recipe(t, "header", `"1.0"`, `"2.0"`), "demo/testing")
	c.upload("*")
	const ref = "lib/1.0@demo/testing"

	c.must("remove", ref, "-q", "flavour=sweet", "-f", "-r", "r")
	out := c.must("search", ref, "-r", "r")
	says(t, out, "flavour: plain")
	silentAbout(t, out, "flavour: sweet")

	id := packageID(t, proxy, "lib/1.0/demo/testing")
	c.must("remove", ref, "-p", id, "-f", "-r", "r")
	says(t, c.must("search", ref, "-r", "r"), "There are no packages")
	c.fails([]string{"404"}, "remove", ref, "-p", id, "-f", "-r", "r")
	// All packages of a recipe without any: the client asks again and is content.
	c.must("remove", ref, "-p", "-f", "-r", "r")

	c.upload(ref)
	says(t, c.must("search", ref, "-r", "r"), "flavour: plain", "flavour: sweet")
	c.must("remove", ref, "-f", "-r", "r")
	c.fails([]string{"404"}, "remove", ref, "-f", "-r", "r")
	c.must("remove", "header/*", "-f", "-r", "r")
	says(t, c.must("search", "*", "-r", "r"), "There are no packages")
	newConan1(t, proxy.url()).fails([]string{"was not found in remote"}, c.installArgs(ref)...)
}
