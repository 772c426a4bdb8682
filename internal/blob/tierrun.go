package blob

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// Run bounds the tier, removes objects that no row wants, and compares the bucket with the rows
// once a week, until ctx ends.
func (t *Tiered) Run(ctx context.Context) {
	const every = time.Minute
	timer := time.NewTicker(every)
	defer timer.Stop()
	t.logFailure(ctx, "the disk tier could not be measured", t.measure(ctx))
	for ctx.Err() == nil {
		t.logFailure(ctx, "the disk tier could not be trimmed", t.trimIfFull(ctx))
		t.logFailure(ctx, "objects could not be removed from the bucket", t.RemoveDead(ctx))
		t.logFailure(ctx, "the bucket could not be listed", t.cleanIfDue(ctx))
		select {
		case <-timer.C:
		case <-t.kick:
		case <-ctx.Done():
		}
	}
}

func (t *Tiered) logFailure(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		t.log.Warn(what, zap.Error(err))
	}
}

func (t *Tiered) kickRun() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// grew counts what a writer stored in the tier.
func (t *Tiered) grew(w *diskWriter) {
	if w.kept && t.used.Add(w.size) > t.max.Load() {
		t.kickRun()
	}
}

// measure counts the bytes that an earlier process left in the tier, once.
func (t *Tiered) measure(ctx context.Context) error {
	t.measuring.Lock()
	defer t.measuring.Unlock()
	if t.measured {
		return nil
	}
	var sum int64
	if err := t.disk.Walk(ctx, func(_ Digest, size int64) error { sum += size; return nil }); err != nil {
		return err
	}
	t.measured = true
	t.metrics.stored.Set(float64(t.used.Add(sum)))
	return nil
}
