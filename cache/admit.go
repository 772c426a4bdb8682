package cache

import (
	"context"
	"sync"
)

// Admission is room that was promised to an upload: nobody else is given it until Release. It belongs to one goroutine.
type Admission struct {
	q          *Quota
	size, done int64
	once       sync.Once
}

// Admit is Room, and promises the bytes, so that many uploads at once cannot exceed min_free together.
func (q *Quota) Admit(ctx context.Context, n int64) (*Admission, error) {
	q.add(promised{files: 1})
	a := &Admission{q: q}
	if err := a.Grow(ctx, n); err != nil {
		a.Release()
		return nil, err
	}
	return a, nil
}

// Grow promises n bytes more: nil or conan.ErrNoSpace, which leaves the promise as it was.
func (a *Admission) Grow(ctx context.Context, n int64) error {
	// The promise comes first: two at the same time then see each other.
	a.q.add(promised{bytes: n})
	if err := a.q.Room(ctx, 0); err != nil {
		a.q.add(promised{bytes: -n})
		return err
	}
	a.size += n
	return nil
}

// Wrote tells that n of the bytes are on the medium now.
func (a *Admission) Wrote(n int64) {
	a.done += n
	a.q.add(promised{written: n})
}

// Release ends the promise, when the bytes are stored or thrown away. It may be called more than once.
func (a *Admission) Release() {
	a.once.Do(func() { a.q.add(promised{files: -1, bytes: -a.size, written: -a.done}) })
}
