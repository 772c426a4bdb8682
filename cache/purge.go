package cache

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/memory"
)

// PurgeOptions say what Purge forgets.
type PurgeOptions struct {
	Matches func(conan.Ref) bool // about which references; nil: everything
	Pinned  bool                 // revisions with pins too, and the pins
	Dry     bool                 // only tells what would be forgotten
	By      conan.Actor
	Target  string // what Matches means, for the audit
}

// Purged counts what Purge forgot.
type Purged struct {
	Revisions int   // that something was stored of
	Bytes     int64 // of their files, as far as nothing else names them
	Answers   int   // of the upstream, refusals and "not found" among them
	Kept      int   // revisions that stayed because of their pins
}

// Purge forgets what the upstream said and sent: answers, searches, refusals and stored files. What
// is asked for after it began is asked anew. Readers of stored files and of downloads under way get
// all of them. Searches are forgotten in every case.
func (c *Cache) Purge(ctx context.Context, o PurgeOptions) (Purged, error) {
	if o.Matches == nil {
		o.Matches = func(conan.Ref) bool { return true }
	}
	if !o.Dry {
		c.purges.Add(1)
		c.purgeFills(o.Matches)
		c.awaitRemembered()
	}
	p, err := c.find(ctx, o)
	if err != nil || o.Dry {
		return p.Purged, err
	}
	audit := index.Audit{By: o.By, Action: index.ActionPurge, Member: c.o.Name, Target: o.Target}
	if err := c.o.Index.WriteAudit(ctx, audit, c.o.Now()); err != nil {
		return Purged{}, err
	}
	if err := c.forget(context.WithoutCancel(ctx), &p, o.Pinned); err != nil {
		return Purged{}, err
	}
	c.awaitRemembered() // what was read before it was deleted is in memory now
	c.o.Memory.RemoveAll(func(k memory.Key) bool { return k.Kind == kindSearch || o.Matches(refOf(k)) })
	c.o.Index.Changes().ChangedSettings()
	c.o.Log.Info("purged", zap.String("reference", o.Target), zap.String("user", o.By.Name), zap.Int("revisions", p.Revisions), zap.Int("answers", p.Answers))
	return p.Purged, nil
}

// purgeFills has the downloads under way not stored. The next client starts anew.
func (c *Cache) purgeFills(matches func(conan.Ref) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, f := range c.fills {
		if !matches(key.rev.Ref) {
			continue
		}
		delete(c.fills, key)
		f.mu.Lock()
		f.purged = true
		f.mu.Unlock()
	}
}

// awaitRemembered waits until what is being remembered is.
func (c *Cache) awaitRemembered() {
	c.remembering.Lock()
	defer c.remembering.Unlock()
}

// found is what a purge is about.
type found struct {
	Purged
	rows     []int64
	keys     map[string][]string
	refusals []string
}

func (c *Cache) find(ctx context.Context, o PurgeOptions) (f found, err error) {
	if err := c.findRows(ctx, o, &f); err != nil {
		return f, err
	}
	f.keys = make(map[string][]string)
	for _, kind := range kinds {
		if f.keys[kind], err = c.findDocuments(ctx, kind, o.Matches); err != nil {
			return f, err
		}
		f.Answers += len(f.keys[kind])
	}
	for _, id := range c.refusals.Keys() {
		if !isAbout(id, o.Matches) {
			continue
		}
		f.refusals = append(f.refusals, id)
		if r, ok := c.refusals.Peek(id); ok && r.err != nil {
			f.Answers++
		}
	}
	return f, nil
}

func (c *Cache) findRows(ctx context.Context, o PurgeOptions, f *found) error {
	refs, err := c.o.Index.Refs(ctx, c.o.Member)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !o.Matches(ref) {
			continue
		}
		rows, err := c.o.Index.RevisionsOf(ctx, c.o.Member, ref)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.Pinned && !o.Pinned {
				f.Kept++
				continue
			}
			f.rows = append(f.rows, row.RowID)
		}
	}
	f.Revisions = len(f.rows)
	f.Bytes, err = c.o.Index.Frees(ctx, f.rows)
	return err
}

// findDocuments lists the keys of all remembered answers of a kind that are about the references.
func (c *Cache) findDocuments(ctx context.Context, kind string, matches func(conan.Ref) bool) (keys []string, err error) {
	after := ""
	for {
		all, err := c.o.Index.OldDocuments(ctx, c.o.Member, kind, time.UnixMicro(math.MaxInt64), after, batch)
		if err != nil || len(all) == 0 {
			return keys, err
		}
		after = all[len(all)-1]
		for _, key := range all {
			if kind == kindSearch || matches(refOfKey(key)) {
				keys = append(keys, key)
			}
		}
	}
}

// forget deletes what was found, and counts it anew: a revision may have got a pin since.
func (c *Cache) forget(ctx context.Context, f *found, pinned bool) error {
	var errs []error
	f.Bytes = 0
	for _, ids := range inBatches(f.rows) {
		kept, freed, err := c.o.Budget.Purge(ctx, ids, pinned)
		f.Revisions, f.Kept, f.Bytes = f.Revisions-kept, f.Kept+kept, f.Bytes+freed
		errs = append(errs, err)
	}
	for kind, keys := range f.keys {
		for _, some := range inBatches(keys) {
			errs = append(errs, c.drop(ctx, kind, some...))
		}
	}
	for _, id := range f.refusals {
		c.refusals.Remove(id)
	}
	return errors.Join(errs...)
}

func inBatches[T any](all []T) (batches [][]T) {
	for len(all) > 0 {
		n := min(batch, len(all))
		batches, all = append(batches, all[:n]), all[n:]
	}
	return batches
}

// isAbout tells whether a refusal is about one of the references. That nothing matches a search is
// about all.
func isAbout(id string, matches func(conan.Ref) bool) bool {
	kind, key, _ := strings.Cut(strings.TrimPrefix(id, contradictedID("")), "\x00")
	return kind == kindSearch || matches(refOfKey(key))
}

// refOf is the reference that a remembered answer is about; zero: none.
func refOf(k memory.Key) conan.Ref {
	if !k.Rev.Ref.IsZero() {
		return k.Rev.Ref
	}
	return refOfKey(k.Text)
}

// refOfKey is the reference at the beginning of a document's key; zero if there is none.
func refOfKey(key string) conan.Ref {
	text, _, _ := strings.Cut(key, "#")
	ref, _ := conan.ParseRef(text)
	return ref
}
