package cache

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

const (
	// followFrom is the size in bytes from which a file is handed out while it arrives; smaller
	// ones are verified first, and handed out from memory while they are being stored.
	followFrom = 1 << 20
	// tail is how much of a followed file is held back until all of it is verified.
	tail = 64 << 10
	// A fill goes on without clients if fewer bytes than almost are missing, or half the file.
	almost = 8 << 20
	// grace is how long another fill waits for a client to come back.
	grace = 10 * time.Second
)

var (
	// errNoSpace ends a fill that found no space; its clients get the file passed through.
	errNoSpace = errors.New("no space in the cache")
	// errIdle ends a fill whose clients have all left.
	errIdle = errors.New("every client left")
	// errPurged ends a fill whose file is not wanted here any more; clients that follow it get all
	// of it.
	errPurged = errors.New("purged while it was downloaded")
	// errEvicted is the error of a client that opened the file after it was evicted.
	errEvicted = errors.New("evicted before it was opened")
)

// fillKey is what one fill is for.
type fillKey struct {
	rev  conan.Revision
	name string
}

// fillState is how far a fill has got. A state only moves along an arrow:
//
//	waiting ──► receiving ──► verified ──► stored
//	   │            │            └───────► unstored
//	   └────────────┴────────────────────► failed     (waiting ──► stored if an earlier fill stored the file)
//
// Clients of a small file wait until it is verified and get it from memory. Clients of a large one
// follow it from receiving on, and get its tail once it is verified. Clients of a large one whose
// size upstream did not tell wait for the end.
type fillState int

const (
	waiting   fillState = iota // for the manifest, a slot, upstream, and space
	receiving                  // bytes arrive
	verified                   // every byte arrived and is right; storing the file may take a while
	stored                     // the end: the index has it
	unstored                   // the end: verified, but it could not be stored; clients that follow it get all of it
	failed                     // the end: clients get err
)

// ended tells whether nothing changes any more.
func (s fillState) ended() bool { return s >= stored }

// complete tells whether every byte is there and right.
func (s fillState) complete() bool { return s == verified || s == stored || s == unstored }

// fill is one download with any number of clients. It runs by itself: clients watch how far it got.
type fill struct {
	c      *Cache
	key    fillKey
	cancel context.CancelCauseFunc

	mu        sync.Mutex
	moved     chan struct{} // closed and replaced whenever something below changes
	state     fillState
	err       error // of unstored and failed
	info      conan.FileInfo
	w         blob.Writer // nil while waiting
	large     bool        // clients follow it; false while waiting
	wrote     int64       // bytes that arrived
	small     []byte      // of them, while the file is not known to be large; not nil if all of it is here
	users     int         // its clients, and its own goroutine until that ends
	purged    bool        // the file is not to be stored
	idleTimer *time.Timer // runs while there is no client
	endUse    func()      // lets the revision be evicted
}

// join adds a client to the fill of a file, which is started if there is none. The client ends with
// leave.
func (c *Cache) join(rev conan.Revision, want conan.FileInfo) (*fill, error) {
	key := fillKey{rev, want.Name}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.fills[key]
	if f == nil {
		if c.closed {
			return nil, c.unavailable("this server is stopping")
		}
		ctx, cancel := context.WithCancelCause(c.ctx)
		f = &fill{c: c, key: key, cancel: cancel, moved: make(chan struct{}), info: want, users: 1, endUse: func() {}}
		c.fills[key] = f
		c.running.Add(1)
		c.o.Metrics.fillsInFlight.WithLabelValues(c.o.Name).Inc()
		go f.run(ctx, want)
	}
	f.enter()
	return f, nil
}

// underWay joins the fill of a file if there is one.
func (c *Cache) underWay(rev conan.Revision, name string) *fill {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.fills[fillKey{rev, name}]
	if f != nil {
		f.enter()
	}
	return f
}

// enter counts a client that reads what is downloaded. The caller holds the cache's lock.
func (f *fill) enter() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users++
	if f.idleTimer != nil {
		f.idleTimer.Stop()
	}
}

