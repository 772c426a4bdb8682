package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile takes the lock of an open file for as long as it is open, or fails at once if another
// process has it.
func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
}
