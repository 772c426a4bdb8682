package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// TestWritesThatShareATransaction lets writes wait behind one that is under way, so that they share
// the next transaction.
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

// A write that is both in the journal and has something to do after its commit does both, also if
// the journal cannot be written.
func TestAfterACommitThatIsJournaled(t *testing.T) {
	ctx := t.Context()
	db, path := journaled(t)
	failure := errors.New("the reload failed")
	publish := func(i int, after error) (calls int, err error) {
		err = db.enqueue(&write{ctx: ctx, durable: true, done: make(chan error, 1),
			fn: func(ctx context.Context, tx *transaction) error {
				return putRevision(ctx, tx, store, testRevision(i), PutOptions{}, noon)
			},
			after: func() error { calls++; return after },
		})
		return calls, err
	}
	calls, err := publish(1, nil)
	failsWith(t, "publish", err, nil)
	same(t, "calls and lines", []int{calls, len(brief(t, path))}, []int{1, 1})
	calls, err = publish(2, failure)
	failsWith(t, "a failing reload", err, failure)
	same(t, "calls and lines", []int{calls, len(brief(t, path))}, []int{1, 2})
	failsWith(t, "close the journal", db.journal.file.Close(), nil)
	calls, err = publish(3, failure)
	failsWith(t, "a failing reload and journal", err, failure)
	failsWith(t, "a failing reload and journal", err, os.ErrClosed)
	same(t, "calls", calls, 1)
	db.journal.file = nil // it is closed
}

// TestWhatIsSynced reads inside each write whether its commit will be synced: 2 is FULL, 1 is
// NORMAL.
func TestWhatIsSynced(t *testing.T) {
	ctx := t.Context()
	db, err := Open(ctx, filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	level := func(into *int) func(context.Context, *transaction) error {
		return func(ctx context.Context, tx *transaction) error {
			return tx.tx.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(into) // a prepared one would answer what it was prepared with
		}
	}
	batch := func(durable ...bool) (got []int) {
		got = make([]int, len(durable))
		var writes []*write
		for i, d := range durable {
			writes = append(writes, &write{ctx: ctx, fn: level(&got[i]), durable: d, done: make(chan error, 1)})
		}
		db.commit(writes)
		for _, w := range writes {
			if err := <-w.done; err != nil {
				t.Error(err)
			}
		}
		return got
	}
	for _, step := range []struct {
		durable []bool
		want    []int
	}{
		{[]bool{true}, []int{2}},
		{[]bool{false}, []int{1}},
		{[]bool{false, false}, []int{1, 1}},
		{[]bool{false, true, false}, []int{2, 2, 2}},
		{[]bool{false}, []int{1}},
		{[]bool{true}, []int{2}},
	} {
		if diff := cmp.Diff(step.want, batch(step.durable...)); diff != "" {
			t.Errorf("writes %v (-want +got):\n%s", step.durable, diff)
		}
	}
}

// TestDurableWrites tells which methods return before the medium has what they wrote: those of
// caches only.
func TestDurableWrites(t *testing.T) {
	ctx := t.Context()
	db, err := Open(ctx, filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	addTestMembers(t, db)
	rev := conan.Revision{Ref: conan.Ref{Name: "zlib", Version: "1.3"}, RRev: "r1"}
	o := PutOptions{Time: time.Now(), Files: []conan.FileInfo{testFile("conanfile.py", 1, 1)}}
	for _, w := range []struct {
		name    string
		write   func() error
		durable bool
	}{
		{"a cache's revision", func() error { return db.PutRevision(ctx, center, rev, o) }, false},
		{"a local revision", func() error { return db.PutRevision(ctx, store, rev, o) }, true},
		{"a document", func() error { return db.PutDocument(ctx, center, "list", "k", Document{Body: []byte("[]")}) }, false},
		{"a removal", func() error { return db.RemoveRevisions(ctx, []int64{1}) }, true},
		{"the end of a document", func() error { return db.DeleteDocuments(ctx, center, "list", "k") }, false},
		{"the end of a blob", func() error { _, err := db.ForgetBlob(ctx, fmt.Sprintf("%064x", 1)); return err }, true},
	} {
		if err := w.write(); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
		if db.queue.unsynced == w.durable {
			t.Errorf("%s: durable is %v, want %v", w.name, !db.queue.unsynced, w.durable)
		}
	}
}
