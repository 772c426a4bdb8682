package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/memory"
)

// The kinds of documents in the index.
const (
	kindRevisions = "revisions" // of a recipe or package id, newest first
	kindFiles     = "files"     // of a pinned revision
	kindPackages  = "packages"  // of a recipe revision
	kindSearch    = "search"    // references that match a pattern
	kindBytes     = "bytes"     // that a file which may change still has the bytes held here
)

const (
	// askTimeout bounds a question whose clients may all have left. Some upstreams search for minutes.
	askTimeout = 5 * time.Minute
	// staleAfter is how long a client waits for upstream if there is a stale answer for it, and staleAfterDegraded
	// how long if upstream did not answer the last question in that time.
	staleAfter         = 10 * time.Second
	staleAfterDegraded = 100 * time.Millisecond
)

// question is something that upstream may answer differently at another time.
type question[T any] struct {
	kind, key string
	about     fmt.Stringer // for errors

	// fetch asks upstream. old is what it said before, nil if nothing is remembered.
	fetch func(ctx context.Context, old *T) (T, error)
	// instead answers if upstream failed and nothing is remembered: from what the cache holds; ok is false if it cannot
	// tell either. nil: never.
	instead func(ctx context.Context) (value T, err error, ok bool)
}

// document is a remembered answer.
type document[T any] struct {
	Value   T
	Fetched time.Time
}

func (q question[T]) id() string { return q.kind + "\x00" + q.key }

func (q question[T]) absent(c *Cache) error {
	return fmt.Errorf("%s of %s in %s: %w", q.kind, q.about, c.o.Name, conan.ErrNotFound)
}

// ask answers a question: from memory or index while that is fresh, else from upstream, by one question for all callers
// that ask the same; if upstream fails, with what it said earlier.
func ask[T any](ctx context.Context, c *Cache, q question[T]) (T, conan.Origin, error) {
	var none T
	said, denied := c.negative.get(q.id())
	if denied && c.isFreshAbsence(said) {
		return none, c.absence(said, false), q.absent(c)
	}
	doc, err := load(ctx, c, q)
	if err != nil {
		return none, conan.Origin{}, err
	}
	if doc != nil && c.isFresh(doc.Fetched) {
		return doc.Value, c.fresh(doc.Fetched, false), nil
	}
	if c.o.Mode == Offline {
		return fallBack(ctx, c, q, doc, c.unavailable(offlineReason))
	}
	canWait := doc == nil || !c.isUsable(doc.Fetched)
	got, err := askUpstream(ctx, c, q, canWait)
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
	if said, ok := c.negative.get(q.id()); ok && c.isUsableAbsence(said) {
		return none, c.stale(said, reason(err)), q.absent(c)
	}
	if q.instead != nil {
		if value, insteadErr, ok := q.instead(ctx); ok {
			return value, conan.Origin{Member: c.o.Name, State: conan.StateStale, Reason: reason(err)}, insteadErr
		}
	}
	return none, conan.Origin{}, err
}

// askUpstream joins or starts the question to upstream. It returns with the answer, when the caller's context ends, or,
// unless canWait, when upstream was slow; the question goes on by itself. Its first caller need not wait for the index.
func askUpstream[T any](ctx context.Context, c *Cache, q question[T], canWait bool) (document[T], error) {
	answered := make(chan document[T], 1)
	done := c.asking.DoChan(q.id(), func() (any, error) {
		if !c.begin() {
			return nil, c.unavailable("this server is stopping")
		}
		defer c.running.Done()
		return refresh(c, q, answered)
	})
	var slow <-chan time.Time
	wait := staleAfter
	if c.degraded.Load() {
		wait = staleAfterDegraded
	}
	if !canWait {
		t := time.NewTimer(wait)
		defer t.Stop()
		slow = t.C
	}
	select {
	case doc := <-answered:
		return doc, nil
	case r := <-done:
		if r.Err != nil {
			return document[T]{}, r.Err
		}
		return r.Val.(document[T]), nil
	case <-slow:
		c.degraded.Store(true)
		return document[T]{}, c.unavailable(fmt.Sprintf("it did not answer within %v", wait))
	case <-ctx.Done():
		return document[T]{}, context.Cause(ctx)
	}
}

