package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/space"
)

const (
	// followFrom is the size from which a file is handed out while it arrives; smaller ones are verified first, and
	// handed out from memory while they are being stored.
	followFrom = 1 << 20
	// tail is how much of a followed file is held back until all of it is verified.
	tail = 64 << 10
	// almost is the number of missing bytes, and half the file the part, from which a fill goes on without clients.
	almost = 8 << 20
	// grace is how long a fill that is not almost done waits for a client to come back.
	grace = 10 * time.Second
	// queueTimeout is how long a fill waits for a slot. Clients give up after a minute of silence.
	queueTimeout = 45 * time.Second
)

var (
	// errNoSpace ends a fill that found no space; its clients get the file passed through.
	errNoSpace = errors.New("no space in the cache")
	// errIdle ends a fill whose clients have all left.
	errIdle = errors.New("every client left")
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
// Clients of a small file wait until it is verified and get it from memory. Clients of a large one follow it from
// receiving on, and get its tail once it is verified. Clients of one whose size upstream did not tell wait for the end.
type fillState int

const (
	waiting   fillState = iota // for the manifest, a slot, upstream, and space
	receiving                  // bytes arrive
	verified                   // every byte arrived and is right; storing the file may take a while
	stored                     // the end: the index has it
	unstored                   // the end: verified, but it could not be stored; clients that follow it get all of it
	failed                     // the end: clients get err
)

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
	clients   int
	idleTimer *time.Timer // runs while there is no client
	endUse    func()      // when it has ended and all clients have left; nil before it ended, and after it was called
}

// join adds a client to the fill of a file, which is started if there is none. The client ends with leave.
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
		f = &fill{c: c, key: key, cancel: cancel, moved: make(chan struct{}), info: want}
		c.fills[key] = f
		c.running.Add(1)
		c.o.Metrics.fillsInFlight.WithLabelValues(c.o.Name).Inc()
		go f.run(ctx, want)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients++
	if f.idleTimer != nil {
		f.idleTimer.Stop()
		f.idleTimer = nil
	}
	return f, nil
}

// leave takes a client away. The last one ends the fill after a time, unless it is almost done by then.
func (f *fill) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients--
	if f.clients == 0 && !f.state.ended() && !f.almostDone() {
		f.idleTimer = time.AfterFunc(grace, f.stopIfIdle)
	}
	f.release()
}

// release gives back what the last client needs. It is called with f.mu held.
func (f *fill) release() {
	if f.clients > 0 || f.endUse == nil {
		return
	}
	if f.w != nil {
		f.w.Close()
	}
	f.endUse()
	f.endUse = nil
}

func (f *fill) stopIfIdle() {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clients > 0 || f.state.ended() || f.almostDone() {
		return
	}
	if f.c.fills[f.key] == f {
		delete(f.c.fills, f.key) // the next client starts anew
	}
	f.cancel(errIdle)
}

// almostDone is called with f.mu held.
func (f *fill) almostDone() bool {
	if f.w == nil || f.info.Size < 0 {
		return false
	}
	left := f.info.Size - f.wrote
	return left < almost || left <= f.wrote
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
	endUse, err := c.o.Budget.Use(ctx, c.o.Member, f.key.rev)
	if err != nil {
		f.finish(ctx, err)
		return
	}
	f.finish(ctx, f.guarded(ctx, want))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endUse = endUse
	f.release()
}

// finish tells the clients that the fill ended, and how. Only the first call counts.
func (f *fill) finish(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if f.end(err) {
		f.cancel(nil)
		f.count(err)
	}
}

func (f *fill) end(err error) bool {
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.ended() {
		return false
	}
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
	return true
}

// guarded keeps a panic from ending the whole server.
func (f *fill) guarded(ctx context.Context, want conan.FileInfo) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f.c.o.Log.Error("a fill panicked", zap.Any("panic", p), zap.Stack("stack"))
			err = f.c.unavailable("an internal error")
		}
	}()
	return f.do(ctx, want)
}

