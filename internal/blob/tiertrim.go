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
)

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
	before := t.used.Load()
	copies, used, err := t.copies(ctx)
	if err != nil {
		return err
	}
	freed, err := t.removeOldest(ctx, copies, toTrim(used, bound, lacking))
	// What is stored meanwhile is counted beside this, and stays counted.
	t.metrics.stored.Set(float64(t.used.Add(used - freed - before)))
	t.metrics.trimmed.Add(float64(freed))
	return err
}

// toTrim is how many bytes have to go: what exceeds the bound or lacks on the disk, and a tenth of
// the tier to spare, so that the next walk is not soon.
func toTrim(used, bound, lacking int64) int64 {
	over := max(used-bound, lacking)
	if over <= 0 {
		return 0
	}
	return over + min(used, bound)/10
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
