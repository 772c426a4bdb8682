package cache

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// answer makes an answer of what was found, and counts it. A failure that may not be remembered has
// no origin.
func answer[T any](c *Cache, value T, o conan.Origin, err error) (conan.Answer[T], error) {
	switch {
	case err == nil:
		c.o.Metrics.answered(c.o.Name, string(o.State))
		return conan.Answer[T]{Value: value, Origin: o}, nil
	case errors.Is(err, conan.ErrNotFound):
		c.o.Metrics.answered(c.o.Name, resultNegative)
		return conan.Answer[T]{Origin: o}, err
	case errors.Is(err, conan.ErrUnavailable):
		c.o.Metrics.answered(c.o.Name, resultUnavailable)
	}
	return conan.Answer[T]{}, err
}

// freshUntil is the time until which what was fetched then need not be asked again.
func (c *Cache) freshUntil(fetched time.Time) time.Time {
	if c.o.Mode == Frozen {
		return conan.Forever
	}
	return fetched.Add(c.o.FreshFor)
}

// isFresh tells whether what was fetched then need not be asked again.
func (c *Cache) isFresh(fetched time.Time) bool {
	return c.o.Now().Before(c.freshUntil(fetched))
}

// isUsable tells whether what was fetched then may be used if upstream cannot be asked.
func (c *Cache) isUsable(fetched time.Time) bool {
	return c.o.Mode == Offline || c.o.Now().Before(c.freshUntil(fetched).Add(c.o.StaleFor))
}

// fresh is the origin of an answer that was fetched at that time; asked if upstream was asked for
// it just now.
func (c *Cache) fresh(fetched time.Time, asked bool) conan.Origin {
	o := conan.Origin{Member: c.o.Name, State: conan.StateHit, Age: c.age(fetched), Expires: c.freshUntil(fetched)}
	if asked {
		o.State = conan.StateMiss
	}
	if o.Expires.Equal(conan.Forever) {
		// A setting says so, not the protocol: it must not be remembered for ever.
		o.Expires = c.o.Now().Add(max(c.o.FreshFor, time.Minute))
	}
	return o
}

// stale is the origin of an answer that is used because upstream could not be asked.
func (c *Cache) stale(fetched time.Time, reason string) conan.Origin {
	return conan.Origin{Member: c.o.Name, State: conan.StateStale, Age: c.age(fetched), Reason: reason}
}

// immutable is the origin of bytes that can never be others.
func (c *Cache) immutable(state conan.CacheState) conan.Origin {
	return conan.Origin{Member: c.o.Name, State: state, Expires: conan.Forever}
}

// absence is the origin of a "not found" that upstream said at that time.
func (c *Cache) absence(said time.Time, asked bool) conan.Origin {
	o := conan.Origin{Member: c.o.Name, State: conan.StateHit, Age: c.age(said), Expires: said.Add(c.o.NotFoundFor)}
	if asked {
		o.State = conan.StateMiss
	}
	if c.o.Mode == Frozen {
		o.Expires = c.o.Now().Add(max(c.o.NotFoundFor, time.Minute))
	}
	return o
}

func (c *Cache) age(fetched time.Time) time.Duration {
	return max(0, c.o.Now().Sub(fetched))
}

// unavailable is the error of a question that could not be answered. It has no cause: whatever an
// upstream failed with must not look like the proxy's own "not found" or "denied" to a reader.
func (c *Cache) unavailable(reason string) error {
	return &conan.UnavailableError{Member: c.o.Name, Reason: reason}
}

// classify turns whatever an upstream failed with into one of the two failures that a reader may
// see.
func (c *Cache) classify(err error) error {
	var known *conan.UnavailableError
	switch {
	case errors.As(err, &known), errors.Is(err, conan.ErrNotFound):
		return err
	case errors.Is(err, conan.ErrNotFetched):
		return c.unavailable("it was not asked")
	case errors.Is(err, conan.ErrDenied):
		return c.unavailable("it refused this server's credentials")
	case errors.Is(err, context.DeadlineExceeded):
		return c.unavailable("it did not answer in time")
	case errors.Is(err, context.Canceled):
		return c.unavailable("the question was given up")
	}
	return c.unavailable("it did not answer as it should")
}

// recovered is deferred: it turns a panic into an error, so that it does not end the whole server.
func (c *Cache) recovered(what string, err *error) {
	if p := recover(); p != nil {
		c.o.Log.Error(what+" panicked", zap.Any("panic", p), zap.Stack("stack"))
		*err = c.unavailable("an internal error")
	}
}

// reason is the phrase of an error for the Warning of a stale answer.
func reason(err error) string {
	var u *conan.UnavailableError
	if errors.As(err, &u) {
		return u.Reason
	}
	return "it failed"
}

// offline is the error of a question that the mode forbids to ask.
func (c *Cache) offline() error {
	return &conan.UnavailableError{Member: c.o.Name, Permanent: true,
		Reason: "it is offline by configuration, and this was never fetched"}
}
