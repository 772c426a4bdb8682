package generations

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHarness shows that the clients, the servers and the recorder work with each other without the
// program under test, so that a failure elsewhere speaks about the program.
func TestHarness(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		server  string
		dialect e2etest.Dialect
		client  func(testing.TB, string) *e2etest.Client
	}{
		{"Conan 1 over v1", harness.Conan1, e2etest.OnlyV1, e2etest.NewConan1},
		{"Conan 1 with revisions", harness.Conan1, e2etest.BothAPIs, e2etest.NewConan1Revisions},
		{"Conan 2 on the old server", harness.Conan1, e2etest.BothAPIs, e2etest.NewConan2},
		{"Conan 2.9 on the new server", harness.Server2, e2etest.OnlyV2, e2etest.NewConan29},
		{"Conan 2 on the new server", harness.Server2, e2etest.OnlyV2, e2etest.NewConan2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := e2etest.Record(t, e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: tt.server}).URL(), tt.dialect)
			publisher := tt.client(t, server.URL()).As("demo", "demo")
			publisher.Create(e2etest.Recipe(t, "links"), "demo/testing")
			publisher.Upload("links/1.0@demo/testing")
			if tt.dialect == e2etest.OnlyV1 && server.Count("/v2/") != 0 {
				t.Errorf("requests to /v2/ although the server is v1-only:\n%s", strings.Join(server.Calls(), "\n"))
			}

			reader := tt.client(t, server.URL())
			reader.Install("links/1.0@demo/testing")
			want := publisher.CacheTree("links")
			got := reader.CacheTree("links")
			if len(got) == 0 {
				t.Fatal("nothing installed")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("installed package differs from the published one (-want +got):\n%s", diff)
			}

			server.Stop()
			tt.client(t, server.URL()).Fails(nil, reader.InstallArgs("links/1.0@demo/testing")...)
			server.CarryOn()
			tt.client(t, server.URL()).Install("links/1.0@demo/testing")
		})
	}
}
