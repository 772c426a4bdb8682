package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// QuotaOptions are the arguments of NewQuota.
type QuotaOptions struct {
	Index *index.DB  // required
	Blobs blob.Store // required

	MaxSize   int64        // bytes of blobs that only caches name, plus temporary ones; 0: unbounded
	MinFree   int64        // bytes that stay free on the medium
	Block     int64        // bytes that the medium gives a file at a time; 0: not known
	TempBytes func() int64 // bytes of all unfinished blobs, of uploads too; nil: those of fills only are known

	SweepEvery time.Duration // how often Run looks; 0 means a minute
	Log        *zap.Logger
	Metrics    *Metrics
	Now        func() time.Time // nil: time.Now
}

// Quota bounds what all caches over one blob store keep. Room is reserved before bytes are written, so that many fills
// at once cannot exceed it; what is coldest makes way.
type Quota struct {
	o        QuotaOptions
	kick     chan struct{} // asks Run to look at once
	evicting chan struct{} // holds one value while somebody removes revisions or unlinks blobs
	busy     inUse

	mu       sync.Mutex
	leaving  int64               // bytes of blobs whose rows are removed and which are about to be unlinked
	promised promised            // to fills and uploads under way
	used     map[int64]time.Time // last uses by row id, not in the index yet
	caches   map[string]*Cache   // by member
}

// promised is room for files that are being written.
type promised struct {
	files   int64
	bytes   int64
	written int64 // of those bytes, what is on the medium already
}

// unwritten is what the medium has to give yet: the bytes, and the rest of the last block of each file.
func (p promised) unwritten(block int64) int64 { return max(0, p.bytes-p.written) + p.files*block }

// NewQuota makes a quota. Run it to have it swept.
func NewQuota(o QuotaOptions) *Quota {
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
	return &Quota{
		o:        o,
		kick:     make(chan struct{}, 1),
		evicting: make(chan struct{}, 1),
		busy:     newInUse(),
		used:     make(map[int64]time.Time),
		caches:   make(map[string]*Cache),
	}
}

// join has a cache told of what is evicted from it, and swept.
func (q *Quota) join(c *Cache) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.caches[c.o.Member] = c
}

func (q *Quota) part(c *Cache) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.caches[c.o.Member] == c {
		delete(q.caches, c.o.Member)
	}
}

// members returns the caches by member.
func (q *Quota) members() map[string]*Cache {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.caches)
}

// touch notes the use of a revision. It reaches the index with the next sweep.
func (q *Quota) touch(rowID int64, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used[rowID] = now
}

// Reserve promises n bytes to a fill, evicting what is coldest if need be. ok is false if there is no room; else
// release ends the promise, when the bytes are stored or thrown away. It may be called more than once.
func (q *Quota) Reserve(ctx context.Context, n int64) (release func(), ok bool) {
	r, ok := q.reserve(ctx, n)
	if !ok {
		return func() {}, false
	}
	return r.release, true
}

// reservation is room that one file may be written to, of a fill or an upload. It belongs to one goroutine.
type reservation struct {
	q          *Quota
	size, done int64
	once       sync.Once
}

// begin reserves nothing yet for one file.
func (q *Quota) begin() *reservation {
	q.add(promised{files: 1})
	return &reservation{q: q}
}

func (q *Quota) reserve(ctx context.Context, n int64) (*reservation, bool) {
	r := q.begin()
	if !r.grow(ctx, n) {
		r.release()
		return nil, false
	}
	return r, true
}

// promise adds n bytes if fits says that they do.
func (r *reservation) promise(n int64, fits func() bool) bool {
	// The promise comes first: two at the same time then see each other.
	r.q.add(promised{bytes: n})
	if !fits() {
		r.q.add(promised{bytes: -n})
		return false
	}
	r.size += n
	return true
}

func (q *Quota) add(p promised) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.promised.files += p.files
	q.promised.bytes += p.bytes
	q.promised.written += p.written
	q.o.Metrics.reserved.Set(float64(q.promised.bytes))
}

// Room tells whether an upload of n bytes leaves min_free: nil or conan.ErrNoSpace. Cached content makes way for it.
func (q *Quota) Room(ctx context.Context, n int64) error {
	lacking := func(u usage) int64 { return q.o.MinFree - (u.free - max(n, 0)) }
	for {
		u, err := q.usage(ctx)
		if err != nil {
			return err
		}
		over := lacking(u)
		if over <= 0 {
			return nil
		}
		full := fmt.Errorf("%w: %d bytes are free, of which %d have to stay so", conan.ErrNoSpace, max(u.free, 0), q.o.MinFree)
		if over > u.cached {
			return full
		}
		if ok, err := q.evict(ctx, lacking); err != nil || !ok {
			return errors.Join(err, full)
		}
	}
}

// usage is how full everything is.
type usage struct {
	cached int64 // bytes of blobs that only caches name, or named until now
	size   int64 // what MaxSize bounds: those, what is reserved, and temporary files besides
	free   int64 // bytes on the medium that are free and not promised
}

func (q *Quota) usage(ctx context.Context) (usage, error) {
	// What is promised is read before, and what leaves after the rows: a file that goes from one to the next meanwhile
	// is then counted twice, not never.
	q.mu.Lock()
	p := q.promised
	q.mu.Unlock()
	temp := q.o.TempBytes()
	cached, err := q.o.Index.CachedBytes(ctx)
	if err != nil {
		return usage{}, err
	}
	q.mu.Lock()
	cached += q.leaving
	q.mu.Unlock()
	free, err := q.o.Blobs.Free(ctx)
	if err != nil {
		return usage{}, err
	}
	q.o.Metrics.stored.Set(float64(cached))
	q.o.Metrics.free.Set(float64(free))
	return usage{
		cached: cached,
		size:   cached + p.bytes + max(0, temp-p.written),
		free:   free - p.unwritten(q.o.Block),
	}, nil
}

// over is by how many bytes a bound is exceeded; 0 or less: not.
func (q *Quota) over(u usage) int64 {
	over := q.o.MinFree - u.free
	if q.o.MaxSize > 0 {
		over = max(over, u.size-q.o.MaxSize)
	}
	return over
}

// makeRoom evicts until no bound is exceeded. It evicts nothing if that would not help.
func (q *Quota) makeRoom(ctx context.Context) bool {
	for {
		u, err := q.usage(ctx)
		if err != nil {
			q.log("the quota cannot be read", err)
			return false
		}
		over := q.over(u)
		if over <= 0 {
			q.kickAbove(u)
			return true
		}
		if over > u.cached {
			return false
		}
		if ok, err := q.evict(ctx, q.over); err != nil || !ok {
			q.log("eviction failed", err)
			return false
		}
	}
}

// kickAbove has the sweeper make room before the next fill needs it.
func (q *Quota) kickAbove(u usage) {
	if q.o.MaxSize <= 0 || u.size < q.o.MaxSize/100*highWater {
		return
	}
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// covers tells whether n more bytes may be written.
func (r *reservation) covers(n int64) bool { return r.done+n <= r.size }

// grow adds n bytes, if there is room.
func (r *reservation) grow(ctx context.Context, n int64) bool {
	return r.promise(n, func() bool { return r.q.makeRoom(ctx) })
}

// wrote tells that n of the bytes are on the medium now.
func (r *reservation) wrote(n int64) {
	r.done += n
	r.q.add(promised{written: n})
}

// release ends the promise. It may be called more than once.
func (r *reservation) release() {
	r.once.Do(func() { r.q.add(promised{files: -1, bytes: -r.size, written: -r.done}) })
}
