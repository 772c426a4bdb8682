package e2etest

import (
	"testing"

	"conanproxy/internal/harness"
)

// S3 is a real S3 server with a relay in front, which counts and breaks requests.
type S3 struct {
	*process
	Server *harness.S3Server
	Relay  *harness.S3Relay
}

// StartS3 starts both.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	server, err := harness.StartS3(t.Context(), Root(t), t.TempDir())
	if err != nil {
		Missing(t, "the S3 server is not available: %v", err)
	}
	relay, err := harness.NewS3Relay(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Close() })
	return &S3{process: watch(t, server.Process), Server: server, Relay: relay}
}

// Settings keep the files of a program in the bucket.
func (s *S3) Settings() harness.Settings {
	return harness.Settings{"blobs": s.Server.Settings(s.Relay.URL(), "")}
}
