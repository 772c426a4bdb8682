package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// tierWriter is the Writer of Tiered. Its bytes lie on the disk until they are in the bucket, and
// then are the copy in the tier.
type tierWriter struct {
	*diskWriter
	t *Tiered
}

// Create implements Store.
func (t *Tiered) Create(ctx context.Context) (Writer, error) {
	w, err := t.disk.newWriter(ctx)
	if err != nil {
		return nil, err
	}
	return &tierWriter{w, t}, nil
}

// Stage implements Writer. Other processes may publish what this one staged, so it is Commit.
func (w *tierWriter) Stage(ctx context.Context, record func(Sums) error) error {
	return w.Commit(ctx, record)
}

// Commit implements Writer.
func (w *tierWriter) Commit(ctx context.Context, record func(Sums) error) error {
	if w.done || w.err != nil {
		return w.diskWriter.Commit(ctx, record) // it says why not
	}
	defer w.Abort()
	sums := w.Sums()
	bytes, err := os.Open(w.file.Name()) // the file is renamed and may be removed before it is sent
	if err != nil {
		return fmt.Errorf("commit blob %s: %w", sums.SHA256, err)
	}
	defer bytes.Close()
	uploaded, err := w.t.uploadNew(ctx, bytes, sums)
	if err == nil {
		err = w.diskWriter.Commit(ctx, nil)
	}
	if err != nil {
		return fmt.Errorf("commit blob %s: %w", sums.SHA256, err)
	}
	w.t.grew(w.diskWriter)
	for {
		err := w.t.name(ctx, uploaded, sums, record)
		if !errors.Is(err, errDropped) {
			return err
		}
		if uploaded, err = w.t.uploadNew(ctx, bytes, sums); err != nil {
			return fmt.Errorf("commit blob %s: %w", sums.SHA256, err)
		}
	}
}

// errDropped says that the object of a blob is not there any more.
var errDropped = errors.New("the object was dropped meanwhile")

// uploadNew uploads a blob unless it has a stored object, and returns the key; empty if it has one.
func (t *Tiered) uploadNew(ctx context.Context, r io.ReaderAt, sums Sums) (key string, err error) {
	if _, err := t.find(ctx, sums.SHA256); !errors.Is(err, ErrNotFound) {
		return "", err
	}
	return t.upload(ctx, r, sums)
}

func (t *Tiered) upload(ctx context.Context, r io.ReaderAt, sums Sums) (key string, err error) {
	o := newObject(sums)
	if err := t.keys.BeginObject(ctx, o); err != nil {
		return "", err
	}
	return o.Key, t.objects.Put(ctx, o.Key, r, sums)
}

// name makes an upload the object of its blob, or finds that it has one, and calls record while the
// blob cannot be deleted.
func (t *Tiered) name(ctx context.Context, uploaded string, sums Sums, record func(Sums) error) error {
	held, err := t.disk.locks.shared(ctx, sums.SHA256)
	if err != nil {
		return err
	}
	defer held.unlock()
	if uploaded != "" {
		err = t.keys.CompleteObject(ctx, uploaded)
	} else if _, err = t.find(ctx, sums.SHA256); errors.Is(err, ErrNotFound) {
		err = errDropped
	}
	if err != nil || record == nil {
		return err
	}
	return record(sums)
}
