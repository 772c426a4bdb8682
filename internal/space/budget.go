// Package space bounds what is kept on the disk. A [Budget] leases space before bytes are written,
// evicts the cached revisions that were unused longest when space is needed, and deletes the blobs
// that no index entry refers to any more. Published content is never evicted.
//
// Caches learn of evictions from the index's counters of changes, like of any other change.
package space

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Options are the arguments of New.
type Options struct {
	Index *index.DB  // required
	Blobs blob.Store // required

	MaxSize   int64        // bytes of cached blobs and of all temporary files; 0: unbounded
	MinFree   int64        // bytes that stay free on the disk
	Block     int64        // bytes that the disk allocates at a time; 0: not known
	TempBytes func() int64 // bytes of all unfinished blobs; nil: only what leases say was used is known

	SweepEvery time.Duration    // how often Run looks; 0 means a minute
	Log        *zap.Logger      // nil: none
	Metrics    *Metrics         // nil: none are counted
	Now        func() time.Time // nil: time.Now
}

// Budget bounds what all caches and stores over one blob store write. It is safe for concurrent
// use.
type Budget struct {
	o        Options
	kick     chan struct{} // asks Run to look at once
	removing chan struct{} // holds one value while revisions are removed or blobs deleted
	uses     uses

	mu       sync.Mutex
	bounds   bounds
	leased   leased
	deleting int64               // bytes of blobs that lost their rows and are about to be deleted
	touched  map[int64]time.Time // last uses by row id, not in the index yet
}

// New makes a budget. Run it to have it swept.
func New(o Options) *Budget {
	if o.TempBytes == nil {
		o.TempBytes = func() int64 { return 0 }
	}
	if o.SweepEvery <= 0 {
		o.SweepEvery = time.Minute
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	b := &Budget{
		o:        o,
		kick:     make(chan struct{}, 1),
		removing: make(chan struct{}, 1),
		uses:     newUses(),
		touched:  make(map[int64]time.Time),
	}
	b.SetBounds(o.MaxSize, o.MinFree)
	return b
}

// bounds are what a budget keeps, in bytes.
type bounds struct {
	maxSize int64 // 0: unbounded
	minFree int64
}

// SetBounds replaces Options.MaxSize and Options.MinFree. What exceeds them is evicted by the next
// sweep, which it asks for.
func (b *Budget) SetBounds(maxSize, minFree int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bounds = bounds{maxSize: maxSize, minFree: minFree}
	b.o.Metrics.maxSize.Set(float64(maxSize))
	b.o.Metrics.minFree.Set(float64(minFree))
	b.kickRun()
}

// Check tells whether n bytes of published content would leave MinFree: nil or conan.ErrNoSpace.
// Cached content makes way for them.
func (b *Budget) Check(ctx context.Context, n int64) error {
	return b.makeSpace(ctx, need{over: func(u usage) int64 { return overFree(u) + max(n, 0) }, published: true})
}

// usage is how full the disk is, in bytes.
type usage struct {
	bounds
	cached int64 // blobs that only caches refer to, or referred to until now
	size   int64 // what MaxSize bounds: those, what is leased, and other temporary files
	free   int64 // free on the disk and not leased
}

func (b *Budget) usage(ctx context.Context) (usage, error) {
	// Leases are read before the rows, and what is being deleted after them: a file that goes from
	// one to the next meanwhile is then counted twice, not never.
	b.mu.Lock()
	l, bounds := b.leased, b.bounds
	b.mu.Unlock()
	temp := b.o.TempBytes()
	cached, err := b.o.Index.CachedBytes(ctx)
	if err != nil {
		return usage{}, err
	}
	b.mu.Lock()
	cached += b.deleting
	b.mu.Unlock()
	free, err := b.o.Blobs.Free(ctx)
	if err != nil {
		return usage{}, err
	}
	b.o.Metrics.stored.Set(float64(cached))
	b.o.Metrics.free.Set(float64(free))
	return usage{
		bounds: bounds,
		cached: cached,
		size:   cached + l.bytes + max(0, temp-l.used),
		free:   free - l.unused(b.o.Block),
	}, nil
}

// overBounds is by how many bytes MinFree or MaxSize is exceeded; 0 or less: neither is.
func overBounds(u usage) int64 {
	if u.maxSize <= 0 {
		return overFree(u)
	}
	return max(overFree(u), u.size-u.maxSize)
}

// overFree is by how many bytes MinFree is exceeded; 0 or less: it is not.
func overFree(u usage) int64 { return u.minFree - u.free }

// need is what space is made for.
type need struct {
	over      func(usage) int64 // by how many bytes there is too little; 0 or less: there is enough
	published bool              // for published content, which the trash makes way for too
}

// makeSpace evicts, and then empties the trash if it may, until there is enough: nil or
// conan.ErrNoSpace. It does neither if that would not help: what is pinned is counted for this, but
// only if the coldest revisions are not enough.
func (b *Budget) makeSpace(ctx context.Context, n need) error {
	pinned := int64(-1) // not counted yet
	for {
		u, err := b.usage(ctx)
		if err != nil {
			return err
		}
		lacking := n.over(u)
		if lacking <= 0 {
			if aboveHighWater(u) {
				b.kickRun() // so that the next download need not make space itself
			}
			return nil
		}
		full := fmt.Errorf("%w: %d bytes are missing on the disk or within cache.max_size", conan.ErrNoSpace, lacking)
		evictable := u.cached - max(pinned, 0)
		if lacking <= evictable {
			ok, err := b.evict(ctx, n.over, pinned < 0)
			if err != nil {
				return errors.Join(full, err)
			}
			if ok {
				continue
			}
		}
		if pinned < 0 {
			if pinned, err = b.pinnedBytes(ctx); err != nil {
				return errors.Join(full, err)
			}
			continue
		}
		if !n.published {
			return full
		}
		if ok, err := b.emptyOldest(ctx, lacking-evictable); err != nil || !ok {
			return errors.Join(full, err)
		}
	}
}

// emptyOldest removes for good what was removed longest ago, unless all of the trash has less than
// the lacking bytes. It returns false if it did nothing.
func (b *Budget) emptyOldest(ctx context.Context, lacking int64) (some bool, err error) {
	frees, err := b.o.Index.TrashFrees(ctx)
	if err != nil || frees < max(lacking, 1) {
		return false, err
	}
	err = b.exclusively(ctx, func(ctx context.Context) error {
		if some, err = b.o.Index.EmptyOldest(ctx); err != nil || !some {
			return err
		}
		return b.deleteUnused(context.WithoutCancel(ctx))
	})
	return some, err
}

// kickRun has Run sweep at once.
func (b *Budget) kickRun() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// Touch notes the use of a cached revision, by row id. It reaches the index with the next sweep.
func (b *Budget) Touch(rowID int64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.touched[rowID] = now
}
