package index

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWritesThatShareATransaction lets writes wait behind one that is under way, so that they share the next transaction.
func TestWritesThatShareATransaction(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	add := func(ctx context.Context, tx *transaction, digest string) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO garbage (sha256) VALUES ($1)`, digest)
		return err
	}
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.update(t.Context(), func(ctx context.Context, tx *transaction) error {
			close(entered)
			<-release
			return add(ctx, tx, "first")
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-entered

	failure := errors.New("refused")
	left, cancel := context.WithCancel(t.Context())
	errs := make([]error, 9)
	for i := range errs {
		wg.Go(func() {
			ctx := t.Context()
			if i%4 == 3 {
				ctx = left
			}
			errs[i] = db.update(ctx, func(ctx context.Context, tx *transaction) error {
				if err := add(ctx, tx, fmt.Sprint(i)); err != nil {
					return err
				}
				switch i % 4 {
				case 1:
					return failure
				case 2:
					panic("a fault")
				}
				return nil
			})
		})
	}
	for {
		db.queue.mu.Lock()
		waiting := len(db.queue.waiting)
		db.queue.mu.Unlock()
		if waiting == len(errs) {
			break
		}
	}
	cancel()
	close(release)
	wg.Wait()

	for i, err := range errs {
		switch i % 4 {
		case 0:
			if err != nil {
				t.Errorf("write %d: %v", i, err)
			}
		case 1:
			if !errors.Is(err, failure) {
				t.Errorf("write %d: %v, want its own failure", i, err)
			}
		case 2:
			if err == nil {
				t.Errorf("write %d panicked without an error", i)
			}
		case 3:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("write %d: %v, want that its caller had left", i, err)
			}
		}
	}
	got, err := db.Garbage(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"0", "4", "8", "first"}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
