package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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

	MaxFills int // downloads from this upstream at a time; 0 means 8

	Log     *zap.Logger      // nil: none
	Metrics *Metrics         // nil: none are counted
	Now     func() time.Time // nil: time.Now
}

// Cache is a conan.Source for one upstream. Its answers are remembered in the index, its files in the blob store.
type Cache struct {
	o        Options
	negative *negatives
	asking   singleflight.Group
	storing  [64]sync.Mutex // one document at a time of each share of the questions is being stored
	slots    *semaphore.Weighted
	degraded atomic.Bool // upstream did not answer the last question in time

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
	negative, err := newNegatives()
	if err != nil {
		return nil, fmt.Errorf("cache of %q: %w", o.Name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Cache{
		o:        o,
		negative: negative,
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

// Close ends all fills and questions under way and waits for them; readers of unfinished files get an error.
// No method may be called afterwards.
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

// answer makes an answer of what was found, and counts it. A failure that may not be remembered has no origin.
func answer[T any](c *Cache, value T, o conan.Origin, err error) (conan.Answer[T], error) {
	switch {
	case err == nil:
		c.o.Metrics.answered(c.o.Name, string(o.State))
		return conan.Answer[T]{Value: value, Origin: o}, nil
	case errors.Is(err, conan.ErrNotFound):
		c.o.Metrics.answered(c.o.Name, resultNegative)
		return conan.Answer[T]{Origin: o}, err
	case errors.Is(err, conan.ErrUnavailable):
		c.o.Metrics.answered(c.o.Name, resultUnavailable)
	}
	return conan.Answer[T]{}, err
}

// freshUntil is the time until which what was fetched then need not be asked again.
func (c *Cache) freshUntil(fetched time.Time) time.Time {
	if c.o.Mode == Frozen {
		return conan.Forever
	}
	return fetched.Add(c.o.FreshFor)
}

// isFresh tells whether what was fetched then need not be asked again.
func (c *Cache) isFresh(fetched time.Time) bool {
	return c.o.Now().Before(c.freshUntil(fetched))
}

// isUsable tells whether what was fetched then may be used if upstream cannot be asked.
func (c *Cache) isUsable(fetched time.Time) bool {
	return c.o.Mode == Offline || c.o.Now().Before(c.freshUntil(fetched).Add(c.o.StaleFor))
}

// fresh is the origin of an answer that was fetched at that time; asked if upstream was asked for it just now.
func (c *Cache) fresh(fetched time.Time, asked bool) conan.Origin {
	o := conan.Origin{Member: c.o.Name, State: conan.StateHit, Age: c.age(fetched), Expires: c.freshUntil(fetched)}
	if asked {
		o.State = conan.StateMiss
	}
	if o.Expires.Equal(conan.Forever) {
		// A setting says so, not the protocol: it must not be remembered for ever.
		o.Expires = c.o.Now().Add(max(c.o.FreshFor, time.Minute))
	}
	return o
}

// stale is the origin of an answer that is used because upstream could not be asked.
func (c *Cache) stale(fetched time.Time, reason string) conan.Origin {
	return conan.Origin{Member: c.o.Name, State: conan.StateStale, Age: c.age(fetched), Reason: reason}
}

func (c *Cache) age(fetched time.Time) time.Duration {
	return max(0, c.o.Now().Sub(fetched))
}

// immutable is the origin of bytes that can never be others.
func (c *Cache) immutable(state conan.CacheState) conan.Origin {
	return conan.Origin{Member: c.o.Name, State: state, Expires: conan.Forever}
}

// unavailable is the error of a question that could not be answered. It has no cause: whatever an upstream failed
// with must not look like the proxy's own "not found" or "denied" to a reader.
func (c *Cache) unavailable(reason string) error {
	return &conan.UnavailableError{Member: c.o.Name, Reason: reason}
}

// classify turns whatever an upstream failed with into one of the two failures that a reader may see.
func (c *Cache) classify(err error) error {
	var known *conan.UnavailableError
	switch {
	case errors.As(err, &known), errors.Is(err, conan.ErrNotFound):
		return err
	case errors.Is(err, conan.ErrNotFetched):
		return c.unavailable("it was not asked")
	case errors.Is(err, conan.ErrDenied):
		return c.unavailable("it refused this server's credentials")
	case errors.Is(err, context.DeadlineExceeded):
		return c.unavailable("it did not answer in time")
	case errors.Is(err, context.Canceled):
		return c.unavailable("the question was given up")
	}
	return c.unavailable("it did not answer as it should")
}

// reason is the phrase of an error for the Warning of a stale answer.
func reason(err error) string {
	var u *conan.UnavailableError
	if errors.As(err, &u) {
		return u.Reason
	}
	return "it failed"
}

const offlineReason = "it is offline by configuration, and this was never fetched"
