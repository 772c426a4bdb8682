package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStoresInsteadOfLocal: what is printed for a section local means the same when it is read.
func TestStoresInsteadOfLocal(t *testing.T) {
	load := func(text string) *Config {
		t.Helper()
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(LoadOptions{File: path})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	old := load("local: {owns: ['*@acme/*'], overwrite: false, trash_for: 24h}\n")
	text, err := old.StoresInsteadOfLocal()
	if err != nil || !strings.HasPrefix(text, "stores:\n") {
		t.Fatalf("got %q, %v", text, err)
	}
	now := load(text)
	if diff := cmp.Diff(old.AllStores(), now.AllStores()); diff != "" {
		t.Errorf("stores (-local +printed):\n%s\nof %s", diff, text)
	}
	for _, cfg := range []*Config{now, load("listen: 127.0.0.1:1\n")} {
		if text, err := cfg.StoresInsteadOfLocal(); text != "" || err != nil {
			t.Errorf("without a section local it says %q, %v", text, err)
		}
	}
}