// refresh asks upstream and remembers what it says, which it gives to answered as soon as it may. It runs once at a time per question.
func refresh[T any](c *Cache, q question[T], answered chan<- document[T]) (_ document[T], err error) {
	defer func() {
		if p := recover(); p != nil {
			c.o.Log.Error("a question panicked", zap.String("kind", q.kind), zap.String("key", q.key), zap.Any("panic", p), zap.Stack("stack"))
			err = c.unavailable("an internal error")
		}
	}()
	ctx, cancel := context.WithTimeout(c.ctx, askTimeout)
	defer cancel()

	// An earlier question may have been answered after our caller looked.
	if said, ok := c.negative.get(q.id()); ok && c.isFreshAbsence(said) {
		return document[T]{}, q.absent(c)
	}
	doc, err := load(ctx, c, q)
	if err != nil {
		return document[T]{}, err
	}
	var old *T
	if doc != nil {
		if c.isFresh(doc.Fetched) {
			return *doc, nil
		}
		old = &doc.Value
	}

	value, err := q.fetch(ctx, old)
	if err == nil || errors.Is(err, conan.ErrNotFound) {
		c.degraded.Store(false)
	}
	switch {
	case err == nil:
		got := document[T]{Value: value, Fetched: c.o.Now().UTC()}
		c.negative.remove(q.id())
		store(context.WithoutCancel(ctx), c, q, got, func() { answered <- got })
		return got, nil
	case errors.Is(err, conan.ErrNotFound):
		c.negative.put(q.id(), c.o.Now())
		if doc != nil {
			if dropErr := c.drop(ctx, q.kind, q.key); dropErr != nil {
				c.o.Log.Error("an answer could not be dropped", zap.String("kind", q.kind), zap.String("key", q.key), zap.Error(dropErr))
			}
		}
		return document[T]{}, q.absent(c)
	}
	c.o.Log.Debug("upstream failed", zap.String("kind", q.kind), zap.String("key", q.key), zap.Error(err))
	return document[T]{}, c.classify(err)
}

// memoryKey names a document in memory. A document is replaced by the next answer to its question, and depends on nothing
// else that changes.
func (q question[T]) memoryKey(c *Cache) memory.Key {
	return memory.Key{Member: c.o.Name, Kind: q.kind, Text: q.key}
}

// load returns the remembered answer to a question, nil if there is none.
func load[T any](ctx context.Context, c *Cache, q question[T]) (*document[T], error) {
	if doc, ok := memory.Get[*document[T]](c.o.Memory, q.memoryKey(c)); ok {
		return doc, nil
	}
	row, err := c.o.Index.Document(ctx, c.o.Member, q.kind, q.key)
	if errors.Is(err, conan.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	doc := &document[T]{Fetched: row.Fetched}
	if err := json.Unmarshal(row.Body, &doc.Value); err != nil {
		c.o.Log.Warn("a remembered answer cannot be read", zap.String("kind", q.kind), zap.String("key", q.key), zap.Error(err))
		return nil, nil
	}
	c.o.Memory.Add(q.memoryKey(c), doc, decoded*len(row.Body), memory.Stamp{})
	return doc, nil
}

// decoded is how much larger an answer is in memory than as JSON, roughly.
const decoded = 2

// store remembers a document, and calls known before the index has it, when every later question gets it already. If the
// index does not take it, the answer is still good for those who asked.
func store[T any](ctx context.Context, c *Cache, q question[T], doc document[T], known func()) {
	one := &c.storing[maphash.String(storingSeed, q.id())%uint64(len(c.storing))]
	one.Lock()
	defer one.Unlock()
	body, err := json.Marshal(doc.Value)
	c.o.Memory.Put(q.memoryKey(c), &doc, decoded*len(body), memory.Stamp{})
	known()
	if err == nil {
		err = c.o.Index.PutDocument(ctx, c.o.Member, q.kind, q.key, index.Document{Body: body, Fetched: doc.Fetched})
	}
	if err != nil {
		c.o.Log.Error("an answer could not be remembered", zap.String("kind", q.kind), zap.String("key", q.key), zap.Error(err))
	}
}

// storingSeed spreads questions over the locks; any value does.
var storingSeed = maphash.MakeSeed()

// drop removes documents of one kind by key.
func (c *Cache) drop(ctx context.Context, kind string, keys ...string) error {
	if err := c.o.Index.DeleteDocuments(ctx, c.o.Member, kind, keys...); err != nil {
		return err
	}
	for _, key := range keys {
		c.o.Memory.Remove(memory.Key{Member: c.o.Name, Kind: kind, Text: key})
	}
	return nil
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

func (c *Cache) isFreshAbsence(said time.Time) bool {
	return c.o.Mode == Frozen || c.o.Now().Before(said.Add(c.o.NotFoundFor))
}

func (c *Cache) isUsableAbsence(said time.Time) bool {
	return c.o.Mode != Normal || c.o.Now().Before(said.Add(c.o.NotFoundFor+c.o.StaleFor))
}
