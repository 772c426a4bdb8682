package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// versityGW is the S3 server of the tests, built from its sources once in a checkout.
const versityGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// The keys of the S3 server, and its bucket.
const (
	S3AccessKey = "conanproxy-tests"
	S3Secret    = "not-a-secret-of-anybody"
	S3Bucket    = "packages"
)

// S3Server is a real S3 server with one bucket.
type S3Server struct {
	*Process
	Dir string // of its data; the objects of the bucket are files below Dir/data/packages
}

// StartS3 starts versitygw with its data in dir. It is built on the first call, which takes
// minutes.
func StartS3(ctx context.Context, root, dir string) (*S3Server, error) {
	program, err := buildVersityGW(ctx, root)
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	data, meta := filepath.Join(dir, "data"), filepath.Join(dir, "meta")
	for _, d := range []string{filepath.Join(data, S3Bucket), meta} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	p, err := Start(ctx, Launch{
		Name:  "versitygw",
		Argv:  []string{program, "--port", HostPort(port), "--quiet", "posix", "--sidecar", meta, data},
		Env:   CleanEnv(dir, "ROOT_ACCESS_KEY="+S3AccessKey, "ROOT_SECRET_KEY="+S3Secret),
		Dir:   dir,
		Ready: "http://" + HostPort(port) + "/",
	})
	if err != nil {
		return nil, err
	}
	s := &S3Server{Process: p, Dir: dir}
	if err := os.WriteFile(s.secretFile(), []byte(S3Secret+"\n"), 0o600); err != nil {
		p.Stop()
		return nil, err
	}
	return s, nil
}

// Settings is the section "blobs" of a program whose files are in the bucket, below a prefix. The
// server is reached through url, its own or that of a relay.
func (s *S3Server) Settings(url, prefix string) Settings {
	return Settings{"s3": Settings{
		"endpoint": url, "bucket": S3Bucket, "prefix": prefix, "access_key": S3AccessKey, "secret_key_file": s.secretFile(),
	}}
}

func (s *S3Server) secretFile() string { return filepath.Join(s.Dir, "secret") }

// ObjectFile is the file of an object of the bucket.
func (s *S3Server) ObjectFile(key string) string {
	return filepath.Join(s.Dir, "data", S3Bucket, filepath.FromSlash(key))
}

func buildVersityGW(ctx context.Context, root string) (string, error) {
	dir := filepath.Join(root, ".e2e", "versitygw-1.8.0")
	err := MakeOnce(dir, func() error {
		defer Waiting("for the S3 server to be built")()
		cmd := exec.CommandContext(ctx, "go", "install", versityGW)
		cmd.Dir = dir // outside of this module
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the S3 server: %w: %s", err, LastBytes(string(out), 400))
		}
		return nil
	})
	return filepath.Join(dir, "versitygw"), err
}
