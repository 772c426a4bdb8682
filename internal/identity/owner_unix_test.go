//go:build unix

package identity

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A server that runs as another user can still read the file after root has changed it.
func TestWriteHtpasswdKeepsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := WriteHtpasswd(path, &Htpasswd{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 1234, 5678); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	if err := WriteHtpasswd(path, &Htpasswd{}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	if stat.Uid != 1234 || stat.Gid != 5678 || info.Mode() != 0o440 {
		t.Errorf("owner %d:%d, mode %v; want 1234:5678 and 0440", stat.Uid, stat.Gid, info.Mode())
	}
}
