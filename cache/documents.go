package cache

import (
	"context"
	"encoding/json"
	"errors"
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
	kindBytes     = "bytes"     // that a file which may change still has the bytes that are stored
)

// kinds are all of them.
var kinds = []string{kindRevisions, kindFiles, kindPackages, kindSearch, kindBytes}

// document is a remembered answer.
type document[T any] struct {
	Value   T
	Fetched time.Time
}

// memoryKey names a document in memory. A document is replaced by the next answer to its question,
// and depends on nothing else that changes.
func (q question[T]) memoryKey(c *Cache) memory.Key {
	return memory.Key{Member: c.o.Name, Kind: q.kind, Text: q.key}
}

// isCurrent tells whether a document need not be asked again: it is fresh, and upstream has not
// contradicted it since.
func isCurrent[T any](c *Cache, q question[T], doc *document[T]) bool {
	if doc == nil || !c.isFresh(doc.Fetched) {
		return false
	}
	_, contradicted := c.refusals.Get(contradictedID(q.id()))
	return !contradicted
}

// load returns the remembered answer to a question, nil if there is none.
func load[T any](ctx context.Context, c *Cache, q question[T]) (*document[T], error) {
	if doc, ok := memory.Get[*document[T]](c.o.Memory, q.memoryKey(c)); ok {
		return doc, nil
	}
	c.remembering.RLock()
	defer c.remembering.RUnlock()
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

// store remembers a document, and calls known before the index has it, when later questions get it
// already. If the index does not take it, memory still has it.
func store[T any](ctx context.Context, c *Cache, q question[T], doc document[T], known func()) {
	body, err := json.Marshal(doc.Value)
	c.o.Memory.Put(q.memoryKey(c), &doc, decoded*len(body), memory.Stamp{})
	known()
	if err == nil {
		err = c.o.Index.PutDocument(ctx, c.o.Member, q.kind, q.key, index.Document{Body: body, Fetched: doc.Fetched})
	}
	if err != nil {
		c.o.Log.Error("an answer could not be stored", zap.String("kind", q.kind), zap.String("key", q.key), zap.Error(err))
		return
	}
	if q.stored != nil {
		q.stored(ctx)
	}
}

// dropOne removes a document that upstream took back.
func (c *Cache) dropOne(ctx context.Context, kind, key string) {
	if err := c.drop(ctx, kind, key); err != nil {
		c.o.Log.Error("an answer could not be dropped", zap.String("kind", kind), zap.String("key", key), zap.Error(err))
	}
}

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
