package space

import (
	"context"
	"errors"
	"fmt"

	"conanproxy/internal/blob"
	"conanproxy/internal/index"
)

// Collected is what Collect removed, or would remove.
type Collected struct {
	Revisions int   // evicted
	Blobs     int   // deleted; in a dry run only those that nothing names already
	Bytes     int64 // of blobs
	Over      int64 // by how many bytes a bound is exceeded still, although all that may go is gone; 0: not
}

// Collect evicts the coldest revisions, whole, until MaxSize and MinFree are kept, and deletes the blobs that nothing
// names. A dry run changes nothing. No server may run on the same store.
func (b *Budget) Collect(ctx context.Context, dry bool) (Collected, error) {
	var sum Collected
	if err := b.collectGarbage(ctx, dry, &sum); err != nil {
		return sum, err
	}
	for {
		u, err := b.usage(ctx)
		if err != nil {
			return sum, err
		}
		freed := int64(0)
		if dry {
			freed = sum.Bytes
		}
		sum.Over = max(0, b.over(u)-freed)
		if sum.Over == 0 {
			return sum, nil
		}
		cold, err := b.coldest(ctx, sum.Over)
		if err != nil || len(cold) == 0 {
			return sum, err
		}
		if dry {
			frees, err := b.o.Index.Frees(ctx, rowIDs(cold))
			if err != nil {
				return sum, err
			}
			sum.Bytes += frees
			sum.Revisions, sum.Over = len(cold), max(0, b.over(u)-sum.Bytes)
			return sum, nil
		}
		if err := b.o.Index.RemoveRevisions(ctx, rowIDs(cold)); err != nil {
			return sum, err
		}
		b.count(cold)
		sum.Revisions += len(cold)
		if err := b.collectGarbage(ctx, dry, &sum); err != nil {
			return sum, err
		}
	}
}

// coldest lists as many cached revisions, the longest unused first, as free so many bytes together, or all.
func (b *Budget) coldest(ctx context.Context, bytes int64) ([]index.Cold, error) {
	for limit := 64; ; limit *= 2 {
		cold, err := b.evictable(ctx, limit)
		if err != nil {
			return nil, err
		}
		enough, err := b.enough(ctx, cold, bytes)
		if err != nil || len(enough) < limit {
			return enough, err
		}
	}
}

// collectGarbage deletes the blobs that no row names any more, or only counts them.
func (b *Budget) collectGarbage(ctx context.Context, dry bool, sum *Collected) error {
	limit := batch
	for {
		garbage, err := b.o.Index.Garbage(ctx, limit)
		if err != nil {
			return err
		}
		if dry && len(garbage) == limit {
			limit *= 2 // nothing is forgotten in a dry run, so all of it has to be read at once
			continue
		}
		for _, d := range garbage {
			if err := b.collectOne(ctx, blob.Digest(d), dry, sum); err != nil {
				return err
			}
		}
		if dry || len(garbage) == 0 {
			return nil
		}
	}
}

func (b *Budget) collectOne(ctx context.Context, d blob.Digest, dry bool, sum *Collected) error {
	var freed int64
	if dry {
		named, err := b.o.Index.BlobNamed(ctx, string(d))
		if err != nil || named {
			return err
		}
		freed, err = b.o.Blobs.Stat(ctx, d)
		if errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("count garbage: %w", err)
		}
	} else {
		var err error
		freed, err = b.o.Blobs.Delete(ctx, d, func() (bool, error) { return b.o.Index.ForgetBlob(ctx, string(d)) })
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
