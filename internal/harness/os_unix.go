//go:build unix

package harness

import (
	"os"
	"syscall"
)

// killGroup kills a process that ownGroup started, and its children.
func killGroup(p *os.Process) { syscall.Kill(-p.Pid, syscall.SIGKILL) }

// lockFile waits for an exclusive lock on an open file; it ends when the file is closed.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }

// detached starts a child that signals to this process's group do not reach.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
