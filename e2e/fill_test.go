package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFillShared: several clients install one cold package at once; each file comes from upstream once, also when
// the client that asked first leaves in the middle.
func TestFillShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, v2Server, nil)
	publisher := newConan2(t, w.upstream.url()).as("demo", "demo")
	publisher.create(recipe(t, "big", "SEED", "one", "MEGABYTES", "4"), "demo/testing")
	publisher.upload("big/1.0@demo/testing")
	w.upstream.forget()
	const ref, archive = "big/1.0@demo/testing", "conan_package.tgz"

	release := make(chan struct{})
	asked := make(chan struct{})
	var once sync.Once
	w.upstream.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, archive) {
			once.Do(func() { close(asked) })
			<-release
		}
		return false
	})
	front := record(t, w.proxy.url(), bothAPIs)
	waiting := make(chan struct{}, 16)
	front.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, archive) {
			waiting <- struct{}{}
		}
		return false
	})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	leaving := newConan2(t, front.url())
	cmd := leaving.command(ctx, leaving.installArgs(ref)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-waiting
	<-asked
	staying := []*client{newConan2(t, front.url()), newConan29(t, front.url())}
	var wg sync.WaitGroup
	for _, c := range staying {
		wg.Go(func() {
			if out, ok := c.try(c.installArgs(ref)...); !ok {
				t.Errorf("install failed: %s", tail(out, 2000))
			}
		})
	}
	<-waiting
	<-waiting
	cmd.Process.Kill()
	cmd.Wait()
	close(release)
	wg.Wait()
	for _, c := range staying {
		sameTree(t, "big", publisher, c)
	}
	noRepeats(t, w.upstream)
}

// TestBadUpstream: answers that are not what they should be. None reaches a client as a package or as "not found",
// none is kept, and everything works once upstream is well again.
func TestBadUpstream(t *testing.T) {
	t.Parallel()
	const ref = "lib/1.0@demo/testing"
	lists, archives := regexp.MustCompile(`/(latest|revisions)$`), regexp.MustCompile(`/conan_package\.tgz$`)
	tests := []struct {
		name string
		// match finds the paths whose answers are bad.
		match *regexp.Regexp
		bad   func(http.ResponseWriter, *http.Request, *recorder)
	}{
		{"503 for the newest package", lists, func(w http.ResponseWriter, _ *http.Request, _ *recorder) {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
		}},
		{"HTML with 200", lists, func(w http.ResponseWriter, _ *http.Request, _ *recorder) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>please log in</html>")
		}},
		{"401 for the proxy itself", lists, func(w http.ResponseWriter, _ *http.Request, _ *recorder) {
			http.Error(w, "who are you", http.StatusUnauthorized)
		}},
		{"connection cut", lists, func(http.ResponseWriter, *http.Request, *recorder) { panic(http.ErrAbortHandler) }},
		{"HTML instead of an archive", archives, func(w http.ResponseWriter, _ *http.Request, _ *recorder) {
			fmt.Fprint(w, "<html>please log in</html>")
		}},
		{"archive cut short", archives, func(w http.ResponseWriter, r *http.Request, up *recorder) {
			body := fetchFrom(up, r)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:len(body)/2])
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"archive of another package", archives, func(w http.ResponseWriter, r *http.Request, up *recorder) {
			body := fetchFrom(up, r)
			body[len(body)/2] ^= 0xff
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body)
		}},
	}
	w := newWorld(t, v2Server, nil)
	publisher := newConan2(t, w.upstream.url()).as("demo", "demo")
	publisher.create(recipe(t, "lib"), "demo/testing")
	publisher.upload(ref)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			proxy := startConanproxy(t, withUpstream(settings{"up": settings{"not_found_for": "1h"}}, w.upstream))
			w.upstream.interceptWith(func(out http.ResponseWriter, r *http.Request) bool {
				if !tt.match.MatchString(r.URL.Path) {
					return false
				}
				tt.bad(out, r, w.upstream)
				return true
			})
			defer w.upstream.interceptWith(nil)
			reader := newConan2(t, proxy.url())
			reader.write("global.conf", "core:non_interactive=True\ncore.net.http:max_retries=0\ncore.download:retry=0\n")
			// With permission to build, so that a "not found" would show as a build from source.
			out := reader.fails([]string{"ERROR"}, reader.installArgs(ref, "--build=missing")...)
			silentAbout(t, out, "Building from source")

			w.upstream.interceptWith(nil)
			if tt.match == lists {
				// An upstream that failed is left alone for a moment.
				waitFor(t, 20*time.Second, func() bool {
					status, _, _ := get(t, proxy.url("v2/conans/lib/1.0/demo/testing/latest"))
					return status == http.StatusOK
				})
			}
			again := newConan2(t, proxy.url())
			again.install(ref)
			sameTree(t, "lib", publisher, again)
		})
	}
}

// TestResume cuts the connection to the client in the middle of an archive, once: the client ends with the
// whole file, most of them by a range request.
func TestResume(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, nil)
	front := record(t, proxy.url(), bothAPIs)
	const ref = "big/1.0@demo/testing"
	tests := []struct {
		name   string
		client func(testing.TB, string) *client
		ranges int
	}{
		{"Conan 1", newConan1, 1},
		{"Conan 2.9", newConan29, 1},
		// This one begins again.
		{"newest Conan 2", newConan2, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			publisher := tt.client(t, proxy.url("local")).as("demo", "demo")
			publisher.create(recipe(t, "big", "SEED", tt.name, "MEGABYTES", "2"), "demo/testing")
			publisher.upload(ref)
			var once sync.Once
			front.forget()
			front.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				cut := false
				if strings.HasSuffix(r.URL.Path, "conan_package.tgz") {
					once.Do(func() { cut = true })
				}
				if !cut {
					return false
				}
				body := fetchFrom(front, r)
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				w.Header().Set("Accept-Ranges", "bytes")
				w.Write(body[:300_000])
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			defer front.interceptWith(nil)
			reader := tt.client(t, front.url())
			reader.install(ref)
			sameTree(t, "big", publisher, reader)
			ranged := 0
			for _, e := range front.exchanges() {
				if e.Header.Get("Range") != "" && e.Status == http.StatusPartialContent {
					ranged++
				}
			}
			if ranged != tt.ranges {
				t.Errorf("%d range requests answered, want %d:\n%s", ranged, tt.ranges, strings.Join(front.calls(), "\n"))
			}
		})
	}
}

// fetchFrom gets what the server behind a recorder really answers.
func fetchFrom(up *recorder, r *http.Request) []byte {
	req, err := http.NewRequest(http.MethodGet, up.target.String()+r.URL.Path, nil)
	if err != nil {
		panic(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	return body
}

// waitFor asks until it is true.
func waitFor(t testing.TB, limit time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %v", limit)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
