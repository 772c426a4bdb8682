// Package space bounds what is stored. Space is leased before bytes are written, so that many writers at once
// cannot exceed a bound; the coldest cached revisions make way.
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

	MaxSize   int64        // bytes of blobs that only upstreams name, plus temporary ones; 0: unbounded
	MinFree   int64        // bytes that stay free on the disk
	Block     int64        // bytes that the disk gives a file at a time; 0: not known
	TempBytes func() int64 // bytes of all unfinished blobs, of uploads too; nil: those of leases only are known

	SweepEvery time.Duration // how often Run looks; 0 means a minute
	Log        *zap.Logger
	Metrics    *Metrics
	Now        func() time.Time // nil: time.Now
}

// Budget is the space of one blob store, shared by everything that stores there. It is safe for concurrent use.
type Budget struct {
	o        Options
	kick     chan struct{} // asks Run to look at once
	evicting chan struct{} // holds one value while revisions are removed or blobs deleted
	users    users

	mu      sync.Mutex
	leaving int64               // bytes of blobs whose rows are removed and which are about to be deleted
	leased  leased              // by all leases together
	used    map[int64]time.Time // last uses by row id, not in the index yet
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
	return &Budget{
		o:        o,
		kick:     make(chan struct{}, 1),
		evicting: make(chan struct{}, 1),
		users:    newUsers(),
		used:     make(map[int64]time.Time),
	}
}

// Touch notes the use of a cached revision by its row id. It reaches the index with the next sweep.
func (b *Budget) Touch(rowID int64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used[rowID] = now
}

// Check tells whether n more bytes of an upload leave MinFree: nil or conan.ErrNoSpace. Cached content makes way for it.
func (b *Budget) Check(ctx context.Context, n int64) error {
	lacking := func(u usage) int64 { return b.o.MinFree - (u.free - max(n, 0)) }
	for {
		u, err := b.usage(ctx)
		if err != nil {
			return err
		}
		over := lacking(u)
		if over <= 0 {
			return nil
		}
		full := fmt.Errorf("%w: %d bytes are free, of which %d have to stay so", conan.ErrNoSpace, max(u.free, 0), b.o.MinFree)
		if over > u.cached {
			return full
		}
		if ok, err := b.evict(ctx, lacking); err != nil || !ok {
			return errors.Join(err, full)
		}
	}
}

// usage is how full everything is.
type usage struct {
	cached int64 // bytes of blobs that only upstreams name, or named until now
	size   int64 // what MaxSize bounds: those, what is leased, and temporary files besides
	free   int64 // bytes on the disk that are free and not leased
}

func (b *Budget) usage(ctx context.Context) (usage, error) {
	// What is leased is read before, and what leaves after the rows: a file that goes from one to the next meanwhile
	// is then counted twice, not never.
	b.mu.Lock()
	l := b.leased
	b.mu.Unlock()
	temp := b.o.TempBytes()
	cached, err := b.o.Index.CachedBytes(ctx)
	if err != nil {
		return usage{}, err
	}
	b.mu.Lock()
	cached += b.leaving
	b.mu.Unlock()
	free, err := b.o.Blobs.Free(ctx)
	if err != nil {
		return usage{}, err
	}
	b.o.Metrics.stored.Set(float64(cached))
	b.o.Metrics.free.Set(float64(free))
	return usage{
		cached: cached,
		size:   cached + l.bytes + max(0, temp-l.written),
		free:   free - l.unwritten(b.o.Block),
	}, nil
}

// over is by how many bytes a bound is exceeded; 0 or less: not.
func (b *Budget) over(u usage) int64 {
	over := b.o.MinFree - u.free
	if b.o.MaxSize > 0 {
		over = max(over, u.size-b.o.MaxSize)
	}
	return over
}

// checkCache evicts until no bound is exceeded. It evicts nothing if that would not help.
func (b *Budget) checkCache(ctx context.Context) error {
	for {
		u, err := b.usage(ctx)
		if err != nil {
			b.log("the used space cannot be read", err)
			return err
		}
		over := b.over(u)
		if over <= 0 {
			b.kickAbove(u)
			return nil
		}
		full := fmt.Errorf("%w: the cache would exceed a bound by %d bytes", conan.ErrNoSpace, over)
		if over > u.cached {
			return full
		}
		if ok, err := b.evict(ctx, b.over); err != nil || !ok {
			b.log("eviction failed", err)
			return errors.Join(err, full)
		}
	}
}

// kickAbove has the sweeper evict before the next download needs it.
func (b *Budget) kickAbove(u usage) {
	if b.o.MaxSize <= 0 || u.size < b.o.MaxSize/100*highWater {
		return
	}
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

func (b *Budget) log(message string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		b.o.Log.Error(message, zap.Error(err))
	}
}
