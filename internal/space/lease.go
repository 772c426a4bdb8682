package space

import (
	"context"
	"sync"
)

// Lease is space for one file that is being written: no other lease gets it until Release. One
// goroutine uses it.
type Lease struct {
	b           *Budget
	bounds      need // that it keeps
	bytes, used int64
	once        sync.Once
}

// leased is the sum of all leases.
type leased struct {
	files int64
	bytes int64
	used  int64 // of those bytes, the ones that are on the disk already
}

// unused is what the disk has to give yet: the bytes, and the rest of the last block of each file.
func (l leased) unused(block int64) int64 { return max(0, l.bytes-l.used) + l.files*block }

// LeaseUpload leases n bytes for published content, which keeps MinFree; cached content makes way
// for it. It fails with conan.ErrNoSpace if there is no space.
func (b *Budget) LeaseUpload(ctx context.Context, n int64) (*Lease, error) {
	return b.lease(ctx, n, need{over: overFree, published: true})
}

// LeaseCache is LeaseUpload for cached content, which also keeps MaxSize.
func (b *Budget) LeaseCache(ctx context.Context, n int64) (*Lease, error) {
	return b.lease(ctx, n, need{over: overBounds})
}

func (b *Budget) lease(ctx context.Context, n int64, bounds need) (*Lease, error) {
	b.add(leased{files: 1})
	l := &Lease{b: b, bounds: bounds}
	if err := l.Grow(ctx, n); err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// Grow leases n bytes more: nil or conan.ErrNoSpace, which leaves the lease as it was.
func (l *Lease) Grow(ctx context.Context, n int64) error {
	// before the look at what is free, so that two at the same time see each other
	l.b.add(leased{bytes: n})
	if err := l.b.makeSpace(ctx, l.bounds); err != nil {
		l.b.add(leased{bytes: -n})
		return err
	}
	l.bytes += n
	return nil
}

// Left is how many of the leased bytes are not used yet.
func (l *Lease) Left() int64 { return l.bytes - l.used }

// Used tells that n of the bytes are on the disk now.
func (l *Lease) Used(n int64) {
	l.used += n
	l.b.add(leased{used: n})
}

// Release ends the lease, when the bytes are stored or thrown away. It may be called more than
// once.
func (l *Lease) Release() {
	l.once.Do(func() { l.b.add(leased{files: -1, bytes: -l.bytes, used: -l.used}) })
}

// Leased is the number of bytes that all leases have together.
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
	b.leased.used += l.used
	b.o.Metrics.leased.Set(float64(b.leased.bytes))
}
