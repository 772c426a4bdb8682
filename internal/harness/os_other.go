//go:build !unix

package harness

import (
	"os"
	"syscall"
)

// ownGroup has no equivalent here: children are ended by Stop only.
func ownGroup() *syscall.SysProcAttr { return nil }

// killGroup kills the process alone.
func killGroup(p *os.Process) { p.Kill() }

// lockFile does nothing here: two processes must not install the same environment at the same time.
func lockFile(*os.File) error { return nil }

// detached has no equivalent here.
func detached() *syscall.SysProcAttr { return nil }
