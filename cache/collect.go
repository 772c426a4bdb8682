package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"conanproxy/internal/blob"
	"conanproxy/internal/index"
)

// Collected is what Collect removed, or would remove.
type Collected struct {
	Revisions int   // of caches, evicted
	Blobs     int   // unlinked; in a dry run only those that nothing names already
	Bytes     int64 // of blobs
	Over      int64 // by how many bytes a bound is exceeded still, since all that may go is gone; 0: not
}

// Collect evicts the coldest revisions, whole, until MaxSize and MinFree are kept, and unlinks the blobs that nothing
// names. A dry run changes nothing. No server may run on the same store.
func (q *Quota) Collect(ctx context.Context, dry bool) (Collected, error) {
	var sum Collected
	if err := q.collectGarbage(ctx, dry, &sum); err != nil {
		return sum, err
	}
	for {
		u, err := q.usage(ctx)
		if err != nil {
			return sum, err
		}
		freed := int64(0)
		if dry {
			freed = sum.Bytes
		}
		sum.Over = max(0, q.over(u)-freed)
		if sum.Over == 0 {
			return sum, nil
		}
		cold, err := q.coldest(ctx, sum.Over)
		if err != nil || len(cold) == 0 {
			return sum, err
		}
		if dry {
			frees, err := q.o.Index.Frees(ctx, rowIDs(cold))
			if err != nil {
				return sum, err
			}
			sum.Bytes += frees
			sum.Revisions, sum.Over = len(cold), max(0, q.over(u)-sum.Bytes)
			return sum, nil
		}
		if err := q.o.Index.RemoveRevisions(ctx, rowIDs(cold), nil); err != nil {
			return sum, err
		}
		q.evicted(cold)
		sum.Revisions += len(cold)
		if err := q.collectGarbage(ctx, dry, &sum); err != nil {
			return sum, err
		}
	}
}

// coldest lists as many revisions of caches, the longest unused first, as free so many bytes together, or all.
func (q *Quota) coldest(ctx context.Context, bytes int64) ([]index.Cold, error) {
	for limit := 64; ; limit *= 2 {
		cold, err := q.evictable(ctx, limit)
		if err != nil {
			return nil, err
		}
		enough, err := q.enough(ctx, cold, bytes)
		if err != nil || len(enough) < limit {
			return enough, err
		}
	}
}

// evictable lists up to limit revisions of caches that are not in use, the longest unused first.
func (q *Quota) evictable(ctx context.Context, limit int) ([]index.Cold, error) {
	busy := q.busy.all()
	cold, err := q.o.Index.Coldest(ctx, limit+len(busy))
	cold = slices.DeleteFunc(cold, func(r index.Cold) bool { return busy[usedRevision{r.Member, r.Revision}] })
	return cold[:min(limit, len(cold))], err
}

// enough is the shortest beginning of cold that frees so many bytes, or all of it. What several revisions share is free
// when the last of them goes.
func (q *Quota) enough(ctx context.Context, cold []index.Cold, bytes int64) ([]index.Cold, error) {
	if len(cold) > 0 && cold[0].Frees >= bytes {
		return cold[:1], nil
	}
	var failed error
	ids := rowIDs(cold)
	n := sort.Search(len(cold), func(i int) bool {
		frees, err := q.o.Index.Frees(ctx, ids[:i+1])
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

// collectGarbage unlinks the blobs that no row names any more, or only counts them.
func (q *Quota) collectGarbage(ctx context.Context, dry bool, sum *Collected) error {
	limit := batch
	for {
		garbage, err := q.o.Index.Garbage(ctx, limit)
		if err != nil {
			return err
		}
		if dry && len(garbage) == limit {
			limit *= 2 // nothing is forgotten in a dry run, so all of it has to be read at once
			continue
		}
		for _, d := range garbage {
			if err := q.collectOne(ctx, blob.Digest(d), dry, sum); err != nil {
				return err
			}
		}
		if dry || len(garbage) == 0 {
			return nil
		}
	}
}

func (q *Quota) collectOne(ctx context.Context, d blob.Digest, dry bool, sum *Collected) error {
	var freed int64
	if dry {
		named, err := q.o.Index.BlobNamed(ctx, string(d))
		if err != nil || named {
			return err
		}
		freed, err = q.o.Blobs.Stat(ctx, d)
		if errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("count garbage: %w", err)
		}
	} else {
		var err error
		freed, err = q.o.Blobs.Delete(ctx, d, func() (bool, error) { return q.o.Index.ForgetBlob(ctx, string(d)) })
		if err != nil {
			return err
		}
	}
	if freed > 0 {
		sum.Blobs++
		sum.Bytes += freed
	}
	return nil
}
