package upstream

import (
	"context"
	"time"

	"golang.org/x/sync/singleflight"
)

// shared does work once for all callers that want its outcome at the same time. The zero value is
// ready.
type shared[T any] struct{ group singleflight.Group }

// do returns the outcome of the work for a key, which is started unless it is under way. A caller
// that leaves does not end it; the limit does.
func (s *shared[T]) do(ctx context.Context, key string, limit time.Duration, work func(context.Context) (T, error)) (T, error) {
	done := s.group.DoChan(key, func() (any, error) {
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		return work(detached)
	})
	select {
	case r := <-done:
		value, _ := r.Val.(T)
		return value, r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
