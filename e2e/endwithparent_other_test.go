//go:build !linux

package e2e

import "syscall"

// endWithParent has no equivalent here: children are ended by the tests' cleanup only.
func endWithParent() *syscall.SysProcAttr {
	return nil
}
