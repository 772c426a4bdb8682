package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	maxAttempts       = 3
	firstPause        = 300 * time.Millisecond // doubled by each attempt
	longestRetryAfter = 5 * time.Second        // a longer Retry-After is not waited for inside a question
)

// pauses are those between attempts: firstPause, doubled each time, of which a random half is left
// out.
func pauses() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     firstPause * 3 / 4,
		RandomizationFactor: 1. / 3,
		Multiplier:          2,
		MaxInterval:         time.Minute,
	}
}

// try makes attempts until there is an answer, a failure that another attempt does not cure, or
// maxAttempts. It is the only place that asks again, and the one that the breaker watches: the
// attempts of one question count as one. attempt must be safe to repeat.
func (r *Remote) try(ctx context.Context, attempt func(context.Context) error) error {
	t := trial{ctx: ctx, r: r, attempt: attempt, pauses: pauses()}
	if t.pass, t.err = r.breaker.admit(); t.err != nil {
		r.metrics.answered(r.name, kindRefused)
		return t.err
	}
	// The error of Retry is that of the pause if the caller leaves during one; t has the attempt's.
	backoff.Retry(ctx, t.once, backoff.WithBackOff(&t), backoff.WithMaxTries(maxAttempts), backoff.WithMaxElapsedTime(0))
	if t.pass != nil {
		t.pass.done(t.err)
	}
	r.logFirst(t.err)
	return t.err
}

// trial is one question and its attempts. It is its own backoff.BackOff, so that a pause that
// upstream asked for takes the place of the usual one.
type trial struct {
	ctx     context.Context
	r       *Remote
	attempt func(context.Context) error
	pass    *ticket // nil while upstream has asked for a pause
	err     error   // of the last attempt
	pauses  *backoff.ExponentialBackOff
}

// once makes one attempt.
func (t *trial) once() (struct{}, error) {
	if t.pass == nil {
		pass, err := t.r.breaker.admit()
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		t.pass = pass
	}
	t.err = t.attempt(t.ctx)
	var f *failure
	if errors.As(t.err, &f) && f.transient && f.retryAfter <= longestRetryAfter && !t.pass.probe {
		return struct{}{}, t.err
	}
	if t.err != nil {
		return struct{}{}, backoff.Permanent(t.err)
	}
	return struct{}{}, nil
}

// NextBackOff implements backoff.BackOff. If upstream asked for a pause, no other question is sent
// meanwhile; the first that comes afterwards is the probe.
func (t *trial) NextBackOff() time.Duration {
	var f *failure
	if !errors.As(t.err, &f) || f.retryAfter == 0 {
		return t.pauses.NextBackOff()
	}
	if f.kind == kindThrottled {
		t.pass.done(t.err)
		t.pass = nil
	}
	return f.retryAfter
}

// Reset implements backoff.BackOff.
func (t *trial) Reset() { t.pauses.Reset() }

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
