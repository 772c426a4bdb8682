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

// recalled is what is remembered of a question.
type recalled[T any] struct {
	doc     *document[T] // nil if there is none
	current bool         // doc need not be asked again
	refused bool         // a short time ago, as refusal tells
	refusal refusal
}

// recall looks up what is remembered of a question. What upstream does not have needs no document.
func recall[T any](ctx context.Context, c *Cache, q question[T]) (recalled[T], error) {
	var known recalled[T]
	known.refusal, known.refused = c.refusedLately(q.id())
	if known.isAbsent() {
		return known, nil
	}
	doc, err := load(ctx, c, q)
	if err != nil {
		return known, err
	}
	known.doc, known.current = doc, isCurrent(c, q, doc)
	return known, nil
}

// isAbsent tells whether upstream said a short time ago that there is no answer.
func (k recalled[T]) isAbsent() bool {
	return k.refused && errors.Is(k.refusal.err, conan.ErrNotFound)
}

// ask answers a question: from memory or index while that is fresh, else from upstream, by one
// question for all callers that ask the same; if upstream fails, with what it said earlier.
func ask[T any](ctx context.Context, c *Cache, q question[T]) (T, conan.Origin, error) {
	var none T
	known, err := recall(ctx, c, q)
	switch {
	case err != nil:
		return none, conan.Origin{}, err
	case known.isAbsent():
		return none, c.absence(known.refusal.said, false), known.refusal.err
	case known.current:
		return known.doc.Value, c.fresh(known.doc.Fetched, false), nil
	}
	got, err := askUnlessKnown(ctx, c, q, known)
	switch {
	case err == nil:
		return got.Value, c.fresh(got.Fetched, true), nil
	case errors.Is(err, conan.ErrNotFound):
		return none, c.absence(c.o.Now(), true), err
	case ctx.Err() != nil:
		return none, conan.Origin{}, err
	}
	return fallBack(ctx, c, q, known.doc, err)
}

// askUnlessKnown asks upstream, unless the mode forbids it or upstream refused a short time ago. A
// caller that could have a stale answer waits less long.
func askUnlessKnown[T any](ctx context.Context, c *Cache, q question[T], known recalled[T]) (document[T], error) {
	switch {
	case c.o.Mode == Offline:
		return document[T]{}, c.offline()
	case known.refused:
		return document[T]{}, known.refusal.err
	case known.doc != nil && c.isUsable(known.doc.Fetched):
		return askUpstream(ctx, c, q, c.pace.timeout(q.kind))
	}
	return askUpstream(ctx, c, q, askTimeout)
}

// askUpstream waits for the question to upstream, which it starts unless another caller has. It
// returns with the answer, when the caller's context ends, or after the timeout; the question goes
// on by itself. Its first caller need not wait for the index.
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
	known, err := recall(ctx, c, q)
	switch {
	case err != nil:
		return document[T]{}, err
	case known.refused:
		return document[T]{}, known.refusal.err
	case known.current:
		return *known.doc, nil
	}

	// What was asked under settings that are replaced meanwhile is not remembered under the new
	// ones, and nothing that a purge came after.
	settings := c.o.Index.Changes().Settings()
	got, err := fetch(ctx, c, q, known.doc)
	ctx = context.WithoutCancel(ctx)
	c.remembering.RLock()
	defer c.remembering.RUnlock()
	switch {
	case !settings.Valid() || c.purges.Load() != purges:
	case err == nil:
		c.given(q.id())
		store(ctx, c, q, got, func() { answered <- got })
	case isLasting(err):
		c.refuse(q.id(), err)
		if known.doc != nil && errors.Is(err, conan.ErrNotFound) {
			c.dropOne(ctx, q.kind, q.key)
		}
	}
	return got, err
}

// fetch asks upstream. earlier is the answer that the new one replaces, nil if there is none.
func fetch[T any](ctx context.Context, c *Cache, q question[T], earlier *document[T]) (document[T], error) {
	begun := c.o.Now()
	value, err := q.fetch(ctx)
	now := c.o.Now().UTC()
	if err != nil {
		err = q.failure(c, err)
	}
	if err == nil || isLasting(err) {
		c.pace.answered(q.kind, now.Sub(begun))
	}
	if err == nil && q.dated != nil {
		value = q.dated(ctx, value, earlier, c.saidAbsent(q.id()), now)
	}
	return document[T]{Value: value, Fetched: now}, err
}

// failure is the error of a fetch as a reader may see it.
func (q question[T]) failure(c *Cache, err error) error {
	if errors.Is(err, conan.ErrNotFound) {
		return q.absent(c)
	}
	c.o.Log.Debug("upstream failed", zap.String("kind", q.kind), zap.String("key", q.key), zap.Error(err))
	return c.classify(err)
}

// fallBack answers after upstream failed with err.
func fallBack[T any](ctx context.Context, c *Cache, q question[T], doc *document[T], err error) (T, conan.Origin, error) {
	var none T
	if doc != nil && c.isUsable(doc.Fetched) {
		return doc.Value, c.stale(doc.Fetched, reason(err)), nil
	}
	if r, ok := c.usableAbsence(q.id()); ok {
		return none, c.stale(r.said, reason(err)), r.err
	}
	if q.instead != nil {
		if value, insteadErr, ok := q.instead(ctx); ok {
			return value, conan.Origin{Member: c.o.Name, State: conan.StateStale, Reason: reason(err)}, insteadErr
		}
	}
	return none, conan.Origin{}, err
}
