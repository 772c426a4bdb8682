package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// What the local store can answer must not hang on a slow upstream. So an upstream that is
// asked only for what it could add is given up soon, and for a while after that it is asked
// for no more than what it remembers.
const (
	patience       = 2 * time.Second
	littlePatience = 50 * time.Millisecond
	slowFor        = 10 * time.Second
)

// hurried makes a question that has an answer within patience, or conan.ErrUnavailable.
func hurried[T any](patience time.Duration, ask question[T]) question[T] {
	return func(ctx context.Context, m *member) (T, error) {
		limit := patience
		if time.Now().UnixNano() < m.slow.Load() {
			limit = littlePatience
		}
		short, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		value, err := ask(short, m)
		if err == nil || absent(err) || ctx.Err() != nil || !errors.Is(short.Err(), context.DeadlineExceeded) {
			return value, err
		}
		if limit == patience {
			m.slow.Store(time.Now().Add(slowFor).UnixNano())
		}
		return value, &conan.UnavailableError{Member: m.name, Reason: fmt.Sprintf("no answer within %v", limit), Err: err}
	}
}
