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
)

// The kinds of documents in the index.
const (
	kindRevisions = "revisions" // of a recipe or package id, newest first
	kindFiles     = "files"     // of a pinned revision
	kindPackages  = "packages"  // of a recipe revision
	kindSearch    = "search"    // references that match a pattern
	kindBytes     = "bytes"     // that a file which may change still has the bytes held here
)

// askFor bounds a question that nobody may be waiting for any more. Some upstreams search for minutes.
const askFor = 5 * time.Minute

// patience is how long a slow upstream keeps a client waiting who could have a stale answer.
const patience = 10 * time.Second

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
	return fmt.Errorf("%s of %s in %s: %w", q.kind, q.about, c.o.Member, conan.ErrNotFound)
}

// ask answers a question: from memory or index while that is fresh, else from upstream, by one flight for all who
// ask the same; if upstream fails, with what it said earlier.
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
	got, err := fly(ctx, c, q, canWait)
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
			return value, conan.Origin{Member: c.o.Member, State: conan.StateStale, Reason: reason(err)}, insteadErr
		}
	}
	return none, conan.Origin{}, err
}

// fly joins or starts the flight of a question. It returns when that lands, when the caller's context ends, or,
// unless canWait, when upstream was slow; the flight goes on by itself. Who started it need not wait for the index.
func fly[T any](ctx context.Context, c *Cache, q question[T], canWait bool) (document[T], error) {
	answered := make(chan document[T], 1)
	landed := c.asking.DoChan(q.id(), func() (any, error) {
		if !c.begin() {
			return nil, c.unavailable("this server is stopping")
		}
		defer c.running.Done()
		return refresh(c, q, answered)
	})
	var slow <-chan time.Time
	if !canWait {
		t := time.NewTimer(patience)
		defer t.Stop()
		slow = t.C
	}
	select {
	case doc := <-answered:
		return doc, nil
	case r := <-landed:
		if r.Err != nil {
			return document[T]{}, r.Err
		}
		return r.Val.(document[T]), nil
	case <-slow:
		return document[T]{}, c.unavailable(fmt.Sprintf("it did not answer within %v", patience))
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
	ctx, cancel := context.WithTimeout(c.ctx, askFor)
	defer cancel()

	// An earlier flight may have landed after our caller looked.
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
	switch {
	case err == nil:
		got := document[T]{Value: value, Fetched: c.o.Now().UTC()}
		c.negative.lift(q.id())
		store(context.WithoutCancel(ctx), c, q, got, func() { answered <- got })
		return got, nil
	case errors.Is(err, conan.ErrNotFound):
		c.negative.put(q.id(), c.o.Now())
		if doc != nil {
			c.drop(ctx, q.kind, q.key)
		}
		return document[T]{}, q.absent(c)
	}
	c.o.Log.Debug("upstream failed", zap.String("kind", q.kind), zap.String("key", q.key), zap.Error(err))
	return document[T]{}, c.judge(err)
}

// load returns what is remembered, or is about to be, nil if nothing is.
func load[T any](ctx context.Context, c *Cache, q question[T]) (*document[T], error) {
	k := c.hot.key(q.kind, q.key)
	if v, ok := c.hot.get(k); ok {
		return v.(*document[T]), nil
	}
	if v, ok := c.landing.Load(q.id()); ok {
		return v.(*document[T]), nil
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
	c.hot.put(k, doc, len(row.Body))
	return doc, nil
}

// store remembers a document, and calls known before the index has it, when everybody who asks here gets it already. If the
// index does not take it, the answer is still good for those who asked.
func store[T any](ctx context.Context, c *Cache, q question[T], doc document[T], known func()) {
	id := q.id()
	turn := &c.storing[maphash.String(c.hot.seed, id)%uint64(len(c.storing))]
	turn.Lock()
	defer turn.Unlock()
	body, err := json.Marshal(doc.Value)
	c.landing.Store(id, &doc) // before the key, which load takes before it looks here
	defer c.landing.Delete(id)
	c.hot.forget(q.key)
	c.hot.put(c.hot.key(q.kind, q.key), &doc, len(body))
	known()
	if err == nil {
		err = c.o.Index.PutDocument(ctx, c.o.Member, q.kind, q.key, index.Document{Body: body, Fetched: doc.Fetched})
	}
	if err != nil {
		c.o.Log.Error("an answer could not be remembered", zap.String("kind", q.kind), zap.String("key", q.key), zap.Error(err))
	}
}

// drop forgets a document.
func (c *Cache) drop(ctx context.Context, kind, key string) {
	if err := c.o.Index.DeleteDocuments(ctx, c.o.Member, kind, key); err != nil {
		c.o.Log.Error("an answer could not be forgotten", zap.String("kind", kind), zap.String("key", key), zap.Error(err))
		return
	}
	c.hot.forget(key)
}

// absence is the origin of a "not found" that upstream said at that time.
func (c *Cache) absence(said time.Time, asked bool) conan.Origin {
	o := conan.Origin{Member: c.o.Member, State: conan.StateHit, Age: c.age(said), Expires: said.Add(c.o.NotFoundFor)}
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
