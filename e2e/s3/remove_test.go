package s3

import (
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"
	"testing"

	"conanproxy/e2e/e2etest"
)

// TestRemoveForGood has the bytes of a package gone from the bucket and the disk when the command
// ends. While the bucket removes nothing the command tells that they are not.
func TestRemoveForGood(t *testing.T) {
	t.Parallel()
	s3 := e2etest.StartS3(t)
	settings := s3.Settings()
	settings["auth"] = map[string]any{"admin": []string{"demo"}}
	proxy := e2etest.StartConanproxy(t, settings)
	publisher := e2etest.NewConan2(t, proxy.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	demo := e2etest.NewOperator(t, proxy, "demo")
	objects, copies := s3.Server.ObjectFile("objects"), filepath.Join(proxy.Dir, "data", "tier", "sha256")
	remove := []string{"remove", "--in", "local", "--now", "--yes", ref}

	publisher.Upload(ref)
	if count(t, objects) == 0 || count(t, copies) == 0 {
		t.Fatal("nothing was stored")
	}
	demo.Must(remove...)
	if n, m := count(t, objects), count(t, copies); n > 0 || m > 0 {
		t.Errorf("%d objects and %d copies are left", n, m)
	}

	publisher.Upload(ref)
	s3.Relay.Refuse(http.MethodPost, http.StatusForbidden, "AccessDenied")
	demo.Fails(1, "some of their bytes are not deleted yet", remove...)
	if count(t, objects) == 0 {
		t.Error("the bucket refused to remove objects, and has none")
	}
	demo.Fails(2, "was not found", remove...)
}

// count counts the files below a folder.
func count(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return n
}
