package space

import (
	"context"
	"sync"
)

// Lease is space for one file that is about to be written: no other writer gets it until Release. It belongs to one
// goroutine.
type Lease struct {
	budget     *Budget
	check      func(context.Context) error // whether all leases together are within the bounds
	size, used int64
	once       sync.Once
}

// leased is the space of files that are being written.
type leased struct {
	files   int64
	bytes   int64
	written int64 // of those bytes, what is on the disk already
}

// unwritten is what the disk has to give yet: the bytes, and the rest of the last block of each file.
func (l leased) unwritten(block int64) int64 { return max(0, l.bytes-l.written) + l.files*block }

// LeaseUpload leases n bytes for a file that will not be evicted: MinFree stays free. Cached content makes way. It is
// conan.ErrNoSpace if there is no room.
func (b *Budget) LeaseUpload(ctx context.Context, n int64) (*Lease, error) {
	return b.lease(ctx, n, func(ctx context.Context) error { return b.Check(ctx, 0) })
}

// LeaseCache leases n bytes for a file that will be cached: MinFree and MaxSize hold. The coldest cached revisions make
// way. It is conan.ErrNoSpace if there is no room.
func (b *Budget) LeaseCache(ctx context.Context, n int64) (*Lease, error) {
	return b.lease(ctx, n, b.checkCache)
}

func (b *Budget) lease(ctx context.Context, n int64, check func(context.Context) error) (*Lease, error) {
	b.add(leased{files: 1})
	l := &Lease{budget: b, check: check}
	if err := l.Grow(ctx, n); err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// Grow leases n bytes more: nil or conan.ErrNoSpace, which leaves the lease as it was.
func (l *Lease) Grow(ctx context.Context, n int64) error {
	// The bytes are added first: two leases at the same time then see each other.
	l.budget.add(leased{bytes: n})
	if err := l.check(ctx); err != nil {
		l.budget.add(leased{bytes: -n})
		return err
	}
	l.size += n
	return nil
}

// Left is how many of the bytes are not written yet.
func (l *Lease) Left() int64 { return l.size - l.used }

// Used tells that n of the bytes are on the disk now.
func (l *Lease) Used(n int64) {
	l.used += n
	l.budget.add(leased{written: n})
}

// Release ends the lease, when the bytes are stored or thrown away. It may be called more than once.
func (l *Lease) Release() {
	l.once.Do(func() { l.budget.add(leased{files: -1, bytes: -l.size, written: -l.used}) })
}

// Leased is how many bytes all leases have together.
func (b *Budget) Leased() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leased.bytes
}

func (b *Budget) add(l leased) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leased.files += l.files
	b.leased.bytes += l.bytes
	b.leased.written += l.written
	b.o.Metrics.leased.Set(float64(b.leased.bytes))
}
