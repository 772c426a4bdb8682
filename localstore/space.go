package localstore

import (
	"context"
	"io"
)

// Lease is space for bytes that are about to be written.
type Lease interface {
	// Grow asks for more: nil or conan.ErrNoSpace.
	Grow(ctx context.Context, bytes int64) error
	// Used tells that so many of the bytes are on the disk now.
	Used(bytes int64)
	// Release ends the lease, when the bytes are stored or thrown away. It may be called more than
	// once.
	Release()
}

// unbounded is the lease of a store whose space nothing bounds.
type unbounded struct{}

// Grow implements Lease.
func (unbounded) Grow(context.Context, int64) error { return nil }

// Used implements Lease.
func (unbounded) Used(int64) {}

// Release implements Lease.
func (unbounded) Release() {}

// leased is a writer that tells its lease what was written.
type leased struct {
	io.Writer
	lease Lease
}

// Write implements io.Writer.
func (l leased) Write(p []byte) (int, error) {
	n, err := l.Writer.Write(p)
	l.lease.Used(int64(n))
	return n, err
}
