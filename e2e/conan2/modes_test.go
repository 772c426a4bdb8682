package conan2

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// TestConan2ForcedModes uploads a package again of which only the mode of a file changed, which no
// revision tells: a new reader gets the new mode. A server that does not overwrite refuses it with
// a text that the client shows.
func TestConan2ForcedModes(t *testing.T) {
	t.Parallel()
	const ref = "header/1.0@demo/testing"
	for _, overwrite := range []bool{true, false} {
		proxy := e2etest.StartConanproxy(t, harness.Settings{"local": harness.Settings{"overwrite": overwrite}})
		publisher := e2etest.NewConan2(t, proxy.URL("local")).As("demo", "demo")
		folder := e2etest.Recipe(t, "header")
		publisher.Create(folder, "demo/testing")
		publisher.Upload(ref)
		if err := os.Chmod(filepath.Join(folder, "header.h"), 0o755); err != nil {
			t.Fatal(err)
		}
		again := e2etest.NewConan2(t, proxy.URL("local")).As("demo", "demo") // the first client keeps its archive
		again.Create(folder, "demo/testing")
		if overwrite {
			again.Upload(ref, "--force")
		} else {
			again.Fails([]string{"does not allow to overwrite"}, again.UploadArgs(ref, "r", "--force")...)
		}
		reader := e2etest.NewConan2(t, proxy.URL("local"))
		reader.Install(ref)
		const id = "da39a3ee5e6b4b0d3255bfef95601890afd80709" // of an empty conaninfo.txt
		info, err := os.Stat(filepath.Join(strings.TrimSpace(reader.Output("cache", "path", ref+":"+id)), "include", "header.h"))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode()&0o100 != 0; got != overwrite {
			t.Errorf("overwrite %v: the new reader has the mode %v", overwrite, info.Mode())
		}
	}
}
