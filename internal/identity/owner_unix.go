//go:build unix

package identity

import (
	"os"
	"syscall"
)

// copyOwner gives a file the owner and the group in info.
func copyOwner(info os.FileInfo, path string) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Chown(path, int(stat.Uid), int(stat.Gid))
}
