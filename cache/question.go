package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// askTimeout bounds a question whose clients may all have left. Some upstreams search for minutes.
const askTimeout = 5 * time.Minute

// question is something that upstream may answer differently at another time.
type question[T any] struct {
	kind, key string
	about     fmt.Stringer // for errors

	// fetch asks upstream.
	fetch func(ctx context.Context) (T, error)
	// instead answers from what the cache has stored, if upstream failed and nothing is remembered;
	// ok is false if that cannot tell either. nil: never.
	instead func(ctx context.Context) (value T, err error, ok bool)
	// dated adds to a new answer what is known of when its parts appeared: earlier is the answer
	// that it replaces, nil if there is none, and absent when upstream said "not found" instead,
	// zero if it did not. nil: nothing is added.
	dated func(ctx context.Context, value T, earlier *document[T], absent, now time.Time) T
	// stored is called when the index has taken an answer. nil: nothing is done.
	stored func(ctx context.Context)
}

func (q question[T]) id() string { return q.kind + "\x00" + q.key }

func (q question[T]) absent(c *Cache) error {
	return fmt.Errorf("%s of %s in %s: %w", q.kind, q.about, c.o.Name, conan.ErrNotFound)
}

// ask answers a question: from memory or index while that is fresh, else from upstream, by one
// question for all callers that ask the same; if upstream fails, with what it said earlier.
func ask[T any](ctx context.Context, c *Cache, q question[T]) (T, conan.Origin, error) {
	var none T
	r, refused := c.refusedLately(q.id())
	if refused && errors.Is(r.err, conan.ErrNotFound) {
		return none, c.absence(r.said, false), r.err
	}
	doc, err := load(ctx, c, q)
	switch {
	case err != nil:
		return none, conan.Origin{}, err
	case isCurrent(c, q, doc):
		return doc.Value, c.fresh(doc.Fetched, false), nil
	case c.o.Mode == Offline:
		return fallBack(ctx, c, q, doc, c.offline())
	case refused:
		return fallBack(ctx, c, q, doc, r.err)
	}
	timeout := askTimeout
	if doc != nil && c.isUsable(doc.Fetched) {
		timeout = c.pace.timeout(q.kind)
	}
	got, err := askUpstream(ctx, c, q, timeout)
	switch {
	case err == nil:
		return got.Value, c.fresh(got.Fetched, true), nil
	case errors.Is(err, conan.ErrNotFound):
		return none, c.absence(c.o.Now(), true), err
	case ctx.Err() != nil:
		return none, conan.Origin{}, err
	}
	return fallBack(ctx, c, q, doc, err)
}

// fallBack answers after upstream failed with err.
func fallBack[T any](ctx context.Context, c *Cache, q question[T], doc *document[T], err error) (T, conan.Origin, error) {
	var none T
	if doc != nil && c.isUsable(doc.Fetched) {
		return doc.Value, c.stale(doc.Fetched, reason(err)), nil
	}
	if r, ok := c.refusals.Get(q.id()); ok && c.isUsableAbsence(r) {
		return none, c.stale(r.said, reason(err)), r.err
	}
	if q.instead != nil {
		if value, insteadErr, ok := q.instead(ctx); ok {
			return value, conan.Origin{Member: c.o.Name, State: conan.StateStale, Reason: reason(err)}, insteadErr
		}
	}
	return none, conan.Origin{}, err
}

// askUpstream joins or starts the question to upstream. It returns with the answer, when the
// caller's context ends, or after the timeout; the question goes on by itself. Its first caller
// need not wait for the index.
func askUpstream[T any](ctx context.Context, c *Cache, q question[T], timeout time.Duration) (document[T], error) {
	answered := make(chan document[T], 1)
	purges := c.purges.Load() // what was asked before a purge answers no later question
	done := c.asking.DoChan(fmt.Sprint(purges, " ", q.id()), func() (any, error) {
		if !c.begin() {
			return nil, c.unavailable("this server is stopping")
		}
		defer c.running.Done()
		return refresh(c, q, purges, answered)
	})
	slow := time.NewTimer(timeout)
	defer slow.Stop()
	select {
	case doc := <-answered:
		return doc, nil
	case r := <-done:
		if r.Err != nil {
			return document[T]{}, r.Err
		}
		return r.Val.(document[T]), nil
	case <-slow.C:
		c.pace.missed()
		return document[T]{}, c.unavailable("it did not answer in time")
	case <-ctx.Done():
		return document[T]{}, context.Cause(ctx)
	}
}

// refresh asks upstream and remembers what it says, which it gives to answered as soon as later
// questions get it too. It runs once at a time per question.
func refresh[T any](c *Cache, q question[T], purges uint64, answered chan<- document[T]) (_ document[T], err error) {
	defer c.recovered("a question", &err)
	ctx, cancel := context.WithTimeout(c.ctx, askTimeout)
	defer cancel()

	// An earlier question may have been answered after our caller looked.
	if r, ok := c.refusedLately(q.id()); ok {
		return document[T]{}, r.err
	}
	doc, err := load(ctx, c, q)
	if err != nil {
		return document[T]{}, err
	}
	if isCurrent(c, q, doc) {
		return *doc, nil
	}

	// What was asked under settings that are replaced meanwhile is not remembered under the new
	// ones, and nothing that a purge came after.
	settings := c.o.Index.Changes().Settings()
	begun := c.o.Now()
	value, err := q.fetch(ctx)
	now := c.o.Now().UTC()
	if err != nil {
		err = q.failure(c, err)
	}
	lasting := isLasting(err)
	if err == nil || lasting {
		c.pace.answered(q.kind, now.Sub(begun))
	}
	if err == nil && q.dated != nil {
		value = q.dated(ctx, value, doc, c.saidAbsent(q.id()), now)
	}
	got := document[T]{Value: value, Fetched: now}
	c.remembering.RLock()
	defer c.remembering.RUnlock()
	switch {
	case !settings.Valid() || c.purges.Load() != purges:
	case err == nil:
		c.refusals.Remove(q.id())
		c.refusals.Remove(contradictedID(q.id()))
		store(context.WithoutCancel(ctx), c, q, got, func() { answered <- got })
	case lasting:
		r := c.refused(err)
		if c.o.Mode == Frozen && errors.Is(err, conan.ErrNotFound) {
			r.until = conan.Forever
		}
		c.refusals.Add(q.id(), r)
		if doc != nil && errors.Is(err, conan.ErrNotFound) {
			c.dropOne(context.WithoutCancel(ctx), q.kind, q.key)
		}
	}
	return got, err
}

// failure is the error of a fetch as a reader may see it.
func (q question[T]) failure(c *Cache, err error) error {
	if errors.Is(err, conan.ErrNotFound) {
		return q.absent(c)
	}
	c.o.Log.Debug("upstream failed", zap.String("kind", q.kind), zap.String("key", q.key), zap.Error(err))
	return c.classify(err)
}
