package space

import (
	"context"
	"errors"
	"slices"
	"sort"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/index"
)

// evict removes the coldest revisions that are not in use, whole, until about as many bytes are free as need tells, or
// a batch is gone. It returns false if there is nothing to evict.
func (b *Budget) evict(ctx context.Context, need func(usage) int64) (some bool, err error) {
	err = b.alone(ctx, func(ctx context.Context) error {
		// Another eviction may have made room while this one waited.
		u, err := b.usage(ctx)
		if err != nil {
			return err
		}
		left := need(u)
		if some = left <= 0; some {
			return nil
		}
		if err := b.flush(ctx); err != nil {
			return err
		}
		cold, err := b.evictable(ctx, 64)
		if err != nil {
			return err
		}
		if cold, err = b.enough(ctx, cold, left); err != nil {
			return err
		}
		some = len(cold) > 0
		cold, free := b.users.bar(cold)
		defer free()
		if err := b.remove(ctx, rowIDs(cold)); err != nil {
			return err
		}
		b.count(cold)
		return nil
	})
	return some, err
}

// Evict removes the coldest revisions that are not in use until about so many bytes are free, or a batch is gone. It
// returns false if there is nothing to evict.
func (b *Budget) Evict(ctx context.Context, bytes int64) (some bool, err error) {
	return b.evict(ctx, func(usage) int64 { return bytes })
}

// Remove deletes rows of cached revisions and the blobs that no row names any more.
func (b *Budget) Remove(ctx context.Context, ids []int64) error {
	return b.alone(ctx, func(ctx context.Context) error { return b.remove(ctx, ids) })
}

// remove is called alone, and goes on when ctx ends: orphaned files count for nothing.
func (b *Budget) remove(ctx context.Context, ids []int64) error {
	ctx = context.WithoutCancel(ctx)
	bytes, err := b.o.Index.Frees(ctx, ids)
	if err != nil {
		return err
	}
	b.leave(bytes)
	defer b.leave(-bytes)
	if err := b.o.Index.RemoveRevisions(ctx, ids); err != nil {
		return err
	}
	return b.deleteGarbage(ctx)
}

// leave adds to the bytes that no row names and that may be on the disk still.
func (b *Budget) leave(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leaving += bytes
}

// alone runs f while no other call removes revisions or deletes blobs.
func (b *Budget) alone(ctx context.Context, f func(context.Context) error) error {
	select {
	case b.evicting <- struct{}{}:
		defer func() { <-b.evicting }()
		return f(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *Budget) count(cold []index.Cold) {
	for _, r := range cold {
		b.o.Metrics.evictedRevisions.WithLabelValues(r.Member.Name).Inc()
		b.o.Metrics.evictedBytes.Add(float64(r.Frees))
		b.o.Log.Debug("evicted", zap.String("member", r.Member.Name), zap.Stringer("revision", r.Revision), zap.Time("used", r.Used))
	}
}

// DeleteGarbage deletes the blobs that no row names any more.
func (b *Budget) DeleteGarbage(ctx context.Context) {
	b.log("garbage could not be deleted", b.alone(ctx, b.deleteGarbage))
}

func (b *Budget) deleteGarbage(ctx context.Context) error {
	for {
		garbage, err := b.o.Index.Garbage(ctx, batch)
		if err != nil || len(garbage) == 0 {
			return err
		}
		for _, d := range garbage {
			freed, err := b.o.Blobs.Delete(ctx, blob.Digest(d), func() (bool, error) { return b.o.Index.ForgetBlob(ctx, d) })
			if err != nil {
				return err
			}
			b.o.Metrics.deletedBytes.Add(float64(freed))
		}
	}
}

// evictable lists up to limit cached revisions that are not in use, the longest unused first.
func (b *Budget) evictable(ctx context.Context, limit int) ([]index.Cold, error) {
	inUse := b.users.all()
	cold, err := b.o.Index.Coldest(ctx, limit+len(inUse))
	cold = slices.DeleteFunc(cold, func(r index.Cold) bool { return inUse[usedRevision{r.Member.ID, r.Revision}] })
	return cold[:min(limit, len(cold))], err
}

// enough is the shortest beginning of cold that frees so many bytes, or all of it. What several revisions share is free
// when the last of them goes.
func (b *Budget) enough(ctx context.Context, cold []index.Cold, bytes int64) ([]index.Cold, error) {
	if len(cold) > 0 && cold[0].Frees >= bytes {
		return cold[:1], nil
	}
	var failed error
	ids := rowIDs(cold)
	n := sort.Search(len(cold), func(i int) bool {
		frees, err := b.o.Index.Frees(ctx, ids[:i+1])
		failed = errors.Join(failed, err)
		return err != nil || frees >= bytes
	})
	return cold[:min(n+1, len(cold))], failed
}

func rowIDs(cold []index.Cold) []int64 {
	ids := make([]int64, len(cold))
	for i, c := range cold {
		ids[i] = c.RowID
	}
	return ids
}
