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
	Revisions int   // cached ones, evicted
	Blobs     int   // deleted; in a dry run only those that no index entry refers to already
	Bytes     int64 // of blobs
	Over      int64 // by how many bytes a bound is exceeded although all that may go is gone; 0: none is
}

// Collect evicts the revisions that were unused longest, whole, until MaxSize and MinFree are kept,
// and deletes the blobs that no index entry refers to. A dry run changes nothing. No server may run
// on the same store.
func (b *Budget) Collect(ctx context.Context, dry bool) (Collected, error) {
	var sum Collected
	if err := b.collectUnused(ctx, dry, &sum); err != nil {
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
		sum.Over = max(0, overBounds(u)-freed)
		if sum.Over == 0 {
			return sum, nil
		}
		cold, err := b.coldest(ctx, sum.Over)
		if err != nil || len(cold) == 0 {
			return sum, err
		}
		if dry {
			frees, err := b.o.Index.Frees(ctx, rowIDs(cold))
			sum.Bytes += frees
			sum.Revisions, sum.Over = len(cold), max(0, overBounds(u)-sum.Bytes)
			return sum, err
		}
		if err := b.o.Index.RemoveRevisions(ctx, rowIDs(cold)); err != nil {
			return sum, err
		}
		b.countEvicted(cold)
		sum.Revisions += len(cold)
		if err := b.collectUnused(ctx, dry, &sum); err != nil {
			return sum, err
		}
	}
}

// coldest lists as many cached revisions, the longest unused first, as free so many bytes together,
// or all.
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

// collectUnused deletes the blobs that no index entry refers to, or only counts them.
func (b *Budget) collectUnused(ctx context.Context, dry bool, sum *Collected) error {
	limit := 500
	for {
		garbage, err := b.o.Index.Garbage(ctx, limit)
		if err != nil {
			return err
		}
		if dry && len(garbage) == limit {
			limit *= 2 // a dry run removes none from the list, so all of it has to be read at once
			continue
		}
		for _, d := range garbage {
			remove := b.deleteBlob
			if dry {
				remove = b.sizeIfUnused
			}
			freed, err := remove(ctx, blob.Digest(d))
			if err != nil {
				return err
			}
			if freed > 0 {
				sum.Blobs++
				sum.Bytes += freed
			}
		}
		if dry || len(garbage) == 0 {
			return nil
		}
	}
}

// sizeIfUnused returns what deleteBlob would free.
func (b *Budget) sizeIfUnused(ctx context.Context, d blob.Digest) (int64, error) {
	named, err := b.o.Index.BlobNamed(ctx, string(d))
	if err != nil || named {
		return 0, err
	}
	size, err := b.o.Blobs.Stat(ctx, d)
	if errors.Is(err, blob.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count unused blobs: %w", err)
	}
	return size, nil
}
