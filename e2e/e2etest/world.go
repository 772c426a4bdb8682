package e2etest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/harness"
)

// World is a real conan_server, a recorder before it, and the program under test with the recorder
// as its upstream "up".
type World struct {
	t        testing.TB
	Server   *conanServer
	Upstream *Recorder
	Proxy    *Conanproxy
}

// Kind is a way an upstream can be.
type Kind struct {
	Name        string
	environment string
	dialect     Dialect
}

var (
	V1Server    = Kind{"v1-only upstream", harness.Conan1, OnlyV1}
	BothServer  = Kind{"upstream with both APIs", harness.Conan1, BothAPIs}
	V2Server    = Kind{"v2-only upstream", harness.Server2, OnlyV2}
	OldV2Server = Kind{"v2-only upstream of the 1.x line", harness.Conan1, OnlyV2}
)

// NewWorld starts one. The settings of the upstream named "up" come from s["up"], if given.
func NewWorld(t testing.TB, k Kind, s harness.Settings) *World {
	t.Helper()
	server := StartConanServer(t, harness.ConanServerOptions{Environment: k.environment})
	upstreamRecorder := Record(t, server.URL(), k.dialect)
	return &World{
		t:        t,
		Server:   server,
		Upstream: upstreamRecorder,
		Proxy:    StartConanproxy(t, WithUpstream(s, upstreamRecorder)),
	}
}

// WithUpstream completes settings with the upstream "up" at the recorder.
func WithUpstream(s harness.Settings, r *Recorder) harness.Settings {
	all := harness.Settings{}
	var more harness.Settings
	for key, value := range s {
		if key == "up" {
			more, _ = value.(harness.Settings)
			continue
		}
		all[key] = value
	}
	all["upstreams"] = []harness.Settings{harness.Upstream("up", r.URL(), more)}
	return all
}

// SameTree wants the installed files of a package to be those of another client.
func SameTree(t testing.TB, name string, want, got *Client) {
	t.Helper()
	installed := got.CacheTree(name)
	if len(installed) == 0 {
		t.Errorf("package %s is not installed", name)
		return
	}
	if diff := cmp.Diff(want.CacheTree(name), installed); diff != "" {
		t.Errorf("package %s differs (-want +got):\n%s", name, diff)
	}
}

// Says wants every text in out.
func Says(t testing.TB, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("output lacks %q:\n%s", text, harness.LastBytes(out, 3000))
		}
	}
}

// SilentAbout wants none of the texts in out.
func SilentAbout(t testing.TB, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(out, text) {
			t.Errorf("output contains %q:\n%s", text, harness.LastBytes(out, 3000))
		}
	}
}

// NoRepeats wants no file to have been fetched twice from upstream.
func NoRepeats(t testing.TB, r *Recorder) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range r.Exchanges() {
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

// SameListing wants two listings of one remote to be equal.
func SameListing(t testing.TB, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the listing changed (-before +after):\n%s", diff)
	}
}

// WaitFor asks until it is true.
func WaitFor(t testing.TB, limit time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %v", limit)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
