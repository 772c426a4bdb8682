package bucket_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"conanproxy/internal/blob"
	"conanproxy/internal/blob/bucket"
	"conanproxy/internal/harness"
	"conanproxy/internal/index"
)

// folder has what the S3 server of these tests writes.
var folder *harness.Folder

func TestMain(m *testing.M) {
	var err error
	if folder, err = harness.NewFolder("conanproxy-s3"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := folder.Remove(); err != nil { // and what works in it
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// startServer starts the one S3 server of all tests.
var startServer = sync.OnceValues(func() (*harness.S3Server, error) {
	root, err := harness.Root()
	if err != nil {
		return nil, err
	}
	return harness.StartS3(context.Background(), root, folder.Path)
})

func server(t testing.TB) *harness.S3Server {
	t.Helper()
	s, err := startServer()
	if err != nil && os.Getenv("E2E_CLIENTS") != "required" && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stand is a store behind a relay, with a folder and a part of the bucket of its own.
type stand struct {
	*blob.Tiered
	relay  *harness.S3Relay
	server *harness.S3Server
	bucket *bucket.Bucket
	index  *index.DB
	dir    string // of the tier
	prefix string
	logs   *observer.ObservedLogs
	secret func() (string, error)
}

// newStand makes one; change, if not nil, changes what the store is made of.
func newStand(t testing.TB, change func(*bucket.Options, *blob.TieredOptions)) *stand {
	t.Helper()
	s := &stand{server: server(t), dir: filepath.Join(t.TempDir(), "tier"), prefix: strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name()))}
	var err error
	if s.relay, err = harness.NewS3Relay(s.server.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.relay.Close() })
	if s.index, err = index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.index.Close() })
	core, logs := observer.New(zap.DebugLevel)
	s.logs = logs
	s.secret = func() (string, error) { return harness.S3Secret, nil }
	b := bucket.Options{Endpoint: s.relay.URL(), Bucket: harness.S3Bucket, Prefix: s.prefix, AccessKey: harness.S3AccessKey,
		Secret: func() (string, error) { return s.secret() }, Log: zap.New(core)}
	o := blob.TieredOptions{Max: 1 << 40, Log: zap.New(core), Keys: s.index}
	if change != nil {
		change(&b, &o)
	}
	if s.bucket, err = bucket.Open(b); err != nil {
		t.Fatal(err)
	}
	if o.Disk, err = blob.NewDisk(s.dir, blob.DiskOptions{}); err != nil {
		t.Fatal(err)
	}
	o.Objects = s.bucket
	s.Tiered = blob.NewTiered(o)
	t.Cleanup(func() { s.Close() })
	return s
}

// loseTier removes every copy in the tier.
func (s *stand) loseTier(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, "sha256")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "sha256"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := s.MakeFolders(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// copyFile is where the tier has the copy of a blob.
func (s *stand) copyFile(d blob.Digest) string {
	return filepath.Join(s.dir, "sha256", string(d[:2]), string(d[2:]))
}

// objectFile is the file of a blob's object in the server.
func (s *stand) objectFile(t testing.TB, d blob.Digest) string {
	t.Helper()
	o, err := s.index.FindObject(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return s.server.ObjectFile(s.prefix + "/objects/" + o.Key)
}

// blobField is how the log names a blob.
func blobField(d blob.Digest) zap.Field { return zap.String("blob", string(d)) }
