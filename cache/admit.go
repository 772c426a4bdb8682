package cache

import "context"

// Admission is room that was promised to an upload: nobody else is given it until Release. It belongs to one goroutine.
type Admission struct{ room *reservation }

// Admit is Room, and promises the bytes, so that many uploads at once cannot exceed min_free together.
func (q *Quota) Admit(ctx context.Context, n int64) (*Admission, error) {
	a := &Admission{room: q.begin()}
	if err := a.Grow(ctx, n); err != nil {
		a.Release()
		return nil, err
	}
	return a, nil
}

// Grow promises n bytes more: nil or conan.ErrNoSpace, which leaves the promise as it was.
func (a *Admission) Grow(ctx context.Context, n int64) (err error) {
	a.room.promise(n, func() bool {
		err = a.room.q.Room(ctx, 0)
		return err == nil
	})
	return err
}

// Wrote tells that n of the bytes are on the medium now.
func (a *Admission) Wrote(n int64) { a.room.wrote(n) }

// Release ends the promise, when the bytes are stored or thrown away. It may be called more than once.
func (a *Admission) Release() { a.room.release() }
