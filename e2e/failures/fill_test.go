package failures

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
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

// TestFillShared: several clients install one cold package at once; each file comes from upstream
// once, also when the client that asked first leaves in the middle.
func TestFillShared(t *testing.T) {
	t.Parallel()
	w := e2etest.NewWorld(t, e2etest.V2Server, nil)
	publisher := e2etest.NewConan2(t, w.Upstream.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "big", "SEED", "one", "MEGABYTES", "4"), "demo/testing")
	publisher.Upload("big/1.0@demo/testing")
	w.Upstream.Forget()
	const ref, archive = "big/1.0@demo/testing", "conan_package.tgz"

	release := make(chan struct{})
	asked := make(chan struct{})
	var once sync.Once
	w.Upstream.InterceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, archive) {
			once.Do(func() { close(asked) })
			<-release
		}
		return false
	})
	front := e2etest.Record(t, w.Proxy.URL(), e2etest.BothAPIs)
	waiting := make(chan struct{}, 16)
	front.InterceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, archive) {
			waiting <- struct{}{}
		}
		return false
	})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	leaving := e2etest.NewConan2(t, front.URL())
	cmd := leaving.Command(ctx, leaving.InstallArgs(ref)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-waiting
	<-asked
	staying := []*e2etest.Client{e2etest.NewConan2(t, front.URL()), e2etest.NewConan29(t, front.URL())}
	var wg sync.WaitGroup
	for _, c := range staying {
		wg.Go(func() {
			if out, ok := c.Try(c.InstallArgs(ref)...); !ok {
				t.Errorf("install failed: %s", harness.LastBytes(out, 2000))
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
		e2etest.SameTree(t, "big", publisher, c)
	}
	e2etest.NoRepeats(t, w.Upstream)
}

// TestBadUpstream: answers that are not what they should be. None reaches a client as a package or
// as "not found", none is kept, and everything works once upstream is well again.
func TestBadUpstream(t *testing.T) {
	t.Parallel()
	const ref = "lib/1.0@demo/testing"
	lists, archives := regexp.MustCompile(`/(latest|revisions)$`), regexp.MustCompile(`/conan_package\.tgz$`)
	tests := []struct {
		name string
		// match finds the paths whose answers are bad.
		match *regexp.Regexp
		// remembered is how long upstream's answer counts, a page in the place of one file too; for
		// anything that is no answer it must not.
		remembered string
		bad        func(http.ResponseWriter, *http.Request, *e2etest.Recorder)
	}{
		{"503 for the newest package", lists, "1h", func(w http.ResponseWriter, _ *http.Request, _ *e2etest.Recorder) {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
		}},
		{"HTML with 200", lists, "1h", func(w http.ResponseWriter, _ *http.Request, _ *e2etest.Recorder) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>please log in</html>")
		}},
		{"401 for the proxy itself", lists, "1s", func(w http.ResponseWriter, _ *http.Request, _ *e2etest.Recorder) {
			http.Error(w, "who are you", http.StatusUnauthorized)
		}},
		{"connection cut", lists, "1h", func(http.ResponseWriter, *http.Request, *e2etest.Recorder) { panic(http.ErrAbortHandler) }},
		{"HTML instead of an archive", archives, "1s", func(w http.ResponseWriter, _ *http.Request, _ *e2etest.Recorder) {
			fmt.Fprint(w, "<html>please log in</html>")
		}},
		{"archive cut short", archives, "1h", func(w http.ResponseWriter, r *http.Request, up *e2etest.Recorder) {
			body := fetchFrom(up, r)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:len(body)/2])
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"archive of another package", archives, "1s", func(w http.ResponseWriter, r *http.Request, up *e2etest.Recorder) {
			body := fetchFrom(up, r)
			body[len(body)/2] ^= 0xff
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body)
		}},
	}
	w := e2etest.NewWorld(t, e2etest.V2Server, nil)
	publisher := e2etest.NewConan2(t, w.Upstream.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Upload(ref)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			proxy := e2etest.StartConanproxy(t, e2etest.WithUpstream(harness.Settings{"up": harness.Settings{"not_found_for": tt.remembered}}, w.Upstream))
			w.Upstream.InterceptWith(func(out http.ResponseWriter, r *http.Request) bool {
				if !tt.match.MatchString(r.URL.Path) {
					return false
				}
				tt.bad(out, r, w.Upstream)
				return true
			})
			defer w.Upstream.InterceptWith(nil)
			reader := e2etest.NewConan2(t, proxy.URL())
			reader.Write("global.conf", "core:non_interactive=True\ncore.net.http:max_retries=0\ncore.download:retry=0\n")
			// With permission to build, so that a "not found" would show as a build from source.
			out := reader.Fails([]string{"ERROR"}, reader.InstallArgs(ref, "--build=missing")...)
			e2etest.SilentAbout(t, out, "Building from source")

			w.Upstream.InterceptWith(nil)
			again := e2etest.NewConan2(t, proxy.URL())
			// An upstream that failed is left alone for a moment, and an answer about one thing is
			// remembered.
			e2etest.WaitFor(t, time.Minute, func() bool {
				_, ok := again.Try(again.InstallArgs(ref)...)
				return ok
			})
			e2etest.SameTree(t, "lib", publisher, again)
		})
	}
}

// TestResume cuts the connection to the client in the middle of an archive, once: the client ends
// with the whole file, most of them by a range request.
func TestResume(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)
	const ref = "big/1.0@demo/testing"
	tests := []struct {
		name   string
		client func(testing.TB, string) *e2etest.Client
		ranges int
	}{
		{"Conan 1", e2etest.NewConan1, 1},
		{"Conan 2.9", e2etest.NewConan29, 1},
		// This one begins again.
		{"newest Conan 2", e2etest.NewConan2, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			publisher := tt.client(t, proxy.URL("local")).As("demo", "demo")
			publisher.Create(e2etest.Recipe(t, "big", "SEED", tt.name, "MEGABYTES", "2"), "demo/testing")
			publisher.Upload(ref)
			var once sync.Once
			front.Forget()
			front.InterceptWith(func(w http.ResponseWriter, r *http.Request) bool {
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
			defer front.InterceptWith(nil)
			reader := tt.client(t, front.URL())
			reader.Install(ref)
			e2etest.SameTree(t, "big", publisher, reader)
			ranged := 0
			for _, e := range front.Exchanges() {
				if e.Header.Get("Range") != "" && e.Status == http.StatusPartialContent {
					ranged++
				}
			}
			if ranged != tt.ranges {
				t.Errorf("%d range requests answered, want %d:\n%s", ranged, tt.ranges, strings.Join(front.Calls(), "\n"))
			}
		})
	}
}

// fetchFrom gets what the server behind a recorder really answers.
func fetchFrom(up *e2etest.Recorder, r *http.Request) []byte {
	req, err := http.NewRequest(http.MethodGet, up.Target.String()+r.URL.Path, nil)
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
