package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestOutage has CI jobs install warm packages while upstream is dead. One second stands for a
// minute: lists are fresh for a second, so in a minute each grows old as often as in an hour with a
// fresh_for of one minute.
func TestOutage(t *testing.T) {
	r := newRun(t)
	dead := small(8*time.Second, time.Minute)
	sets := graph(true, 50<<10)
	origin := conantest.NewServer(r, conantest.V2, sets...)
	s := r.serve(settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL, harness.Settings{"fresh_for": "1s", "not_found_for": "1s", "timeout": "5s"})}})
	for _, flow := range []func(context.Context, *server, []conantest.Set) error{installV2, installV1} {
		r.must(flow(r.Context(), s, sets))
	}

	var failed troubles
	var installs atomic.Int64
	load, endLoad := context.WithCancel(r.Context())
	var wg sync.WaitGroup
	for n := range 4 {
		flow := []func(context.Context, *server, []conantest.Set) error{installV2, installV1}[n%2]
		wg.Go(func() {
			for load.Err() == nil {
				err := flow(r.Context(), s, sets)
				installs.Add(1)
				if err != nil {
					failed.add("%v", err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	time.Sleep(2 * time.Second)
	origin.Stop()
	next := conantest.Recipe("top", "1.0", conantest.HeaderOnly(), graphCode("left/1.0"), conantest.Published(conantest.DefaultTime.Add(time.Hour)))
	origin.Add(next, conantest.Package(next, conantest.HeaderOnly()))
	time.Sleep(dead)
	origin.Start()
	interval := s.lastPause()
	begin := time.Now()
	back := eventually(3*time.Minute, func() bool { return latest(r.Context(), s, next.Ref) == next.RRev })
	took := time.Since(begin)
	endLoad()
	wg.Wait()
	r.none(fmt.Sprintf("upstream dead for %d times fresh_for, under 4 CI jobs", int(dead.Seconds())), "0 failed warm installs",
		fmt.Sprintf("%d installs", installs.Load()), failed.all())
	r.timed("the first new answer after upstream is back", "within one probe interval and fresh_for", back && took <= interval+2*time.Second,
		"%.1f s, interval %.0f s", took.Seconds(), interval.Seconds())
}

// pauses is what the log says of an open breaker.
var pauses = regexp.MustCompile(`"pause":([0-9.]+)`)

// lastPause is how long upstream is not asked, as the log last told.
func (s *server) lastPause() time.Duration {
	b, err := os.ReadFile(filepath.Join(s.Dir, "conanproxy.log"))
	s.r.must(err)
	all := pauses.FindAllStringSubmatch(string(b), -1)
	if len(all) == 0 {
		return 0
	}
	d, err := time.ParseDuration(all[len(all)-1][1] + "s")
	s.r.must(err)
	return d
}

// latest is the newest recipe revision of a reference, or an empty text.
func latest(ctx context.Context, s *server, ref conan.Ref) string {
	var answer struct{ Revision string }
	a := get(ctx, s.url("/v2/conans/"+ref.Path()+"/latest"))
	if a.status != http.StatusOK || json.Unmarshal(a.body, &answer) != nil {
		return ""
	}
	return answer.Revision
}

// installV2 asks what a Conan 2 client asks to install these sets into an empty cache, unpinned.
func installV2(ctx context.Context, s *server, sets []conantest.Set) error {
	for _, set := range sets {
		node := "/v2/conans/" + set.Ref.Path()
		if set.IsPackage() {
			node = revisionPath(set.Recipe()) + "/packages/" + set.PackageID
		}
		if a := get(ctx, s.url(node+"/latest")); a.err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%s: %s", node, a)
		}
		if a := get(ctx, s.url(revisionPath(set.Revision)+"/files")); a.err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%s: %s", set.Revision, a)
		}
		if text := readBack(ctx, s.url(""), set); text != "" {
			return fmt.Errorf("%s", text)
		}
	}
	return nil
}

// installV1 asks what a Conan 1 client asks.
func installV1(ctx context.Context, s *server, sets []conantest.Set) error {
	for _, set := range sets {
		node := "/v1/conans/" + set.Ref.Path()
		if set.IsPackage() {
			node += "/packages/" + set.PackageID
		}
		for _, question := range []string{"/digest", "/download_urls"} {
			var urls map[string]string
			a := get(ctx, s.url(node+question))
			if a.err != nil || a.status != http.StatusOK {
				return fmt.Errorf("%s: %s", node+question, a)
			}
			if err := json.Unmarshal(a.body, &urls); err != nil || len(urls) == 0 {
				return fmt.Errorf("%s: %s", node+question, a)
			}
			for name, url := range urls {
				if strings.HasPrefix(url, "/") {
					url = s.url(url)
				}
				if a := get(ctx, url); a.err != nil || a.status != http.StatusOK {
					return fmt.Errorf("%s of %s: %s", name, node, a)
				}
			}
		}
	}
	return nil
}