// leave takes a client away. The last one ends the fill after a time, unless it is almost done by
// then.
func (f *fill) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users--
	switch {
	case f.users == 0:
		if f.w != nil {
			f.w.Close()
		}
		f.endUse()
	case f.idle():
		f.idleTimer = time.AfterFunc(grace, f.stopIfIdle)
	}
}

// idle tells whether the fill runs for no client and is not almost done. It is called with f.mu
// held.
func (f *fill) idle() bool {
	if f.users > 1 || f.state.ended() {
		return false
	}
	if f.w == nil || f.info.Size < 0 {
		return true
	}
	missing := f.info.Size - f.wrote
	return missing >= almost && missing > f.wrote
}

func (f *fill) stopIfIdle() {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.idle() {
		return
	}
	if f.c.fills[f.key] == f {
		delete(f.c.fills, f.key) // the next client starts anew
	}
	f.cancel(errIdle)
}

// move sets the state and tells the clients. It is called with f.mu held.
func (f *fill) move(to fillState) {
	f.state = to
	f.broadcast()
}

// broadcast is called with f.mu held, after a change.
func (f *fill) broadcast() {
	close(f.moved)
	f.moved = make(chan struct{})
}

// run is the life of the fill.
func (f *fill) run(ctx context.Context, want conan.FileInfo) {
	c := f.c
	defer c.running.Done()
	defer c.o.Metrics.fillsInFlight.WithLabelValues(c.o.Name).Dec()
	defer f.leave()
	defer f.cancel(nil)
	err := f.guarded(ctx, want)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	f.end(err)
	f.count(err)
	if f.w != nil {
		f.w.Abort() // no client attaches to it any more; a no-op if it is stored
	}
}

// guarded is do, of which a panic is an error.
func (f *fill) guarded(ctx context.Context, want conan.FileInfo) (err error) {
	defer f.c.recovered("a fill", &err)
	return f.do(ctx, want)
}

// end tells the clients that the fill ended, and how.
func (f *fill) end(err error) {
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.fills[f.key] == f {
		delete(c.fills, f.key)
	}
	if f.idleTimer != nil {
		f.idleTimer.Stop()
	}
	switch {
	case err == nil:
		f.move(stored)
	case f.state == verified:
		f.err = c.readable(err)
		f.move(unstored)
	default:
		f.err = c.readable(err)
		f.move(failed)
	}
}

// readable is the error of a fill as a reader may see it.
func (c *Cache) readable(err error) error {
	var known *conan.UnavailableError
	var wrong *wrongError
	switch {
	case errors.Is(err, errNoSpace):
		return errNoSpace
	case errors.Is(err, errPurged):
		return errEvicted
	case errors.As(err, &wrong):
		return &conan.UnavailableError{Member: c.o.Name, Reason: "it sent wrong bytes: " + wrong.what, Permanent: wrong.again}
	case errors.Is(err, blob.ErrNoSpace):
		return c.unavailable("there is no space here to store its answer")
	case errors.Is(err, errIdle), errors.Is(err, context.Canceled):
		return c.unavailable("the download was given up")
	case errors.As(err, &known), errors.Is(err, conan.ErrNotFound):
		return err
	}
	return c.unavailable("the download failed")
}

// count logs and counts how a fill ended.
func (f *fill) count(err error) {
	var wrong *wrongError
	var known *conan.UnavailableError
	log := f.c.o.Log.With(zap.Stringer("revision", f.key.rev), zap.String("file", f.key.name))
	result := fillFailed
	switch {
	case err == nil:
		result = fillStored
	case errors.Is(err, errNoSpace):
		result = fillPassed
		log.Warn("no space to store a download")
	case errors.Is(err, errPurged):
		result = fillPassed
		log.Info("a download was not stored", zap.Error(err))
	case errors.Is(err, errIdle):
		result = fillStopped
		log.Info("a download was stopped", zap.Error(err))
	case errors.As(err, &wrong):
		result = fillRefused
		log.Warn("upstream sent wrong bytes", zap.Error(err))
	case errors.As(err, &known):
		log.Info("a download failed", zap.Error(err))
	default:
		log.Warn("a download failed", zap.Error(err))
	}
	f.c.o.Metrics.fills.WithLabelValues(f.c.o.Name, result).Inc()
}