// readable is the error of a fill as a reader may see it.
func (c *Cache) readable(err error) error {
	var wrong *wrongError
	switch {
	case errors.Is(err, errNoSpace):
		return errNoSpace
	case errors.As(err, &wrong):
		return c.unavailable("it sent wrong bytes: " + wrong.what)
	case errors.Is(err, blob.ErrNoSpace):
		return c.unavailable("there is no space here to store its answer")
	case errors.Is(err, errIdle), errors.Is(err, context.Canceled):
		return c.unavailable("the download was given up")
	}
	var known *conan.UnavailableError
	if errors.As(err, &known) {
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

// do downloads, verifies and stores the file.
func (f *fill) do(ctx context.Context, want conan.FileInfo) error {
	c, rev := f.c, f.key.rev
	if held, err := f.heldMeanwhile(ctx); err != nil || held {
		return err
	}
	in, err := c.download(ctx, rev, want)
	if err != nil {
		return err
	}
	defer in.close()

	lease, err := c.o.Budget.LeaseCache(ctx, max(in.want.Size, 0))
	if errors.Is(err, conan.ErrNoSpace) {
		return errNoSpace
	}
	if err != nil {
		return err
	}
	defer lease.Release()
	w, err := c.o.Blobs.Create(ctx)
	if errors.Is(err, blob.ErrNoSpace) {
		return errNoSpace
	}
	if err != nil {
		return err
	}
	defer w.Abort()

	err = f.receive(ctx, w, in, lease)
	f.finish(ctx, err) // before the writer is closed, so that no new client attaches to it
	return err
}

// receive downloads, verifies and stores every byte.
func (f *fill) receive(ctx context.Context, w blob.Writer, in *incoming, lease *space.Lease) error {
	f.begin(w, in.want)
	if err := f.copy(ctx, w, in, lease); err != nil {
		return err
	}
	sums := w.Sums()
	facts, err := in.check.finish(sums, io.NewSectionReader(w, 0, sums.Size))
	if err != nil {
		return err
	}
	f.verify(sums)
	return f.commit(context.WithoutCancel(ctx), w, facts)
}

// verify tells the clients that all bytes are there and right.
func (f *fill) verify(s blob.Sums) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info = index.FileInfo(f.key.name, s)
	f.move(verified)
}

// heldMeanwhile ends the fill if an earlier one stored the file after our client looked.
func (f *fill) heldMeanwhile(ctx context.Context) (bool, error) {
	if conan.IsMetadata(f.key.name) {
		if _, fresh := f.c.bytesFetched(ctx, f.key.rev, f.key.name); !fresh {
			return false, nil
		}
	}
	file, err := f.c.openHeld(ctx, f.key.rev, f.key.name)
	if err != nil || file == nil {
		return false, err
	}
	file.Close()
	f.mu.Lock()
	f.info = file.FileInfo
	f.mu.Unlock()
	return true, nil
}

// begin shows the clients that upstream began to send.
func (f *fill) begin(w blob.Writer, info conan.FileInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.w, f.info, f.large = w, info, info.Size >= followFrom
	if !f.large {
		f.small = []byte{}
	}
	f.move(receiving)
}

// copy writes all that upstream sends, and shows how far it got.
func (f *fill) copy(ctx context.Context, w blob.Writer, in *incoming, lease *space.Lease) error {
	const growth = 16 << 20
	bytes := f.c.o.Metrics.fillBytes.WithLabelValues(f.c.o.Name)
	buf := make([]byte, 128<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if lease.Left() < int64(n) && lease.Grow(ctx, growth) != nil {
				return errNoSpace
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return fmt.Errorf("store %s of %s: %w", f.key.name, f.key.rev, err)
			}
			lease.Used(int64(n))
			bytes.Add(float64(n))
			f.advance(buf[:n])
			in.check.Write(buf[:n])
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *fill) advance(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrote += int64(len(b))
	if !f.large && f.wrote < followFrom {
		f.small = append(f.small, b...)
	} else {
		f.small = nil
	}
	f.broadcast()
}

// commit makes the verified bytes durable and names them in the index.
func (f *fill) commit(ctx context.Context, w blob.Writer, facts facts) error {
	c, rev, name := f.c, f.key.rev, f.key.name
	var info conan.FileInfo
	err := w.Commit(ctx, func(s blob.Sums) error {
		info = index.FileInfo(name, s)
		return c.o.Index.PutRevision(ctx, c.o.Member, rev, index.PutOptions{
			Time: c.publication(ctx, rev, facts.manifest), Info: facts.info, Files: []conan.FileInfo{info},
		})
	})
	if err != nil {
		return fmt.Errorf("store %s of %s: %w", name, rev, err)
	}
	if conan.IsMetadata(name) {
		store(ctx, c, bytesQuestion(rev, name), document[string]{Value: info.SHA256, Fetched: c.o.Now().UTC()}, func() {})
		c.o.Budget.DeleteUnused(ctx) // what these bytes replaced
	}
	return nil
}

// publication is the time of a revision: what upstream listed, else what was stored before, else what the manifest
// says, else now.
func (c *Cache) publication(ctx context.Context, rev conan.Revision, m *conan.Manifest) time.Time {
	if doc, err := load(ctx, c, c.listQuestion(rev)); err == nil && doc != nil {
		for _, r := range doc.Value {
			if r.ID == rev.ID() {
				return r.Time
			}
		}
	}
	if held, err := c.held(ctx, rev); err == nil && held != nil {
		return held.Time
	}
	if m != nil && m.Time > 0 {
		return time.Unix(m.Time, 0).UTC()
	}
	return c.o.Now().UTC()
}
