package conan2

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// TestConan2Quota uploads to a store that is full: the client shows why and stops, and what the
// store has can still be installed and removed, after which there is space again.
func TestConan2Quota(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{"stores": []harness.Settings{{"name": "dev", "quota": "4KiB", "trash_for": "1h"}}})
	publisher := e2etest.NewConan2(t, proxy.URL("local")).As("demo", "demo")
	folder := e2etest.Recipe(t, "header")
	publisher.Create(folder, "demo/testing")
	random := make([]byte, 1<<10)
	rand.Read(random)
	if err := os.WriteFile(filepath.Join(folder, "header.h"), []byte(hex.EncodeToString(random)), 0o644); err != nil {
		t.Fatal(err)
	}
	publisher.Create(folder, "demo/stable")
	publisher.Upload("header/1.0@demo/testing")
	said := publisher.Fails([]string{`the store "dev" has a quota of 4096 bytes`}, publisher.UploadArgs("header/1.0@demo/stable", "r")...)
	if strings.Contains(said, "retrying") || strings.Contains(said, "Waiting") {
		t.Errorf("the client tries again:\n%s", said)
	}
	e2etest.NewConan2(t, proxy.URL("local")).Install("header/1.0@demo/testing")

	publisher.Must("remove", "header/1.0@demo/testing", "-r", "r", "-c")
	publisher.Upload("header/1.0@demo/stable")
}
