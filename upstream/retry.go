package upstream

import (
	"context"
	"errors"
	"time"
)

const (
	maxAttempts   = 3
	firstPause    = 300 * time.Millisecond // doubled by each attempt, then taken at random between half and all of it
	patientEnough = 5 * time.Second        // the longest Retry-After that is waited for inside a question
)

// try asks until there is an answer, a failure that asking again does not cure, or too many
// attempts. It is the only place that asks again, and the one that the breaker watches:
// attempts of one question count as one. attempt must be safe to repeat.
func (r *Remote) try(ctx context.Context, attempt func(context.Context) error) error {
	pass, refused := r.breaker.enter()
	if refused != nil {
		r.metrics.answered(r.name, kindRefused)
		return refused
	}
	for n := 1; ; n++ {
		err := attempt(ctx)
		if pass = r.next(ctx, pass, n, err); pass == nil {
			return err
		}
	}
}

// next pauses after attempt n and returns the ticket for another one, or nil if there is to be none.
func (r *Remote) next(ctx context.Context, pass *ticket, n int, err error) *ticket {
	wait, again := r.pause(err, n)
	if !again || pass.probe {
		pass.done(err)
		return nil
	}
	if !isThrottled(err) {
		if sleep(ctx, wait) != nil {
			pass.done(err)
			return nil
		}
		return pass
	}
	pass.done(err) // everybody stops asking; who comes back first is the probe
	if sleep(ctx, wait) != nil {
		return nil
	}
	pass, _ = r.breaker.enter()
	return pass
}

// pause tells whether the question is worth asking again after attempt n, and after which pause.
func (r *Remote) pause(err error, n int) (wait time.Duration, again bool) {
	var f *failure
	if !errors.As(err, &f) || !f.transient || n >= maxAttempts {
		return 0, false
	}
	if f.retryAfter > 0 {
		return f.retryAfter, f.retryAfter <= patientEnough
	}
	return r.jitter(firstPause << (n - 1)), true
}

// jitter spreads a pause over its upper half.
func (r *Remote) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(r.rand()*float64(d/2))
}

func isThrottled(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.kind == kindThrottled && f.retryAfter > 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
