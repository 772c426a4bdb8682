package e2e

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// world is a real conan_server, a recorder before it, and the program under test with the recorder as its upstream
// "up".
type world struct {
	t        testing.TB
	server   *conanServer
	upstream *recorder
	proxy    *conanproxy
}

// kind is a way an upstream can be.
type kind struct {
	name        string
	environment string
	dialect     dialect
}

var (
	v1Server    = kind{"v1-only upstream", Conan1, onlyV1}
	bothServer  = kind{"upstream with both APIs", Conan1, bothAPIs}
	v2Server    = kind{"v2-only upstream", Server2, onlyV2}
	oldV2Server = kind{"v2-only upstream of the 1.x line", Conan1, onlyV2}
)

// newWorld starts one. The settings of the upstream named "up" come from s["up"], if given.
func newWorld(t testing.TB, k kind, s settings) *world {
	t.Helper()
	server := startConanServer(t, k.environment, conanServerOptions{})
	upstreamRecorder := record(t, server.url(), k.dialect)
	return &world{
		t:        t,
		server:   server,
		upstream: upstreamRecorder,
		proxy:    startConanproxy(t, withUpstream(s, upstreamRecorder)),
	}
}

// withUpstream completes settings with the upstream "up" at the recorder.
func withUpstream(s settings, r *recorder) settings {
	all := settings{}
	var more settings
	for key, value := range s {
		if key == "up" {
			more, _ = value.(settings)
			continue
		}
		all[key] = value
	}
	all["upstreams"] = []settings{upstream("up", r.url(), more)}
	return all
}

// sameTree wants the installed files of a package to be those of another client.
func sameTree(t testing.TB, name string, want, got *client) {
	t.Helper()
	installed := got.cacheTree(name)
	if len(installed) == 0 {
		t.Errorf("package %s is not installed", name)
		return
	}
	if diff := cmp.Diff(want.cacheTree(name), installed); diff != "" {
		t.Errorf("package %s differs (-want +got):\n%s", name, diff)
	}
}

// says wants every text in out.
func says(t testing.TB, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("output lacks %q:\n%s", text, tail(out, 3000))
		}
	}
}

// silentAbout wants none of the texts in out.
func silentAbout(t testing.TB, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(out, text) {
			t.Errorf("output contains %q:\n%s", text, tail(out, 3000))
		}
	}
}

// noRepeats wants no file to have been fetched twice from upstream.
func noRepeats(t testing.TB, r *recorder) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range r.exchanges() {
		path, _, _ := strings.Cut(e.Path, "?")
		if e.Method != "GET" || e.Status != 200 || !strings.Contains(path, "/files/") {
			continue
		}
		if seen[path] {
			t.Errorf("fetched twice from upstream: %s", path)
		}
		seen[path] = true
	}
}

// sameListing wants two listings of one remote to be equal.
func sameListing(t testing.TB, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the listing changed (-before +after):\n%s", diff)
	}
}
