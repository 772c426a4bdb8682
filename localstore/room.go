package localstore

import (
	"context"
	"io"
)

// Reservation is room for bytes that are about to be written.
type Reservation interface {
	// Grow asks for more: nil or conan.ErrNoSpace.
	Grow(ctx context.Context, bytes int64) error
	// Wrote tells that so many of the bytes are on the medium now.
	Wrote(bytes int64)
	// Release ends the reservation, when the bytes are stored or thrown away. It may be called more than once.
	Release()
}

// unpromised asks whether there is room and keeps nobody else from taking it.
type unpromised func(context.Context, int64) error

// Grow implements Reservation.
func (room unpromised) Grow(ctx context.Context, bytes int64) error { return room(ctx, bytes) }

// Wrote implements Reservation.
func (unpromised) Wrote(int64) {}

// Release implements Reservation.
func (unpromised) Release() {}

// reserved is a writer that tells its reservation what was written.
type reserved struct {
	io.Writer
	room Reservation
}

// Write implements io.Writer.
func (r reserved) Write(p []byte) (int, error) {
	n, err := r.Writer.Write(p)
	r.room.Wrote(int64(n))
	return n, err
}
