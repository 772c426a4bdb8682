package e2etest

import (
	"os"
	"path/filepath"
	"testing"

	"conanproxy/internal/harness"
)

// S3 is a real S3 server with a relay in front, which counts and breaks requests.
type S3 struct {
	*process
	Server *harness.S3Server
	Relay  *harness.S3Relay
	secret string // file of the secret key
}

// StartS3 starts both.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	dir := t.TempDir()
	server, err := harness.StartS3(t.Context(), Root(t), dir)
	if err != nil {
		Missing(t, "the S3 server is not available: %v", err)
	}
	relay, err := harness.NewS3Relay(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Close() })
	s := &S3{process: watch(t, server.Process), Server: server, Relay: relay, secret: filepath.Join(dir, "secret")}
	if err := os.WriteFile(s.secret, []byte(harness.S3Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Settings keep the files of a program in the bucket.
func (s *S3) Settings() harness.Settings {
	return harness.Settings{"blobs": harness.Settings{"s3": harness.Settings{
		"endpoint": s.Relay.URL(), "bucket": harness.S3Bucket, "access_key": harness.S3AccessKey, "secret_key_file": s.secret,
	}}}
}
