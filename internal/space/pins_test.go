package space

import (
	"context"
	"math"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

func TestWhatIsPinnedIsNotEvicted(t *testing.T) {
	ctx := context.Background()
	b := newBench(t, func(q *Options) { q.MaxSize = 1000 })
	pinned := b.put(t, "center", 1, 600, time.Unix(1, 0))
	b.put(t, "center", 2, 300, time.Unix(2, 0))
	change := func(f func(context.Context, index.MemberID, []conan.Revision, string, index.Audit, time.Time, bool) ([]conan.Moved, error)) {
		t.Helper()
		if _, err := f(ctx, b.members["center"], []conan.Revision{pinned}, "ann", index.Audit{}, time.Now(), false); err != nil {
			t.Fatal(err)
		}
	}
	pin := func(ctx context.Context, m index.MemberID, revs []conan.Revision, owner string, audit index.Audit, now time.Time, dry bool) ([]conan.Moved, error) {
		return b.index.Pin(ctx, m, revs, owner, audit, now, dry, nil)
	}
	change(pin)
	room, err := b.budget.PinRoom(ctx)
	if want := (PinRoom{Pinned: 600, Most: 800, MaxSize: 1000}); err != nil || room != want {
		t.Errorf("room %+v, %v; want %+v", room, err, want)
	}
	if _, ok := b.lease(ctx, 500); ok || !b.left(t, "center")["2.0"] {
		t.Errorf("room that is pinned was leased: %v, or something was evicted although that could not help: %v", ok, b.left(t, "center"))
	}
	release, ok := b.lease(ctx, 400)
	if !ok || !b.left(t, "center")["1.0"] {
		t.Errorf("leased: %v, left %v", ok, b.left(t, "center"))
	}
	release()
	change(b.index.Unpin)
	if release, ok = b.lease(ctx, 1000); !ok {
		t.Error("what has no pin any more was not evicted")
	}
	release()
	b.budget.SetBounds(0, 0)
	if room, err := b.budget.PinRoom(ctx); err != nil || room.Most != math.MaxInt64 {
		t.Errorf("room without a bound: %+v, %v", room, err)
	}
}

// All pins are read only where that decides something: not by a sweep, and not if the coldest
// revisions are enough.
func TestPinsAreCountedSeldom(t *testing.T) {
	ctx := context.Background()
	metrics := NewMetrics(nil)
	b := newBench(t, func(q *Options) { q.MaxSize, q.Metrics = 1000, metrics })
	pinned := b.put(t, "center", 1, 500, time.Unix(1, 0))
	b.put(t, "center", 2, 200, time.Unix(2, 0))
	b.put(t, "center", 3, 200, time.Unix(3, 0))
	if _, err := b.index.Pin(ctx, b.members["center"], []conan.Revision{pinned}, "ann", index.Audit{}, time.Now(), false, nil); err != nil {
		t.Fatal(err)
	}
	counted := func() float64 {
		var m dto.Metric
		if err := metrics.pinned.Write(&m); err != nil {
			t.Fatal(err)
		}
		return m.GetGauge().GetValue()
	}
	b.budget.sweep(ctx)
	release, ok := b.lease(ctx, 200)
	if left := b.left(t, "center"); !ok || left["2.0"] || !left["3.0"] || counted() != 0 {
		t.Errorf("leased: %v, left %v, %g pinned bytes were counted", ok, left, counted())
	}
	release()
	if _, ok := b.lease(ctx, 501); ok || counted() != 500 {
		t.Errorf("leased: %v, %g pinned bytes were counted", ok, counted())
	}
}
