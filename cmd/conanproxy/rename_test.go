package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"conanproxy/internal/config"
)

// TestRename: a name that the data knows as a store cannot be an upstream. The error names the
// command that renames the store, after which its packages are found under the new name, also by an
// index that is made of the journal.
func TestRename(t *testing.T) {
	t.Setenv("CONANPROXY_UPSTREAMS", "")
	cfg, sets := published(t)
	before := timesOf(t, cfg, sets)

	outside := testConfig(t, "http://127.0.0.1:1")
	outside.DataDir = cfg.DataDir
	outside.Stores = []config.Store{{Name: "dev", Owns: []string{}}}
	outside.Upstreams[0].Name = "local"
	_, err := newServer(t.Context(), outside, quiet())
	var usage usageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "conanproxy rename local NAME") {
		t.Fatalf("start with an upstream that has the name of a store: %v", err)
	}

	for _, tt := range []struct {
		from, to string
		want     int
	}{
		{"nothing", "other", exitUsage},
		{"local", "dev", exitUsage}, // there is a store of that name since the start above
		{"local", "own", exitOK},
		{"local", "own", exitUsage},
	} {
		if got := run(t.Context(), []string{"rename", tt.from, tt.to, "--data-dir", cfg.DataDir}); got != tt.want {
			t.Errorf("rename %s %s: exit code %d, want %d", tt.from, tt.to, got, tt.want)
		}
	}
	renamed := testConfig(t)
	renamed.DataDir = cfg.DataDir
	renamed.Stores = []config.Store{{Name: "own", Owns: []string{}}}
	if after := timesOf(t, renamed, sets); after != before {
		t.Errorf("under the new name the times are %q, want %q", after, before)
	}
	s, err := newServer(t.Context(), outside, quiet())
	if err != nil {
		t.Fatalf("start after the renaming: %v", err)
	}
	s.close()

	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(indexPath(cfg.DataDir) + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if got := run(t.Context(), []string{"rebuild", "--data-dir", cfg.DataDir}); got != exitOK {
		t.Fatalf("rebuild: exit code %d", got)
	}
	if after := timesOf(t, renamed, sets); after != before {
		t.Errorf("in the rebuilt index the times are %q, want %q", after, before)
	}
}
