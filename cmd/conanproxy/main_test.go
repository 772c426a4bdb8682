package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/config"
)

func TestSecretIsMadeOnceAndKeptPrivate(t *testing.T) {
	dir := t.TempDir()
	first, err := loadSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := loadSecret(dir)
	if err != nil || !bytes.Equal(first, second) || len(first) < 32 {
		t.Fatalf("second start: %d bytes, equal %v, %v", len(second), bytes.Equal(first, second), err)
	}
	path := filepath.Join(dir, "secret")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecret(dir); err == nil {
		t.Error("a secret that others may read was taken")
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecret(dir); err == nil {
		t.Error("a short secret was taken")
	}
}

func TestDataDirHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDataDir(dir); err == nil || !strings.Contains(err.Error(), "in use by another") {
		t.Errorf("second owner: %v", err)
	}
	lock.Close()
	again, err := lockDataDir(dir)
	if err != nil {
		t.Fatalf("after the first owner ended: %v", err)
	}
	again.Close()
}

func TestExitCodes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("no_such_key: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"version"}, exitOK},
		{[]string{"config", "check"}, exitOK},
		{[]string{"config", "check", "--config", bad}, exitUsage},
		{[]string{"serve", "--config", bad}, exitUsage},
		{[]string{"serve", "--no-such-flag"}, exitUsage},
		{[]string{"no-such-command"}, exitUsage},
		{[]string{"fsck", "--data-dir", filepath.Join(t.TempDir(), "none")}, exitUsage},
		{[]string{"fsck", "--data-dir", t.TempDir()}, exitUsage}, // no server has used this folder
		{[]string{"gc", "--data-dir", t.TempDir()}, exitUsage},
		{[]string{"rebuild", "--data-dir", t.TempDir()}, exitUsage},
		{[]string{"rename", "a", "b", "--data-dir", t.TempDir()}, exitUsage},
		{[]string{"rename", "a", "No Name"}, exitUsage},
		{[]string{"user", "list", "--file", filepath.Join(t.TempDir(), "none")}, exitFailed},
		{[]string{"healthcheck"}, exitFailed},
	} {
		t.Setenv("CONANPROXY_DATA_DIR", t.TempDir()) // no server runs there
		if got := run(context.Background(), tt.args); got != tt.want {
			t.Errorf("%v: exit code %d, want %d", tt.args, got, tt.want)
		}
	}
}

// TestServeEndsWithItsContext starts the whole server and ends it.
func TestServeEndsWithItsContext(t *testing.T) {
	cfg, err := config.Load(config.LoadOptions{Flags: config.Flags{Listen: "127.0.0.1:0", DataDir: t.TempDir()}, Env: []string{"CONANPROXY_UPSTREAMS="}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serve(ctx, cfg, func() (*config.Config, error) { return cfg, nil }, out)
		out.Close()
		ended <- err
	}()
	var said []string
	buffer := make([]byte, 4096)
	for len(said) < 3 {
		n, err := in.Read(buffer)
		if err != nil {
			t.Fatalf("greeting %q: %v, %v", said, err, <-ended)
		}
		said = append(said, strings.TrimSpace(string(buffer[:n])))
	}
	words := strings.Fields(said[2])
	if len(words) < 5 || strings.Join(words[:4], " ") != "conan remote add conanproxy" {
		t.Fatalf("third line %q is not to be pasted", said[2])
	}
	resp, err := http.Get(words[4] + "/v1/ping")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("X-Conan-Server-Capabilities"), "revisions") {
		t.Errorf("ping: %s %v", resp.Status, resp.Header)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the server did not end")
	}
}
