package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// What a store can answer must not wait for a slow upstream. So an upstream that is asked only for
// what it could add has a short timeout, and a shorter one while it is degraded: it then gives no
// more than what it remembers.
const (
	addTimeout      = 2 * time.Second
	degradedTimeout = 50 * time.Millisecond
	degradedFor     = 10 * time.Second
)

// adding bounds a question to members that are asked only for what they could add.
func adding[T any](ask question[T]) question[T] {
	return func(ctx context.Context, m *member) (conan.Answer[T], error) {
		if time.Now().UnixNano() < m.degradedUntil.Load() {
			return within(degradedTimeout, ask)(ctx, m)
		}
		a, err := within(addTimeout, ask)(ctx, m)
		if errors.Is(err, errTooSlow) {
			m.degradedUntil.Store(time.Now().Add(degradedFor).UnixNano())
		}
		return a, err
	}
}

// errTooSlow is the cause of the failure of a question that was not answered in time.
var errTooSlow = errors.New("too slow")

// within makes a question that fails as unavailable if it is not answered in time.
func within[T any](limit time.Duration, ask question[T]) question[T] {
	return func(ctx context.Context, m *member) (conan.Answer[T], error) {
		short, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		a, err := ask(short, m)
		inTime := err == nil || conan.IsAbsent(err) || !errors.Is(short.Err(), context.DeadlineExceeded)
		if inTime || ctx.Err() != nil {
			return a, err
		}
		return conan.Answer[T]{}, &conan.UnavailableError{
			Member: m.Name,
			Reason: fmt.Sprintf("no answer within %v", limit),
			Err:    errTooSlow,
		}
	}
}
