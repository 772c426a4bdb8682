package space

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

const (
	// The sweep begins above highWater percent of MaxSize and evicts down to lowWater.
	highWater = 95
	lowWater  = 90
)

// Run sweeps until ctx ends: it writes the times of last use, evicts what exceeds the bounds, and
// deletes the blobs that no index entry refers to. It returns when the last times of use are
// written.
func (b *Budget) Run(ctx context.Context) {
	t := time.NewTicker(b.o.SweepEvery)
	defer t.Stop()
	b.countPinned(ctx)
	for ctx.Err() == nil {
		b.sweep(ctx)
		select {
		case <-t.C:
			b.countPinned(ctx) // not after each kick: it reads all pins
		case <-b.kick:
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	b.log("the times of last use could not be written", b.writeTouched(last))
}

func (b *Budget) sweep(ctx context.Context) {
	b.log("the times of last use could not be written", b.writeTouched(ctx))
	b.log("unused blobs could not be deleted", b.DeleteUnused(ctx))
	b.log("the sums of bytes could not be written", b.o.Index.FoldBytes(ctx))
	u, err := b.usage(ctx)
	if err != nil {
		b.log("the usage of the disk could not be read", err)
		return
	}
	if overFree(u) <= 0 && !aboveHighWater(u) {
		return
	}
	for {
		ok, err := b.evict(ctx, overLow, false)
		if err != nil || !ok {
			b.log("eviction failed", err)
			return
		}
		if u, err = b.usage(ctx); err != nil || overLow(u) <= 0 {
			b.log("the usage of the disk could not be read", err)
			return
		}
	}
}

func (b *Budget) countPinned(ctx context.Context) {
	_, err := b.pinnedBytes(ctx)
	b.log("the pinned bytes could not be counted", err)
}

// overLow is by how many bytes there is more than a sweep leaves.
func overLow(u usage) int64 {
	if u.maxSize <= 0 {
		return overFree(u)
	}
	return max(overFree(u), u.size-u.maxSize/100*lowWater)
}

func aboveHighWater(u usage) bool { return u.maxSize > 0 && u.size > u.maxSize/100*highWater }

func (b *Budget) log(message string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		b.o.Log.Error(message, zap.Error(err))
	}
}

// writeTouched writes the noted times of last use to the index.
func (b *Budget) writeTouched(ctx context.Context) error {
	b.mu.Lock()
	touched := b.touched
	b.touched = make(map[int64]time.Time)
	b.mu.Unlock()
	if len(touched) == 0 {
		return nil
	}
	err := b.o.Index.Touch(ctx, touched)
	if err == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, t := range touched {
		if _, again := b.touched[id]; !again {
			b.touched[id] = t
		}
	}
	return err
}
