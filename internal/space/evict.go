package space

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/index"
)

// evict removes the cached revisions that were unused longest and are not in use, whole, until over
// says that enough bytes are free, or a batch is gone; with whole nothing if a batch is not enough.
// It returns false if there is nothing to evict.
func (b *Budget) evict(ctx context.Context, over func(usage) int64, whole bool) (some bool, err error) {
	err = b.exclusively(ctx, func(ctx context.Context) error {
		u, err := b.usage(ctx)
		if err != nil {
			return err
		}
		lacking := over(u)
		if some = lacking <= 0; some {
			return nil // another eviction made space while this one waited
		}
		if err := b.writeTouched(ctx); err != nil {
			return err
		}
		cold, err := b.evictable(ctx, 64)
		if err != nil {
			return err
		}
		if cold, err = b.enough(ctx, cold, lacking); err != nil {
			return err
		}
		if whole {
			if frees, err := b.o.Index.Frees(ctx, rowIDs(cold)); err != nil || frees < lacking {
				return err
			}
		}
		some = len(cold) > 0
		return b.evictAll(ctx, cold)
	})
	return some, err
}

// evictAll removes revisions that are not in use.
func (b *Budget) evictAll(ctx context.Context, cold []index.Cold) error {
	cold, unblock := b.uses.block(cold)
	defer unblock()
	ids := rowIDs(cold)
	err := b.removeRows(ctx, ids, func(ctx context.Context) error { return b.o.Index.RemoveRevisions(ctx, ids) })
	if err == nil {
		b.countEvicted(cold)
	}
	return err
}

// Remove deletes cached revisions by row id, and the blobs that nothing else refers to.
func (b *Budget) Remove(ctx context.Context, ids []int64) error {
	return b.exclusively(ctx, func(ctx context.Context) error {
		return b.removeRows(ctx, ids, func(ctx context.Context) error { return b.o.Index.RemoveRevisions(ctx, ids) })
	})
}

// Purge is Remove, with pins or, unless pinned is set, without the revisions that have one. It
// returns how many of these stayed, and the bytes that went.
func (b *Budget) Purge(ctx context.Context, ids []int64, pinned bool) (kept int, freed int64, err error) {
	err = b.exclusively(ctx, func(ctx context.Context) error {
		return b.removeRows(ctx, ids, func(ctx context.Context) (err error) {
			kept, freed, err = b.o.Index.PurgeRevisions(ctx, ids, pinned)
			return err
		})
	})
	return kept, freed, err
}

// DeleteUnused deletes the blobs that no index entry refers to any more. It is an error if some
// could not be deleted; the next sweep tries them again.
func (b *Budget) DeleteUnused(ctx context.Context) error {
	return b.exclusively(ctx, b.deleteUnused)
}

// exclusively runs f while nothing else removes revisions or deletes blobs.
func (b *Budget) exclusively(ctx context.Context, f func(context.Context) error) error {
	select {
	case b.removing <- struct{}{}:
		defer func() { <-b.removing }()
		return f(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// removeRows has remove delete rows, and deletes the blobs that nothing refers to then. It goes on
// when ctx ends: the budget does not count orphaned files.
func (b *Budget) removeRows(ctx context.Context, ids []int64, remove func(context.Context) error) error {
	ctx = context.WithoutCancel(ctx)
	bytes, err := b.o.Index.Frees(ctx, ids)
	if err != nil {
		return err
	}
	b.addDeleting(bytes)
	defer b.addDeleting(-bytes)
	if err := remove(ctx); err != nil {
		return err
	}
	return b.deleteUnused(ctx)
}

func (b *Budget) addDeleting(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deleting += bytes
}

// deleteUnused goes on with the others if a blob cannot be deleted.
func (b *Budget) deleteUnused(ctx context.Context) error {
	const batch = 500
	failed := make(map[string]bool)
	var first error
	for {
		garbage, err := b.o.Index.Garbage(ctx, batch+len(failed))
		if err != nil {
			return err
		}
		garbage = slices.DeleteFunc(garbage, func(d string) bool { return failed[d] })
		if len(garbage) == 0 {
			break
		}
		for _, d := range garbage {
			if _, err := b.deleteBlob(ctx, blob.Digest(d)); err != nil {
				if ctx.Err() != nil {
					return err
				}
				failed[d] = true
				first = cmp.Or(first, err)
			}
		}
	}
	if first != nil {
		return fmt.Errorf("%d blobs are not deleted, the first of them because: %w", len(failed), first)
	}
	return nil
}

// deleteBlob deletes a blob unless a row refers to it, and returns the bytes that this freed. One
// that cannot be deleted stays garbage.
func (b *Budget) deleteBlob(ctx context.Context, d blob.Digest) (freed int64, err error) {
	freed, err = b.o.Blobs.Delete(ctx, d, func() (bool, error) { return b.o.Index.ForgetBlob(ctx, string(d)) })
	b.o.Metrics.deletedBytes.Add(float64(freed))
	if err != nil {
		err = errors.Join(err, b.o.Index.KeepGarbage(context.WithoutCancel(ctx), string(d)))
	}
	return freed, err
}

// evictable lists up to limit cached revisions that are not in use, the longest unused first.
func (b *Budget) evictable(ctx context.Context, limit int) ([]index.Cold, error) {
	used := b.uses.all()
	cold, err := b.o.Index.Coldest(ctx, limit+len(used))
	cold = slices.DeleteFunc(cold, func(c index.Cold) bool { return used[memberRevision{c.Member.ID, c.Revision}] })
	return cold[:min(limit, len(cold))], err
}

// enough is the shortest beginning of cold that frees so many bytes, or all of it. What several
// revisions share is freed when the last of them goes.
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

func (b *Budget) countEvicted(cold []index.Cold) {
	for _, c := range cold {
		b.o.Metrics.evictedRevisions.WithLabelValues(c.Member.Name).Inc()
		b.o.Metrics.evictedBytes.Add(float64(c.Frees))
		b.o.Log.Debug("evicted", zap.String("member", c.Member.Name), zap.Stringer("revision", c.Revision), zap.Time("used", c.Used))
	}
}
