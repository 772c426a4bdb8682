package space

import (
	"context"
	"fmt"
	"math"

	"conanproxy/internal/conan"
)

// pinShare is how much of MaxSize revisions with pins may take together, in percent: what is left
// is for everything else.
const pinShare = 80

// PinRoom is how many bytes revisions with pins take.
type PinRoom struct {
	Pinned  int64 // now
	Most    int64 // that they may take
	MaxSize int64 // of which Most is a part; 0: unbounded
}

// Fits is conan.ErrConflict if so many bytes may not be pinned.
func (r PinRoom) Fits(bytes int64) error {
	if bytes <= r.Most {
		return nil
	}
	return fmt.Errorf("%w: this would bring what is pinned to %d bytes; at most %d may be pinned, a part of cache.max_size, which is %d: unpin something, or raise it",
		conan.ErrConflict, bytes, r.Most, r.MaxSize)
}

// PinRoom tells how many bytes may be pinned.
func (b *Budget) PinRoom(ctx context.Context) (PinRoom, error) {
	pinned, err := b.pinnedBytes(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	room := PinRoom{Pinned: pinned, Most: math.MaxInt64, MaxSize: b.bounds.maxSize}
	if room.MaxSize > 0 {
		room.Most = room.MaxSize / 100 * pinShare
	}
	return room, err
}

// pinnedBytes are the cached bytes that eviction leaves.
func (b *Budget) pinnedBytes(ctx context.Context) (int64, error) {
	bytes, err := b.o.Index.PinnedBytes(ctx)
	if err == nil {
		b.o.Metrics.pinned.Set(float64(bytes))
	}
	return bytes, err
}
