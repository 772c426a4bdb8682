package e2e

import "syscall"

// endWithParent makes a child end when the test process dies, as on a timeout.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
