package s3

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/e2e/e2etest"
)

// TestCommands has the commands on the data find and mend what is wrong in the bucket.
func TestCommands(t *testing.T) {
	t.Parallel()
	s3 := e2etest.StartS3(t)
	proxy := e2etest.StartConanproxy(t, s3.Settings())
	publisher := e2etest.NewConan2(t, proxy.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Upload(ref)
	command := func(code int, says string, args ...string) {
		t.Helper()
		cmd := exec.Command(proxy.Program, append(args, "--config", filepath.Join(proxy.Dir, "config.yaml"))...)
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(string(out), says) {
			t.Errorf("%s: exit code %d, %v; want %d and %q:\n%s", strings.Join(args, " "), got, err, code, says, out)
		}
	}
	install := func() {
		t.Helper()
		reader := e2etest.NewConan2(t, proxy.URL())
		reader.Install(ref)
		e2etest.SameTree(t, "lib", publisher, reader)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	command(0, "copy that now, after the index", "backup", copied)
	command(2, "run conanproxy fsck", "backup", "--check", filepath.Join(t.TempDir(), "other"))
	proxy.Stop()

	command(0, "0 damaged, 0 missing, 0 orphaned", "fsck")
	damage(t, largestObject(t, s3))
	command(3, "1 damaged", "fsck")
	command(0, "1 damaged, 0 missing, 0 orphaned; 0 not repaired", "fsck", "--repair") // by the copy on the disk
	loseTier(t, proxy)
	command(0, "0 damaged", "fsck")
	proxy.Start()
	install()
	proxy.Stop()

	if err := os.Remove(filepath.Join(proxy.Dir, "data", "index.db")); err != nil {
		t.Fatal(err)
	}
	command(2, "conanproxy rebuild", "fsck")
	loseTier(t, proxy)
	command(0, "0 published files are missing", "rebuild")
	command(0, "removed: 0 cached revisions", "gc")
	command(0, "0 damaged, 0 missing, 0 orphaned", "fsck")
	proxy.Start()
	install()
	proxy.Stop()

	if err := os.RemoveAll(filepath.Join(proxy.Dir, "data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied, filepath.Join(proxy.Dir, "data")); err != nil {
		t.Fatal(err)
	}
	// The copied index names the object that was damaged first.
	proxy.Start()
	e2etest.NewConan2(t, proxy.URL()).Fails([]string{"503"}, publisher.InstallArgs(ref)...)
	publisher.Upload(ref, "--force")
	install()
}

// largestObject is the file of the largest object of the bucket.
func largestObject(t *testing.T, s3 *e2etest.S3) string {
	t.Helper()
	largest, size := "", int64(0)
	err := filepath.WalkDir(s3.Server.ObjectFile("objects"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil || largest == "" {
		t.Fatal(largest, err)
	}
	return largest
}

// damage changes one bit of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(path, b, 0o600)
	}
	if err = errors.Join(err, os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
}
