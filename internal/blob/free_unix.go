//go:build linux || darwin || freebsd

package blob

import "golang.org/x/sys/unix"

// freeBytes returns what an unprivileged process may still write to the filesystem of path.
func freeBytes(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// blockSize returns the smallest piece that the filesystem of path gives a file, 0 if it does not
// tell.
func blockSize(path string) int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0
	}
	return int64(s.Bsize)
}
