package e2etest

import (
	"testing"

	"conanproxy/internal/harness"
)

// conanServer is a real conan_server, stopped when the test ends. Users: demo, ann and bob with
// their names as passwords, who may all write; everybody reads, unless the options say otherwise.
type conanServer struct {
	*process
}

// StartConanServer starts one.
func StartConanServer(t testing.TB, o harness.ConanServerOptions) *conanServer {
	t.Helper()
	programs(t, harness.Conan1)
	p, err := harness.StartConanServer(t.Context(), Root(t), t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return &conanServer{process: watch(t, p)}
}
