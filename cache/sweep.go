package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

const (
	// The sweeper begins above highWater percent of MaxSize and evicts down to lowWater.
	highWater = 95
	lowWater  = 90

	// forgetAfter is how long documents stay after they were last of any use.
	forgetAfter = 24 * time.Hour
	// documentsEvery is how often old documents are looked for.
	documentsEvery = time.Hour
	// batch bounds how much one transaction removes.
	batch = 500
)

// Run sweeps until ctx ends: it writes the times of last use, evicts what is too much, unlinks what nothing names, and
// forgets documents that are of no use any more. It returns when the last times of use are written.
func (q *Quota) Run(ctx context.Context) {
	t := time.NewTicker(q.o.SweepEvery)
	defer t.Stop()
	var documents time.Time
	for ctx.Err() == nil {
		q.sweep(ctx)
		if now := q.o.Now(); now.Sub(documents) >= documentsEvery {
			documents = now
			q.sweepDocuments(ctx)
		}
		select {
		case <-t.C:
		case <-q.kick:
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	q.log("the times of last use could not be written", q.flush(last))
}

func (q *Quota) sweep(ctx context.Context) {
	q.log("the times of last use could not be written", q.flush(ctx))
	q.log("garbage could not be unlinked", q.alone(ctx, q.unlink))
	u, err := q.usage(ctx)
	if err != nil {
		q.log("the quota cannot be read", err)
		return
	}
	if q.o.MinFree <= u.free && (q.o.MaxSize <= 0 || u.size <= q.o.MaxSize/100*highWater) {
		return
	}
	for {
		ok, err := q.evict(ctx, q.overLow)
		if err != nil || !ok {
			q.log("eviction failed", err)
			return
		}
		if u, err = q.usage(ctx); err != nil || q.overLow(u) <= 0 {
			q.log("the quota cannot be read", err)
			return
		}
	}
}

// overLow is by how many bytes there is more than the sweeper leaves.
func (q *Quota) overLow(u usage) int64 {
	over := q.o.MinFree - u.free
	if q.o.MaxSize > 0 {
		over = max(over, u.size-q.o.MaxSize/100*lowWater)
	}
	return over
}

func (q *Quota) sweepDocuments(ctx context.Context) {
	for _, c := range q.members() {
		if err := c.sweepDocuments(ctx); err != nil && ctx.Err() == nil {
			c.o.Log.Error("old answers could not be forgotten", zap.Error(err))
		}
	}
}

func (q *Quota) log(message string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		q.o.Log.Error(message, zap.Error(err))
	}
}

// flush writes the noted times of last use to the index.
func (q *Quota) flush(ctx context.Context) error {
	q.mu.Lock()
	used := q.used
	q.used = make(map[int64]time.Time)
	q.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	err := q.o.Index.Touch(ctx, used)
	if err == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, t := range used {
		if _, again := q.used[id]; !again {
			q.used[id] = t
		}
	}
	return err
}

// evict removes the coldest revisions that are not in use, whole, until about as many bytes are free as need tells, or
// a batch is gone. It returns false if there is nothing to evict.
func (q *Quota) evict(ctx context.Context, need func(usage) int64) (some bool, err error) {
	err = q.alone(ctx, func(ctx context.Context) error {
		// Somebody else may have made room while this one waited.
		u, err := q.usage(ctx)
		if err != nil {
			return err
		}
		left := need(u)
		if some = left <= 0; some {
			return nil
		}
		if err := q.flush(ctx); err != nil {
			return err
		}
		cold, err := q.evictable(ctx, 64)
		if err != nil {
			return err
		}
		if cold, err = q.enough(ctx, cold, left); err != nil {
			return err
		}
		some = len(cold) > 0
		cold, free := q.busy.bar(cold)
		defer free()
		return q.remove(ctx, rowIDs(cold), func() { q.evicted(cold) })
	})
	return some, err
}

// remove deletes rows of caches, calls removed, and unlinks what nothing names any more. It is called alone, and goes on
// when ctx ends: bytes without rows count for nothing.
func (q *Quota) remove(ctx context.Context, ids []int64, removed func()) error {
	ctx = context.WithoutCancel(ctx)
	bytes, err := q.o.Index.Frees(ctx, ids)
	if err != nil {
		return err
	}
	q.leave(bytes)
	defer q.leave(-bytes)
	if err := q.o.Index.RemoveRevisions(ctx, ids, nil); err != nil {
		return err
	}
	removed()
	return q.unlink(ctx)
}

// leave adds to the bytes that no row names and that may be on the medium still.
func (q *Quota) leave(bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leaving += bytes
}

// alone runs f while nobody else removes revisions or unlinks blobs.
func (q *Quota) alone(ctx context.Context, f func(context.Context) error) error {
	select {
	case q.evicting <- struct{}{}:
		defer func() { <-q.evicting }()
		return f(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// evicted tells the caches and counts.
func (q *Quota) evicted(cold []index.Cold) {
	members := q.members()
	for _, r := range cold {
		if c := members[r.Member]; c != nil {
			c.forgetHeld(r.Revision)
		}
		q.o.Metrics.evictedRevisions.WithLabelValues(r.Member).Inc()
		q.o.Metrics.evictedBytes.Add(float64(r.Frees))
		q.o.Log.Debug("evicted", zap.String("member", r.Member), zap.Stringer("revision", r.Revision), zap.Time("used", r.Used))
	}
}

// unlink removes the blobs that no row names any more.
func (q *Quota) unlink(ctx context.Context) error {
	for {
		garbage, err := q.o.Index.Garbage(ctx, batch)
		if err != nil || len(garbage) == 0 {
			return err
		}
		for _, d := range garbage {
			freed, err := q.o.Blobs.Delete(ctx, blob.Digest(d), func() (bool, error) { return q.o.Index.ForgetBlob(ctx, d) })
			if err != nil {
				return err
			}
			q.o.Metrics.unlinkedBytes.Add(float64(freed))
		}
	}
}

// sweepDocuments forgets what upstream said so long ago that it is not used even if upstream fails, and searches
// beyond the newest maxSearches. The list of files of a revision stays while the cache holds something of it.
func (c *Cache) sweepDocuments(ctx context.Context) error {
	if err := c.sweepSearches(ctx); err != nil || c.o.Mode != Normal {
		return err
	}
	before := c.o.Now().Add(-c.o.FreshFor - c.o.StaleFor - forgetAfter)
	for _, kind := range []string{kindRevisions, kindFiles, kindPackages, kindSearch, kindBytes} {
		if err := c.sweepKind(ctx, kind, before); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) sweepKind(ctx context.Context, kind string, before time.Time) error {
	after := ""
	for {
		keys, err := c.o.Index.OldDocuments(ctx, c.o.Member, kind, before, after, batch)
		if err != nil || len(keys) == 0 {
			return err
		}
		after = keys[len(keys)-1]
		if kind == kindFiles {
			if keys, err = c.withoutBytes(ctx, keys); err != nil {
				return err
			}
		}
		if err := c.dropAll(ctx, kind, keys); err != nil {
			return err
		}
	}
}

func (c *Cache) sweepSearches(ctx context.Context) error {
	for {
		keys, err := c.o.Index.SurplusDocuments(ctx, c.o.Member, kindSearch, maxSearches, batch)
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := c.dropAll(ctx, kindSearch, keys); err != nil {
			return err
		}
	}
}

func (c *Cache) dropAll(ctx context.Context, kind string, keys []string) error {
	if err := c.o.Index.DeleteDocuments(ctx, c.o.Member, kind, keys...); err != nil {
		return err
	}
	for _, key := range keys {
		c.hot.forget(key)
	}
	return nil
}

// withoutBytes leaves out the keys of revisions that the cache holds something of.
func (c *Cache) withoutBytes(ctx context.Context, keys []string) ([]string, error) {
	var out []string
	for _, key := range keys {
		rev, err := parseKey(key)
		if err == nil {
			_, err = c.o.Index.Find(ctx, c.o.Member, rev)
		}
		switch {
		case err == nil:
		case errors.Is(err, conan.ErrNotFound), errors.Is(err, conan.ErrInvalid):
			out = append(out, key)
		default:
			return nil, err
		}
	}
	return out, nil
}

// parseKey is the inverse of conan.Revision.String.
func parseKey(key string) (conan.Revision, error) {
	text, ids, _ := strings.Cut(key, "#")
	ref, err := conan.ParseRef(text)
	if err != nil {
		return conan.Revision{}, fmt.Errorf("key of a document: %w", err)
	}
	rrev, pkg, _ := strings.Cut(ids, ":")
	id, prev, _ := strings.Cut(pkg, "#")
	return conan.NewRevision(ref, rrev, id, prev)
}
