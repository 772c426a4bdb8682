package blobtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"conanproxy/internal/blob"
)

// rows stands for an index that names one blob or not. Calls of record may overlap each other; a
// call of named overlaps none, of either kind.
type rows struct {
	calls sync.RWMutex // tried, never waited for: the store keeps the rule
	named atomic.Bool
}

var errOverlap = errors.New("named is called beside another call for the same digest")

// record stands for record of Commit and Keep: rows take their time.
func (r *rows) record() error {
	if !r.calls.TryRLock() {
		return errOverlap
	}
	defer r.calls.RUnlock()
	runtime.Gosched()
	r.named.Store(true)
	return nil
}

// ask stands for named of Delete.
func (r *rows) ask() (bool, error) {
	if !r.calls.TryLock() {
		return false, errOverlap
	}
	defer r.calls.Unlock()
	runtime.Gosched()
	return r.named.Load(), nil
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
			return errors.Join(r.record(), check())
		})
	}
	keep := func() error {
		err := s.Keep(ctx, d, func() error {
			return errors.Join(r.record(), check())
		})
		if errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		return err
	}
	remove := func() error {
		r.named.Store(false)
		_, err := s.Delete(ctx, d, r.ask)
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
	if r.named.Load() && err != nil {
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
