package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/config"
)

// published makes the data directory of a stopped server with one package, and returns the
// published sets.
func published(t *testing.T) (*config.Config, []conantest.Set) {
	t.Helper()
	cfg := testConfig(t)
	cfg.Log.Level = "error"
	recipe := conantest.Recipe("own", "1.0")
	sets := []conantest.Set{recipe, conantest.Package(recipe)}
	s, err := newServer(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, set := range sets {
		if err := conantest.Publish(t.Context(), s.current.Load().stores[0], set); err != nil {
			t.Fatal(err)
		}
	}
	return cfg, sets
}

// A store without its index is refused by everything but rebuild, which brings back every published
// revision with its time.
func TestLostIndexIsRebuilt(t *testing.T) {
	t.Setenv("CONANPROXY_UPSTREAMS", "")
	cfg, sets := published(t)
	before := timesOf(t, cfg, sets)
	for _, path := range []string{indexPath(cfg.DataDir), indexPath(cfg.DataDir) + "-wal", indexPath(cfg.DataDir) + "-shm"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	var unsound unsoundError
	if _, err := newServer(t.Context(), cfg, quiet()); !errors.As(err, &unsound) || !strings.Contains(err.Error(), "conanproxy rebuild") {
		t.Errorf("start: %v", err)
	}
	for _, command := range []string{"fsck", "gc"} {
		if got := run(t.Context(), []string{command, "--data-dir", cfg.DataDir}); got != exitUnsound {
			t.Errorf("%s: exit code %d, want %d", command, got, exitUnsound)
		}
	}
	if got := run(t.Context(), []string{"fsck", "--repair", "--data-dir", cfg.DataDir}); got != exitUnsound {
		t.Errorf("fsck --repair: exit code %d, want %d", got, exitUnsound)
	}
	var out bytes.Buffer
	if err := rebuildIndex(t.Context(), cfg, &out); err != nil {
		t.Fatalf("rebuild: %v\n%s", err, out.String())
	}
	if after := timesOf(t, cfg, sets); after != before {
		t.Errorf("the times were %s and are %s", before, after)
	}
	if got := run(t.Context(), []string{"fsck", "--data-dir", cfg.DataDir}); got != exitOK {
		t.Errorf("fsck after the rebuild: exit code %d", got)
	}
	if got := run(t.Context(), []string{"rebuild", "--data-dir", cfg.DataDir}); got != exitUsage {
		t.Errorf("rebuild over an index: exit code %d", got)
	}
}

// timesOf reads every file of the sets and returns the times of their revisions.
func timesOf(t *testing.T, cfg *config.Config, sets []conantest.Set) string {
	t.Helper()
	s, err := newServer(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	store := s.current.Load().stores[0]
	var times strings.Builder
	for _, set := range sets {
		latest, err := store.Latest(t.Context(), listOf(set.Revision))
		if err != nil {
			t.Fatal(err)
		}
		times.WriteString(latest.Value.ID + " " + latest.Value.Time.Format(time.RFC3339Nano) + "\n")
		for _, name := range set.Names() {
			if got, err := read(store, set.Revision, name); err != nil || !bytes.Equal(got, set.Files[name]) {
				t.Fatalf("%s of %s: %v", name, set.Revision, err)
			}
		}
	}
	return times.String()
}

// listOf is what a revision is one of: the reference, or the package id.
func listOf(rev conan.Revision) conan.Revision {
	if rev.PackageID == "" {
		return conan.Revision{Ref: rev.Ref}
	}
	rev.PRev = ""
	return rev
}

// A backup beside a running server can be started and has every published revision.
func TestBackup(t *testing.T) {
	t.Setenv("CONANPROXY_UPSTREAMS", "")
	cfg, sets := published(t)
	before := timesOf(t, cfg, sets)
	s, err := newServer(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "copy")
	args := []string{"backup", to, "--check", "--data-dir", cfg.DataDir}
	first, second := run(t.Context(), args), run(t.Context(), args)
	secret := s.secret
	s.close()
	if first != exitOK || second != exitUsage {
		t.Fatalf("exit codes %d, and %d for a folder that is not empty", first, second)
	}
	cfg.DataDir = to
	if after := timesOf(t, cfg, sets); after != before {
		t.Errorf("the times were %s and are %s", before, after)
	}
	if copied, err := loadSecret(to); err != nil || !bytes.Equal(copied, secret) {
		t.Errorf("the signing key is another one: %v", err)
	}
}

// A backup names what a server needs beside its data: configuration, users, certificates,
// passwords.
func TestBackupNamesOtherFiles(t *testing.T) {
	cfg := testConfig(t, "http://127.0.0.1:1")
	cfg.Auth.HtpasswdFile, cfg.TLS.CertFile, cfg.TLS.KeyFile = "users", "cert.pem", "key.pem"
	cfg.Upstreams[0].PasswordFile, cfg.Upstreams[0].CAFile = "password", "ca.pem"
	var out strings.Builder
	listFiles(&out, "config.yaml", cfg)
	for _, name := range []string{"config.yaml", "users", "cert.pem", "key.pem", "password", "ca.pem"} {
		if !strings.Contains(out.String(), "not part of the copy: "+name+"\n") {
			t.Errorf("%s is not named:\n%s", name, &out)
		}
	}
}

func TestFsckExitCodes(t *testing.T) {
	t.Setenv("CONANPROXY_UPSTREAMS", "") // no upstream repairs anything
	cfg, sets := published(t)
	fsckOnce := func(args ...string) int {
		return run(t.Context(), append([]string{"fsck", "--data-dir", cfg.DataDir}, args...))
	}
	if got := fsckOnce(); got != exitOK {
		t.Errorf("a sound store: exit code %d", got)
	}
	files, err := filepath.Glob(filepath.Join(cfg.DataDir, "blobs", "sha256", "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	damaged := files[0]
	if err := os.Chmod(damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	writeFile(t, damaged, "other bytes")
	for _, args := range [][]string{nil, {"--repair"}} {
		if got := fsckOnce(args...); got != exitUnsound {
			t.Errorf("a damaged file of %d sets, %q: exit code %d", len(sets), args, got)
		}
	}
	lock, err := lockDataDir(cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if got := fsckOnce(); got != exitFailed {
		t.Errorf("beside a server: exit code %d", got)
	}
}

// The health check asks the server that runs, with TLS and on another port than the configured one.
func TestHealthcheckAsksAsTheServerListens(t *testing.T) {
	cfg := testConfig(t)
	cfg.Listen = "127.0.0.1:0"
	cfg.TLS = certificate(t, t.TempDir(), 1, time.Now().Add(time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, cfg, nil, out) }()
	go func() { _, _ = io.Copy(io.Discard, in) }()
	for deadline := time.Now().Add(30 * time.Second); healthcheck(ctx, cfg.DataDir) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not healthy: %v", healthcheck(ctx, cfg.DataDir))
		}
	}
	if url, err := readAddress(cfg.DataDir); err != nil || !strings.HasPrefix(url, "https://127.0.0.1:") {
		t.Errorf("the address is %q, %v", url, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := healthcheck(t.Context(), cfg.DataDir); err == nil {
		t.Error("healthy after the end")
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestLocalURL(t *testing.T) {
	for _, tt := range []struct {
		useTLS     bool
		addr, want string
	}{
		{false, "127.0.0.1:9300", "http://127.0.0.1:9300"},
		{true, "[::]:443", "https://127.0.0.1:443"},
		{false, "0.0.0.0:80", "http://127.0.0.1:80"},
		{false, "[::1]:9300", "http://[::1]:9300"},
	} {
		if got := localURL(tt.useTLS, tt.addr); got != tt.want {
			t.Errorf("localURL(%v, %q) = %q, want %q", tt.useTLS, tt.addr, got, tt.want)
		}
	}
}
