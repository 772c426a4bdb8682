package e2e

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHarness shows that the clients, the servers and the recorder work with each other without the program under
// test, so that a failure elsewhere speaks about the program.
func TestHarness(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		server  string
		dialect dialect
		client  func(testing.TB, string) *client
	}{
		{"Conan 1 over v1", Conan1, onlyV1, newConan1},
		{"Conan 1 with revisions", Conan1, bothAPIs, newConan1Revisions},
		{"Conan 2 on the old server", Conan1, bothAPIs, newConan2},
		{"Conan 2.9 on the new server", Server2, onlyV2, newConan29},
		{"Conan 2 on the new server", Server2, onlyV2, newConan2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := record(t, startConanServer(t, tt.server, conanServerOptions{}).url(), tt.dialect)
			publisher := tt.client(t, server.url()).as("demo", "demo")
			publisher.create(recipe(t, "links"), "demo/testing")
			publisher.upload("links/1.0@demo/testing")
			if tt.dialect == onlyV1 && server.count("/v2/") != 0 {
				t.Errorf("requests to /v2/ although the server is v1-only:\n%s", strings.Join(server.calls(), "\n"))
			}

			reader := tt.client(t, server.url())
			reader.install("links/1.0@demo/testing")
			want := publisher.cacheTree("links")
			got := reader.cacheTree("links")
			if len(got) == 0 {
				t.Fatal("nothing installed")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("installed package differs from the published one (-want +got):\n%s", diff)
			}

			server.stop()
			tt.client(t, server.url()).fails(nil, reader.installArgs("links/1.0@demo/testing")...)
			server.carryOn()
			tt.client(t, server.url()).install("links/1.0@demo/testing")
		})
	}
}
