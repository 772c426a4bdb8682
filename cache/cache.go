package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/memory"
	"conanproxy/internal/space"
)

// Mode is how much the upstream is asked.
type Mode string

// The modes.
const (
	Normal  Mode = "normal"  // answers are fresh for a time and then asked again
	Frozen  Mode = "frozen"  // the upstream never changes: what it said once, also "not found", stays true
	Offline Mode = "offline" // the upstream is not asked at all
)

// Options are the arguments of New.
type Options struct {
	Name   string          // of the upstream, in answers, logs and metrics; required
	Member index.MemberID  // of the upstream in the index; required
	Remote conan.Remote    // required, but in mode Offline never called and may be nil
	Index  *index.DB       // required
	Blobs  blob.Store      // required
	Budget *space.Budget   // shared by all caches over the same Blobs; nil: nothing is bounded and nothing evicted
	Memory *memory.Answers // shared by all caches over the same Index; nil: 16 MiB of its own
	Mode   Mode            // empty means Normal

	FreshFor    time.Duration // for which lists are not asked again; 0: each question asks
	NotFoundFor time.Duration // the same for "not found" and for refusals
	StaleFor    time.Duration // after FreshFor, for which lists may still be used when upstream fails

	MaxFills int           // downloads from this upstream at a time; 0 means 8
	Checks   *conan.Checks // shared with other caches and the stores; nil: bounds of its own

	Log     *zap.Logger      // nil: none
	Metrics *Metrics         // nil: none are counted
	Now     func() time.Time // nil: time.Now
}

// Cache is a conan.Source for one upstream. Its answers are remembered in the index, its files in
// the blob store.
type Cache struct {
	o        Options
	refusals *lru.Cache[string, refusal]
	pace     pace
	asking   singleflight.Group
	purges   atomic.Uint64 // how many purges began

	// remembering is held for reading from the look whether a purge came meanwhile until an answer
	// or file is remembered. A purge takes it to wait for that.
	remembering sync.RWMutex

	bounding sync.Mutex // one call of boundSearches at a time
	slots    *semaphore.Weighted

	ctx     context.Context // of fills and questions, which outlive the requests that began them
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	fills  map[fillKey]*fill
}

var _ conan.Source = (*Cache)(nil)

// New makes a cache. Close it when no method is called any more.
func New(o Options) (*Cache, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("cache of %q: %w", o.Name, err)
	}
	o.setDefaults()
	refused, err := lru.New[string, refusal](maxRefusals)
	if err != nil {
		return nil, fmt.Errorf("cache of %q: %w", o.Name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Cache{
		o:        o,
		refusals: refused,
		slots:    semaphore.NewWeighted(int64(o.MaxFills)),
		ctx:      ctx,
		stop:     stop,
		fills:    make(map[fillKey]*fill),
	}
	o.Metrics.prime(o.Name)
	return c, nil
}

func (o *Options) check() error {
	switch {
	case o.Name == "" || o.Member == 0:
		return errors.New("the upstream needs a name and a row of its own")
	case o.Index == nil || o.Blobs == nil:
		return errors.New("an index and a blob store are required")
	case o.Remote == nil && o.Mode != Offline:
		return errors.New("a remote is required unless the mode is offline")
	}
	switch o.Mode {
	case "", Normal, Frozen, Offline:
		return nil
	}
	return fmt.Errorf("mode %q is none of normal, frozen, offline", o.Mode)
}

func (o *Options) setDefaults() {
	if o.Checks == nil {
		o.Checks = conan.NewChecks()
	}
	if o.Mode == "" {
		o.Mode = Normal
	}
	if o.MaxFills <= 0 {
		o.MaxFills = 8
	}
	if o.Memory == nil {
		o.Memory = memory.NewAnswers(16 << 20)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	o.Log = o.Log.With(zap.String("member", o.Name))
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Budget == nil {
		o.Budget = space.New(space.Options{Index: o.Index, Blobs: o.Blobs, Log: o.Log, Now: o.Now})
	}
}

// Close ends all fills and questions under way and waits for them; readers of unfinished files get
// an error. No method may be called afterwards.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
}

// begin counts work that Close has to wait for; false after Close. The caller calls c.running.Done.
func (c *Cache) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running.Add(1)
	return true
}
