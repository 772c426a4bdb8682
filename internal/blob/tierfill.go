package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"go.uber.org/zap"
)

const (
	// followFrom is the size in bytes from which a blob is read while it arrives; a smaller one is
	// read once it is verified.
	followFrom = 1 << 20
	// heldBack is how much of such a blob is not read before all of it is verified.
	heldBack = 64 << 10
)

// fill copies one object into the tier, for any number of readers.
type fill struct {
	t      *Tiered
	object Object

	mu       sync.Mutex
	moved    chan struct{} // closed and replaced whenever something below changes
	w        *diskWriter   // nil until bytes arrive
	wrote    int64         // bytes that arrived
	verified bool          // all arrived and are right
	ended    bool          // the tier has them, or err says why not
	err      error
	users    int // readers, and the goroutine of the fill until it ends
}

// openFill joins the fill of an object, or starts it, and waits until there is something to read.
// It does not wait until the tier has the blob, since the caller may hold the lock of the digest.
func (t *Tiered) openFill(ctx context.Context, o Object) (Reader, error) {
	f, err := t.join(o)
	if err != nil {
		return nil, err
	}
	ready := func() bool { return f.verified || !f.ended && f.wrote > 0 && o.Size >= followFrom }
	if err := f.wait(ctx, ready); err != nil {
		f.leave()
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.verified {
		return verifiedReader(f), nil
	}
	return &fillReader{f: f}, nil
}

func (t *Tiered) join(o Object) (*fill, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.fills[o.Digest]; f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.users++
		return f, nil
	}
	if t.closed {
		return nil, fmt.Errorf("%w: this server is stopping", ErrUnavailable)
	}
	f := &fill{t: t, object: o, moved: make(chan struct{}), users: 2}
	t.fills[o.Digest] = f
	t.running.Go(f.run)
	return f, nil
}

// leave takes a user away; after the last one the bytes are read from the tier only.
func (f *fill) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users--
	if f.users == 0 && f.w != nil {
		f.w.Close()
	}
}

// change changes the state and tells the readers.
func (f *fill) change(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
	close(f.moved)
	f.moved = make(chan struct{})
}

// wait waits until the fill ended or ready, which is called with f.mu held, says so.
func (f *fill) wait(ctx context.Context, ready func() bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.ended && !ready() {
		if err := f.await(ctx); err != nil {
			return err
		}
	}
	if ready() {
		return nil
	}
	return f.err
}

