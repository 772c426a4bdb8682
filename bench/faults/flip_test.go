package faults

import (
	"fmt"
	"strings"
	"testing"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestFlip has upstream send one wrong bit at the first transfer of the archive, and right bytes
// afterwards.
func TestFlip(t *testing.T) {
	r := newRun(t)
	for _, c := range conans {
		size := small(1500<<10, 3<<20)
		recipe := conantest.Recipe("lib", "1.0", conantest.HeaderOnly(), graphCode())
		content := conantest.Random("lib/liblib.a", size)
		opts := []conantest.Option{conantest.HeaderOnly(), content}
		if !c.two() {
			opts = append(opts, conantest.Conan1())
		}
		pkg := conantest.Package(recipe, opts...)
		origin := conantest.NewServer(r, c.api(), recipe, pkg)
		at := int64(len(pkg.Files[archive]))/3 + r.random.Int64N(1000)
		origin.Fault(conantest.Fault{Route: "GET */" + archive, Count: 1, Flip: &at})
		s := r.serve(settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL)}})
		h := c.home(r, s.URL())

		err := h.install(r.Context(), "lib/1.0")
		again := 0
		for ; err != nil && again < 2; again++ { // a client that got no whole body says so; its user repeats
			err = h.install(r.Context(), "lib/1.0")
		}
		right := false
		if err == nil {
			right, err = h.holds("liblib.a", sumOf(pkg, "lib/liblib.a"))
		}
		measured := fmt.Sprintf("right, after %d repetitions by hand", again)
		if err != nil {
			measured = err.Error()
		}
		fetched := origin.Count("GET */" + archive)
		r.figure("what "+c.name+" installs when the first transfer has a flipped bit", "the right bytes", right && err == nil, "%s; upstream was asked %d times", measured, fetched)
		s.Stop()
		r.fsckIsClean(s, "on disk after that, "+c.name)
	}
}

// fsckIsClean adds a line: fsck of a stopped server finds nothing.
func (r *run) fsckIsClean(s *server, what string) {
	out, err := s.command("fsck")
	r.figure(what, "nothing bad by fsck", err == nil, "%s", lastLine(out))
}

// sumOf is the md5 that a set's manifest tells of a member.
func sumOf(set conantest.Set, member string) string {
	return set.Manifest().MD5(member)
}

// lastLine is the last line of an output that has text.
func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}
