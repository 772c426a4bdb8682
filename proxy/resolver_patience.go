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

// hurried bounds a question by patience, or by less if the member was too slow lately.
func hurried[T any](ask question[T]) question[T] {
	return func(ctx context.Context, m *member) (T, error) {
		if time.Now().UnixNano() < m.slow.Load() {
			return within(littlePatience, ask)(ctx, m)
		}
		value, err := within(patience, ask)(ctx, m)
		if errors.Is(err, errTooSlow) {
			m.slow.Store(time.Now().Add(slowFor).UnixNano())
		}
		return value, err
	}
}

// errTooSlow is the cause of the failure of a question that had too little time.
var errTooSlow = errors.New("too slow")

// within makes a question that fails as unavailable if it is not answered in time.
func within[T any](limit time.Duration, ask question[T]) question[T] {
	return func(ctx context.Context, m *member) (T, error) {
		short, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		value, err := ask(short, m)
		inTime := err == nil || absent(err) || !errors.Is(short.Err(), context.DeadlineExceeded)
		if inTime || ctx.Err() != nil {
			return value, err
		}
		return value, &conan.UnavailableError{
			Member: m.name,
			Reason: fmt.Sprintf("no answer within %v", limit),
			Err:    errTooSlow,
		}
	}
}
