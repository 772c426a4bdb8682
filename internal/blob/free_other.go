//go:build !(linux || darwin || freebsd)

package blob

import "errors"

// freeBytes cannot be told here.
func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }

// blockSize cannot be told here.
func blockSize(string) int64 { return 0 }
