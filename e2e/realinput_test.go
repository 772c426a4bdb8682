package e2e

import (
	"strings"
	"testing"
)

// TestDebianLibraries publishes real libraries with their symlinks and dependencies to the real server, installs the
// graph through the proxy (cold, warm and with upstream stopped), and compiles, links and runs programs against it.
func TestDebianLibraries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		client func(testing.TB, string) *client
		kind   kind
	}{
		{"Conan 1", newConan1, v1Server},
		{"Conan 2", newConan2, v2Server},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.kind, nil)
			publisher := tt.client(t, w.upstream.url()).as("demo", "demo")
			refs := packageDebian(t, publisher)
			publisher.upload("*")
			w.upstream.forget()

			t.Run("cold", func(t *testing.T) {
				c := tt.client(t, w.proxy.url())
				buildAndRun(t, c, refs)
				for _, lib := range debianLibraries {
					sameTree(t, lib.name, publisher, c)
				}
				w.upstream.settle()
				noRepeats(t, w.upstream)
			})
			t.Run("warm", func(t *testing.T) {
				w.upstream.forget()
				buildAndRun(t, tt.client(t, w.proxy.url()), refs)
				if calls := w.upstream.calls(); len(calls) != 0 {
					t.Errorf("a warm install asked upstream:\n%s", strings.Join(calls, "\n"))
				}
			})
			t.Run("upstream stopped", func(t *testing.T) {
				w.upstream.stop()
				w.proxy.stop()
				w.proxy.start()
				buildAndRun(t, tt.client(t, w.proxy.url()), refs)
			})
		})
	}
}
