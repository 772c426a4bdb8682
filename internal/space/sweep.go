package space

import (
	"context"
	"time"
)

const (
	// The sweeper begins above highWater percent of MaxSize and evicts down to lowWater.
	highWater = 95
	lowWater  = 90
	// batch bounds how much one transaction removes.
	batch = 500
)

// Run sweeps until ctx ends: it writes the times of last use, evicts what exceeds the bounds, and deletes blobs that no
// row names. It returns when the last times of use are written.
func (b *Budget) Run(ctx context.Context) {
	t := time.NewTicker(b.o.SweepEvery)
	defer t.Stop()
	for ctx.Err() == nil {
		b.sweep(ctx)
		select {
		case <-t.C:
		case <-b.kick:
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	b.log("the times of last use could not be written", b.flush(last))
}

func (b *Budget) sweep(ctx context.Context) {
	b.log("the times of last use could not be written", b.flush(ctx))
	b.DeleteGarbage(ctx)
	b.log("the used space could not be summed up", b.o.Index.FoldCachedBytes(ctx))
	u, err := b.usage(ctx)
	if err != nil {
		b.log("the used space cannot be read", err)
		return
	}
	if b.o.MinFree <= u.free && (b.o.MaxSize <= 0 || u.size <= b.o.MaxSize/100*highWater) {
		return
	}
	for {
		ok, err := b.evict(ctx, b.overLow)
		if err != nil || !ok {
			b.log("eviction failed", err)
			return
		}
		if u, err = b.usage(ctx); err != nil || b.overLow(u) <= 0 {
			b.log("the used space cannot be read", err)
			return
		}
	}
}

// overLow is by how many bytes there is more than the sweeper leaves.
func (b *Budget) overLow(u usage) int64 {
	over := b.o.MinFree - u.free
	if b.o.MaxSize > 0 {
		over = max(over, u.size-b.o.MaxSize/100*lowWater)
	}
	return over
}

// flush writes the noted times of last use to the index.
func (b *Budget) flush(ctx context.Context) error {
	b.mu.Lock()
	used := b.used
	b.used = make(map[int64]time.Time)
	b.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	err := b.o.Index.Touch(ctx, used)
	if err == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, t := range used {
		if _, again := b.used[id]; !again {
			b.used[id] = t
		}
	}
	return err
}
