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
	// queueFor is how long a fill waits for its turn. Clients give up after a minute of silence.
	queueFor = 45 * time.Second
)

var (
	// errNoRoom ends a fill that found no room; its clients get the file passed through.
	errNoRoom = errors.New("no room in the cache")
	// errAlone ends a fill whose clients have all left.
	errAlone = errors.New("every client left")
	// errEvicted is the end of a client that came too late to open what was filled.
	errEvicted = errors.New("evicted before it was opened")
)

// fillKey is what one fill is for.
type fillKey struct {
	rev  conan.Revision
	name string
}

// fill is one download with any number of clients. It runs by itself: clients watch how far it got.
type fill struct {
	c      *Cache
	key    fillKey
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	moved    chan struct{} // closed and replaced whenever something below changes
	watchers int
	alone    *time.Timer // runs while nobody watches
	info     conan.FileInfo
	w        blob.Writer // nil until upstream began to send
	follows  bool        // it is large, and handed out while it arrives
	wrote    int64       // bytes that arrived
	small    []byte      // of them, unless the file is followed or turns out to be as large
	checked  bool        // all of them arrived and are right, info is complete; storing them may take a while
	ended    bool
	err      error  // why it ended; nil: info is complete, and stored
	endUse   func() // when it is done and all clients have left; nil before it is done, and after it was called
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
		c.o.Metrics.fillsInFlight.WithLabelValues(c.o.Member).Inc()
		go f.run(ctx, want)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers++
	if f.alone != nil {
		f.alone.Stop()
		f.alone = nil
	}
	return f, nil
}

// leave takes a client away. The last one ends the fill after a time, unless it is almost done by then.
func (f *fill) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers--
	if f.watchers == 0 && !f.ended && !f.almostDone() {
		f.alone = time.AfterFunc(grace, f.stopIfAlone)
	}
	f.letGo()
}

// letGo gives back what the last client needs. It is called with f.mu held.
func (f *fill) letGo() {
	if f.watchers > 0 || f.endUse == nil {
		return
	}
	if f.w != nil {
		f.w.Close()
	}
	f.endUse()
	f.endUse = nil
}

func (f *fill) stopIfAlone() {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers > 0 || f.ended || f.almostDone() {
		return
	}
	if f.c.fills[f.key] == f {
		delete(f.c.fills, f.key) // who comes now starts anew
	}
	f.cancel(errAlone)
}

// almostDone is called with f.mu held.
func (f *fill) almostDone() bool {
	if f.w == nil || f.info.Size < 0 {
		return false
	}
	left := f.info.Size - f.wrote
	return left < almost || left <= f.wrote
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
	defer c.o.Metrics.fillsInFlight.WithLabelValues(c.o.Member).Dec()
	endUse, err := c.use(ctx, f.key.rev)
	if err != nil {
		f.finish(ctx, err)
		return
	}
	f.finish(ctx, f.guarded(ctx, want))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endUse = endUse
	f.letGo()
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
	if f.ended {
		return false
	}
	if c.fills[f.key] == f {
		delete(c.fills, f.key)
	}
	f.ended = true
	if err != nil {
		f.err = c.readable(err)
	}
	if f.alone != nil {
		f.alone.Stop()
	}
	f.broadcast()
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
	case errors.Is(err, errNoRoom):
		return errNoRoom
	case errors.As(err, &wrong):
		return c.unavailable("it sent wrong bytes: " + wrong.what)
	case errors.Is(err, blob.ErrNoSpace):
		return c.unavailable("there is no room here to store its answer")
	case errors.Is(err, errAlone), errors.Is(err, context.Canceled):
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
	case errors.Is(err, errNoRoom):
		result = fillPassed
		log.Warn("no room to store a download")
	case errors.Is(err, errAlone):
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
	f.c.o.Metrics.fills.WithLabelValues(f.c.o.Member, result).Inc()
}

// do downloads, verifies and stores the file.
func (f *fill) do(ctx context.Context, want conan.FileInfo) error {
	c, rev := f.c, f.key.rev
	if held, err := f.heldMeanwhile(ctx); err != nil || held {
		return err
	}
	in, err := c.receive(ctx, rev, want)
	if err != nil {
		return err
	}
	defer in.close()

	room, ok := c.o.Quota.reserve(ctx, max(in.want.Size, 0))
	if !ok {
		return errNoRoom
	}
	defer room.release()
	w, err := c.o.Blobs.Create(ctx)
	if errors.Is(err, blob.ErrNoSpace) {
		return errNoRoom
	}
	if err != nil {
		return err
	}
	defer w.Abort()

	err = f.through(ctx, w, in, room)
	f.finish(ctx, err) // before the writer goes, so that nobody begins to follow it
	return err
}

// through has all bytes arrive, verified and stored.
func (f *fill) through(ctx context.Context, w blob.Writer, in *incoming, room *reservation) error {
	f.begin(w, in.want)
	if err := f.copy(ctx, w, in, room); err != nil {
		return err
	}
	sums := w.Sums()
	facts, err := in.check.finish(sums, io.NewSectionReader(w, 0, sums.Size))
	if err != nil {
		return err
	}
	f.right(sums)
	return f.commit(context.WithoutCancel(ctx), w, facts)
}

// right tells the clients that all bytes are there and verified.
func (f *fill) right(s blob.Sums) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info, f.checked = f.infoOf(s), true
	f.broadcast()
}

func (f *fill) infoOf(s blob.Sums) conan.FileInfo {
	return conan.FileInfo{Name: f.key.name, Size: s.Size, MD5: s.MD5, SHA1: s.SHA1, SHA256: string(s.SHA256)}
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
	f.w, f.info, f.follows = w, info, info.Size >= followFrom
	f.broadcast()
}

// copy writes all that upstream sends, and shows how far it got.
func (f *fill) copy(ctx context.Context, w blob.Writer, in *incoming, room *reservation) error {
	const growth = 16 << 20
	bytes := f.c.o.Metrics.fillBytes.WithLabelValues(f.c.o.Member)
	buf := make([]byte, 128<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if !room.covers(int64(n)) && !room.grow(ctx, growth) {
				return errNoRoom
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return fmt.Errorf("store %s of %s: %w", f.key.name, f.key.rev, err)
			}
			room.wrote(int64(n))
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
	if !f.follows && f.wrote < followFrom {
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
		info = f.infoOf(s)
		return c.o.Index.PutRevision(ctx, c.o.Member, rev, index.PutOptions{
			Time: c.publication(ctx, rev, facts.manifest), Info: facts.info, Files: []conan.FileInfo{info},
		})
	})
	if err != nil {
		return fmt.Errorf("store %s of %s: %w", name, rev, err)
	}
	c.forgetHeld(rev)
	if conan.IsMetadata(name) {
		store(ctx, c, bytesQuestion(rev, name), document[string]{Value: info.SHA256, Fetched: c.o.Now().UTC()}, func() {})
		c.o.Quota.log("garbage could not be unlinked", c.o.Quota.alone(ctx, c.o.Quota.unlink)) // what these bytes replaced
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
