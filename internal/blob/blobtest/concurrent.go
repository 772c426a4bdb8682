package blobtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"conanproxy/internal/blob"
)

// rows stands for an index that names one blob or not. Calls of record and named must not overlap.
type rows struct {
	inside atomic.Int32
	mu     sync.Mutex
	named  bool
}

func (r *rows) change(fn func()) error {
	if r.inside.Add(1) != 1 {
		return errors.New("two calls for one digest overlap")
	}
	defer r.inside.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
	return nil
}

// testOneDigestConcurrently has many commit, keep, un-name and delete one blob: at no time may a
// row name a blob that is not there.
func testOneDigestConcurrently(t *testing.T, s blob.Store) {
	const rounds = 100
	ctx := t.Context()
	b := Content(9, 4000)
	d := SumsOf(b).SHA256
	var r rows

	check := func() error {
		if _, err := s.Stat(ctx, d); err != nil {
			return fmt.Errorf("a named blob is gone: %w", err)
		}
		return nil
	}
	commit := func() error {
		w, err := s.Create(ctx)
		if err != nil {
			return err
		}
		defer w.Abort()
		if _, err := w.Write(b); err != nil {
			return err
		}
		return w.Commit(ctx, func(blob.Sums) error {
			return errors.Join(r.change(func() { r.named = true }), check())
		})
	}
	keep := func() error {
		err := s.Keep(ctx, d, func() error {
			return errors.Join(r.change(func() { r.named = true }), check())
		})
		if errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		return err
	}
	remove := func() error {
		r.mu.Lock()
		r.named = false
		r.mu.Unlock()
		_, err := s.Delete(ctx, d, func() (named bool, err error) {
			err = r.change(func() { named = r.named })
			return named, err
		})
		return err
	}
	open := func() error {
		f, err := s.Open(ctx, d)
		if errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := io.Copy(io.Discard, f)
		if n != int64(len(b)) {
			return fmt.Errorf("a stored blob has %d of %d bytes: %w", n, len(b), err)
		}
		return err
	}

	together(t, rounds, commit, commit, keep, remove, remove, open)

	_, err := s.Stat(ctx, d)
	if r.named && err != nil {
		t.Errorf("the blob is named and gone: %v", err)
	}
}

// testManyDigestsConcurrently has several commit overlapping sets of blobs.
func testManyDigestsConcurrently(t *testing.T, s blob.Store) {
	const blobs = 60
	var next [3]atomic.Uint64
	writer := func(i int) func() error {
		return func() error {
			seed := next[i].Add(1) % blobs
			return put(t.Context(), s, Content(seed, int(seed)*100))
		}
	}
	together(t, blobs, writer(0), writer(1), writer(2))
	if got := len(walk(t, s)); got != blobs {
		t.Errorf("%d blobs are stored, want %d", got, blobs)
	}
}

func put(ctx context.Context, s blob.Store, b []byte) error {
	w, err := s.Create(ctx)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Commit(ctx, nil)
}

// together runs each function rounds times, all of them side by side.
func together(t *testing.T, rounds int, fns ...func() error) {
	t.Helper()
	var wg sync.WaitGroup
	for _, fn := range fns {
		wg.Go(func() {
			for range rounds {
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
