package faults

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestClients has the real clients install a warm graph while upstream is broken in every way.
func TestClients(t *testing.T) {
	r := newRun(t)
	// A 404 is an answer, and passed on.
	list := slices.DeleteFunc(allTroubles(), func(t trouble) bool { return t.notFound })
	if !*full {
		list = slices.DeleteFunc(list, func(t trouble) bool {
			return !slices.Contains([]string{"black hole", "200 HTML"}, t.name)
		})
	}
	for _, c := range conans {
		installs, failed := 0, []string(nil)
		origin := conantest.NewServer(r, c.api(), graph(c.two(), 20<<10)...)
		hurried := harness.Settings{"timeout": "2s"}
		good := settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL, quickly, hurried)}}
		s := r.serve(good)
		h := c.home(r, s.URL())
		r.must(h.install(r.Context(), "top/1.0"))
		for _, t := range list {
			s.Stop()
			if t.expired {
				ca, fronts := r.expiredFronts([]*conantest.Server{origin})
				s.configure(settings{upstreams: []harness.Settings{harness.Upstream("origin", fronts[0], quickly, hurried, harness.Settings{"ca_file": ca})}})
			}
			breakOne(r, t, origin)
			s.start()
			r.must(h.clear(r.Context()))
			installs++
			begin := time.Now()
			if err := h.install(r.Context(), "top/1.0"); err != nil {
				failed = append(failed, fmt.Sprintf("%s: %v", t.name, err))
			}
			if took := time.Since(begin); took > time.Minute {
				failed = append(failed, fmt.Sprintf("%s: the install took %s", t.name, took.Round(time.Second)))
			}
			s.configure(good)
			mendOne(t, origin)
		}
		s.Stop()
		r.none(fmt.Sprintf("%d faults × %s, a graph of 4 packages, warm", len(list), c.name), "every install succeeds", fmt.Sprintf("%d of %d", installs-len(failed), installs), failed)
	}
}