// await waits for the next change. It is called with f.mu held and returns so.
func (f *fill) await(ctx context.Context) error {
	moved := f.moved
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run is the life of a fill.
func (f *fill) run() {
	defer f.leave()
	err := f.copy(f.t.ctx)
	f.t.mu.Lock()
	delete(f.t.fills, f.object.Digest)
	f.t.mu.Unlock()
	f.change(func() { f.ended, f.err = true, err })
	f.t.metrics.fills.WithLabelValues(resultOf(err)).Inc()
}

// copy gets the object, verifies it and puts it into the tier.
func (f *fill) copy(ctx context.Context) error {
	w, err := f.t.disk.newWriter(ctx)
	if err != nil {
		return f.t.noTier(err)
	}
	defer w.Abort()
	w.ReadAt(nil, 0) // it stays readable for the readers of this fill
	f.mu.Lock()
	f.w = w
	f.mu.Unlock()
	defer func() { f.t.filling.Add(-w.size) }()
	if err := f.receive(ctx, w); err != nil {
		return err
	}
	if sums := w.Sums(); sums.SHA256 != f.object.Digest {
		return f.t.confirm(ctx, f.object)
	}
	f.change(func() { f.verified = true })
	stored := false
	err = w.Commit(ctx, func(Sums) error {
		stored = true
		f.t.grew(w)
		return f.t.keepCopy(context.WithoutCancel(ctx), f.object.Digest)
	})
	if err != nil && !stored {
		return f.t.noTier(err)
	}
	return err
}

// keepCopy removes a new copy again if its blob was deleted while it arrived, or if that cannot be
// told. It is called while the blob cannot be deleted.
func (t *Tiered) keepCopy(ctx context.Context, d Digest) error {
	_, err := t.find(ctx, d)
	if err == nil {
		return nil
	}
	if removeErr := t.removeCopy(d); !errors.Is(removeErr, ErrNotFound) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// receive writes all bytes of the object. A request that breaks off is continued.
func (f *fill) receive(ctx context.Context, w *diskWriter) error {
	const tries = 4
	failed := 0
	for f.wrote < f.object.Size {
		before := f.wrote
		err := f.receiveSome(ctx, w)
		var writing *writeError
		switch {
		case f.wrote > before:
			failed = 0
		case err == nil:
			err = io.ErrUnexpectedEOF
		}
		failed++
		switch {
		case err == nil || f.wrote >= f.object.Size:
			continue
		case errors.As(err, &writing):
			return f.t.noTier(writing.error)
		case errors.Is(err, ErrNotFound):
			return f.t.confirm(ctx, f.object)
		case ctx.Err() != nil, errors.Is(err, ErrUnavailable):
			return fmt.Errorf("read blob %s: %w", f.object.Digest, err)
		case failed == tries:
			return fmt.Errorf("%w: it breaks off its answers", ErrUnavailable)
		}
	}
	return nil
}

// writeError says that the tier, not the bucket, failed.
type writeError struct{ error }

// receiveSome writes what one request brings.
func (f *fill) receiveSome(ctx context.Context, w *diskWriter) error {
	body, err := f.t.objects.Get(ctx, f.object.Key, f.wrote)
	if err != nil {
		return err
	}
	defer body.Close()
	buf := make([]byte, 128<<10)
	for {
		n, err := body.Read(buf[:min(int64(len(buf)), f.object.Size-f.wrote)])
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return &writeError{err}
			}
			f.t.filling.Add(int64(n))
			f.t.metrics.fetched.Add(float64(n))
			f.change(func() { f.wrote += int64(n) })
		}
		if f.wrote == f.object.Size || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// noTier is the error of a fill whose tier takes no bytes.
func (t *Tiered) noTier(err error) error {
	t.log.Error("the disk tier takes no more bytes", zap.Error(err))
	t.kickRun()
	return fmt.Errorf("%w: its copies cannot be stored here", ErrUnavailable)
}

// lost ends that a missing object is the one of its blob, unless another took its place.
func (t *Tiered) lost(ctx context.Context, o Object) error {
	if now, err := t.keys.FindObject(ctx, o.Digest); err != nil || now.Key != o.Key {
		return fmt.Errorf("object of blob %s: %w", o.Digest, cmp.Or(err, ErrNotFound))
	}
	t.log.Error("an object is missing in the bucket", zap.String("key", o.Key), zap.String("blob", string(o.Digest)))
	return t.setAside(ctx, o)
}

// confirm reads an object again that arrived with wrong bytes or was not found. If that is so again
// it is no longer the one of its blob.
func (t *Tiered) confirm(ctx context.Context, o Object) error {
	good, err := t.intactObject(ctx, o, nil)
	switch {
	case errors.Is(err, ErrNotFound):
		return t.lost(ctx, o)
	case err != nil:
		return fmt.Errorf("read blob %s: %w", o.Digest, err)
	case good:
		return fmt.Errorf("%w: it sent wrong bytes, or none", ErrUnavailable)
	}
	t.log.Error("an object in the bucket is damaged", zap.String("key", o.Key), zap.String("blob", string(o.Digest)))
	return t.setAside(ctx, o)
}

func (t *Tiered) setAside(ctx context.Context, o Object) error {
	if err := t.keys.SetObjectAside(ctx, o.Key); err != nil {
		return err
	}
	return fmt.Errorf("object of blob %s: %w", o.Digest, ErrNotFound)
}

// intactObject reads an object and tells whether its bytes have its digest. wait may be nil, else
// it is called with the number of bytes before they are read.
func (t *Tiered) intactObject(ctx context.Context, o Object, wait func(context.Context, int) error) (bool, error) {
	body, err := t.objects.Get(ctx, o.Key, 0)
	if err != nil {
		return false, err
	}
	defer body.Close()
	good, err := hasDigest(body, o.Digest, func(n int) error {
		if wait == nil {
			return ctx.Err()
		}
		return wait(ctx, n)
	})
	if err != nil {
		return false, fmt.Errorf("%w: it broke off its answer", ErrUnavailable)
	}
	return good, nil
}
