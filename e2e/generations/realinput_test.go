package generations

import (
	"conanproxy/e2e/e2etest"
	"strings"
	"testing"
)

// TestDebianLibraries publishes real libraries with their symlinks and dependencies to the real
// server, installs the graph through the proxy (cold, warm and with upstream stopped), and
// compiles, links and runs programs against it.
func TestDebianLibraries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		client func(testing.TB, string) *e2etest.Client
		kind   e2etest.Kind
	}{
		{"Conan 1", e2etest.NewConan1, e2etest.V1Server},
		{"Conan 2", e2etest.NewConan2, e2etest.V2Server},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := e2etest.NewWorld(t, tt.kind, nil)
			publisher := tt.client(t, w.Upstream.URL()).As("demo", "demo")
			refs := packageDebian(t, publisher)
			publisher.Upload("*")
			w.Upstream.Forget()

			t.Run("cold", func(t *testing.T) {
				c := tt.client(t, w.Proxy.URL())
				buildAndRun(t, c, refs)
				for _, lib := range debianLibraries {
					e2etest.SameTree(t, lib.name, publisher, c)
				}
				w.Upstream.Settle()
				e2etest.NoRepeats(t, w.Upstream)
			})
			t.Run("warm", func(t *testing.T) {
				w.Upstream.Forget()
				buildAndRun(t, tt.client(t, w.Proxy.URL()), refs)
				if calls := w.Upstream.Calls(); len(calls) != 0 {
					t.Errorf("a warm install asked upstream:\n%s", strings.Join(calls, "\n"))
				}
			})
			t.Run("upstream stopped", func(t *testing.T) {
				w.Upstream.Stop()
				w.Proxy.Stop()
				w.Proxy.Start()
				buildAndRun(t, tt.client(t, w.Proxy.URL()), refs)
			})
		})
	}
}
