package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// unnamedFor is how long an upload may stay pending, and an object without a row is kept.
	unnamedFor = 24 * time.Hour
	// asideFor is how long a damaged object is kept.
	asideFor = 30 * 24 * time.Hour
	// listEvery is how often the bucket is compared with the rows.
	listEvery = 7 * 24 * time.Hour
)

// Run bounds the tier, removes objects that no row wants, and compares the bucket with the rows
// once a week, until ctx ends.
func (t *Tiered) Run(ctx context.Context) {
	const every = time.Minute
	timer := time.NewTicker(every)
	defer timer.Stop()
	t.logFailure(ctx, "the disk tier could not be measured", t.measure(ctx))
	for ctx.Err() == nil {
		t.logFailure(ctx, "the disk tier could not be trimmed", t.trimIfFull(ctx))
		t.logFailure(ctx, "objects could not be removed from the bucket", t.RemoveDead(ctx))
		t.logFailure(ctx, "the bucket could not be listed", t.cleanIfDue(ctx))
		select {
		case <-timer.C:
		case <-t.kick:
		case <-ctx.Done():
		}
	}
}

func (t *Tiered) logFailure(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		t.log.Warn(what, zap.Error(err))
	}
}

func (t *Tiered) kickRun() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// grew counts what a writer stored in the tier.
func (t *Tiered) grew(w *diskWriter) {
	if w.kept && t.used.Add(w.size) > t.max.Load() {
		t.kickRun()
	}
}

// measure counts the bytes that an earlier process left in the tier, once.
func (t *Tiered) measure(ctx context.Context) error {
	t.measuring.Lock()
	defer t.measuring.Unlock()
	if t.measured {
		return nil
	}
	var sum int64
	if err := t.disk.Walk(ctx, func(_ Digest, size int64) error { sum += size; return nil }); err != nil {
		return err
	}
	t.measured = true
	t.metrics.stored.Set(float64(t.used.Add(sum)))
	return nil
}

// trimIfFull removes the copies that were unused longest, until the tier keeps its bounds with a
// tenth to spare.
func (t *Tiered) trimIfFull(ctx context.Context) error {
	free, err := t.disk.Free(ctx)
	if err != nil {
		return err
	}
	bound := t.max.Load()
	lacking := t.minFree.Load() - free
	if t.used.Load() <= bound && lacking <= 0 {
		t.metrics.stored.Set(float64(t.used.Load()))
		return nil
	}
	copies, used, err := t.copies(ctx)
	if err != nil {
		return err
	}
	excess := used - bound
	if excess > 0 {
		excess += bound / 10
	}
	freed, err := t.removeOldest(ctx, copies, max(excess, lacking))
	t.used.Store(used - freed)
	t.metrics.stored.Set(float64(used - freed))
	t.metrics.trimmed.Add(float64(freed))
	return err
}

// tierCopy is a file of the tier.
type tierCopy struct {
	used time.Time
	size int64
}

// copies lists what the tier has, without names: those of millions would take much memory.
func (t *Tiered) copies(ctx context.Context) (list []tierCopy, bytes int64, err error) {
	err = t.eachCopy(ctx, func(_ string, c tierCopy) error {
		list = append(list, c)
		bytes += c.size
		return nil
	})
	return list, bytes, err
}

func (t *Tiered) eachCopy(ctx context.Context, fn func(path string, c tierCopy) error) error {
	return t.disk.Walk(ctx, func(d Digest, size int64) error {
		path := t.disk.path(d)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look at the disk tier: %w", err)
		}
		return fn(path, tierCopy{used: info.ModTime(), size: size})
	})
}

// removeOldest removes the oldest of the copies, at least so many bytes of them or all. Files that
// are open keep their bytes.
func (t *Tiered) removeOldest(ctx context.Context, copies []tierCopy, bytes int64) (freed int64, err error) {
	slices.SortFunc(copies, func(a, b tierCopy) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.size, b.size)) })
	var last time.Time // use of the youngest copy that goes
	sum := int64(0)
	for _, c := range copies {
		if sum >= bytes {
			break
		}
		sum += c.size
		last = c.used
	}
	err = t.eachCopy(ctx, func(path string, c tierCopy) error {
		if freed >= bytes || c.used.After(last) {
			return nil
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("trim %s: %w", filepath.Dir(path), err)
		}
		freed += c.size
		return nil
	})
	return freed, err
}

// RemoveDead removes dead objects from the bucket, and then their rows.
func (t *Tiered) RemoveDead(ctx context.Context) error {
	const batch = 500
	for {
		keys, err := t.keys.DeadObjects(ctx, batch)
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := t.objects.Remove(ctx, keys); err != nil {
			return err
		}
		if err := t.keys.ForgetObjects(ctx, keys); err != nil {
			return err
		}
	}
}

func (t *Tiered) cleanIfDue(ctx context.Context) error {
	last, err := t.keys.ObjectsListed(ctx)
	if err != nil || time.Since(last) < listEvery {
		return err
	}
	return t.Clean(ctx, time.Now())
}

// Clean compares the bucket with the rows. It removes uploads that did not end within a day,
// objects older than that without a row or whose blob the index does not know, and damaged ones after 30
// days.
func (t *Tiered) Clean(ctx context.Context, now time.Time) error {
	before := now.Add(-unnamedFor)
	if err := t.keys.RetireObjects(ctx, before, now.Add(-asideFor)); err != nil {
		return err
	}
	if err := t.keys.GiveUpUnnamedObjects(ctx, before); err != nil {
		return err
	}
	if err := t.removeUnknown(ctx, before); err != nil {
		return err
	}
	if err := t.objects.RemoveUnfinished(ctx, before); err != nil {
		return err
	}
	if err := t.RemoveDead(ctx); err != nil {
		return err
	}
	return t.keys.SetObjectsListed(ctx, now)
}

// removeUnknown removes objects without a row that were uploaded before a time.
func (t *Tiered) removeUnknown(ctx context.Context, before time.Time) error {
	return t.eachBatch(ctx, func(listed []listedObject) error {
		var old []string
		for _, o := range listed {
			if o.uploaded.Before(before) && o.Digest.Valid() { // another prefix may begin with ours
				old = append(old, o.Key)
			}
		}
		unknown, err := t.keys.UnknownObjects(ctx, old)
		if err != nil || len(unknown) == 0 {
			return err
		}
		t.log.Warn("objects without a row are removed from the bucket", zap.Int("objects", len(unknown)), zap.String("first", unknown[0]))
		return t.objects.Remove(ctx, unknown)
	})
}

// Adopt makes rows for the objects of the bucket, after its rows were lost.
func (t *Tiered) Adopt(ctx context.Context) error {
	return t.eachBatch(ctx, func(listed []listedObject) error {
		var objects []Object
		for _, o := range listed {
			if o.Digest.Valid() {
				objects = append(objects, o.Object)
			}
		}
		return t.keys.AdoptObjects(ctx, objects)
	})
}

// listedObject is an object as the bucket lists it.
type listedObject struct {
	Object
	uploaded time.Time
}

func (t *Tiered) eachBatch(ctx context.Context, fn func([]listedObject) error) error {
	const most = 1000
	var batch []listedObject
	err := t.objects.List(ctx, func(key string, size int64, uploaded time.Time) error {
		batch = append(batch, listedObject{Object{Key: key, Digest: digestOf(key), Size: size}, uploaded})
		if len(batch) < most {
			return nil
		}
		err := fn(batch)
		batch = batch[:0]
		return err
	})
	if err != nil {
		return err
	}
	return fn(batch)
}
