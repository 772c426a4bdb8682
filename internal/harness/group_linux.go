package harness

import "syscall"

// ownGroup starts a child in a process group of its own, and has the kernel end it when this
// process dies.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
