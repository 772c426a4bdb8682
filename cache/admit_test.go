package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"conanproxy/internal/conan"
)

// Uploads at the same time are never promised the same room, and what they wrote is not counted twice.
func TestAdmit(t *testing.T) {
	ctx := context.Background()
	b := newLimited(t, 0)
	defer b.end(t)
	var admitted atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	var held []*Admission
	for range 50 {
		wg.Go(func() {
			a, err := b.quota.Admit(ctx, 100)
			if err != nil {
				if !errors.Is(err, conan.ErrNoSpace) {
					t.Errorf("Admit: %v", err)
				}
				return
			}
			admitted.Add(1)
			mu.Lock()
			defer mu.Unlock()
			held = append(held, a)
		})
	}
	wg.Wait()
	if n := admitted.Load(); n > 8 {
		t.Errorf("%d uploads of 100 bytes were admitted where 800 are free", n)
	}
	for _, a := range held {
		a.Release()
		a.Release()
	}

	a, err := b.quota.Admit(ctx, 800)
	if err != nil {
		t.Fatalf("Admit(800) after all were released: %v", err)
	}
	if err := a.Grow(ctx, 1); !errors.Is(err, conan.ErrNoSpace) {
		t.Errorf("Grow beyond the limit: %v", err)
	}
	a.Wrote(800)
	if got := b.quota.promised.unwritten(4096); got != 4096 {
		t.Errorf("%d bytes are promised still, though all are written but for the end of a block", got)
	}
	a.Release()
	if _, err := b.quota.Admit(ctx, 1000); !errors.Is(err, conan.ErrNoSpace) {
		t.Errorf("Admit(1000): %v", err)
	}
	if got := b.quota.promised; got != (promised{}) {
		t.Errorf("%+v is left of released and refused promises", got)
	}
}

// The medium gives whole blocks: each file under way may need one more than its bytes tell.
func TestBlocks(t *testing.T) {
	ctx := context.Background()
	b := newLimited(t, 100)
	defer b.end(t)
	if _, err := b.quota.Admit(ctx, 701); !errors.Is(err, conan.ErrNoSpace) {
		t.Errorf("an upload of 701 bytes and a block: %v", err)
	}
	a, err := b.quota.Admit(ctx, 500)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := b.quota.Reserve(ctx, 101); ok {
		t.Error("a fill of 101 bytes and a block found room beside 500 and a block")
	}
	release, ok := b.quota.Reserve(ctx, 100)
	if !ok {
		t.Error("a fill of 100 bytes and a block found no room beside 500 and a block")
	}
	release()
	a.Release()
}
