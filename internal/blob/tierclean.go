package blob

import (
	"cmp"
	"context"
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
// objects older than that without a row or whose blob the index does not know, and those that were
// set aside after 30 days, unless they are intact and wanted.
func (t *Tiered) Clean(ctx context.Context, now time.Time) error {
	before, aside := now.Add(-unnamedFor), now.Add(-asideFor)
	if err := t.takeBackLost(ctx, aside); err != nil {
		t.log.Warn("objects that were set aside could not be read again, so all of them are kept", zap.Error(err))
		aside = time.Time{}
	}
	if err := t.keys.RetireObjects(ctx, before, aside); err != nil {
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

// takeBackLost reads the objects again that were set aside before a time and have no successor. It
// goes on after an error and returns the first.
func (t *Tiered) takeBackLost(ctx context.Context, before time.Time) error {
	lost, failed := t.keys.LostBlobs(ctx, before)
	for _, d := range lost {
		if _, err := t.TakeBack(ctx, d); err != nil {
			failed = cmp.Or(failed, err)
		}
	}
	return failed
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
