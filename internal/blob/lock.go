package blob

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// locks has one lock per digest that is in use: exclusive, or shared. The zero value is ready.
type locks struct {
	mu   sync.Mutex
	used map[Digest]*digestLock
}

// exclusive is the weight of an exclusive lock; a shared one has 1.
const exclusive = 1 << 30

type digestLock struct {
	weight *semaphore.Weighted
	users  int // goroutines that hold it or wait for it; guarded by locks.mu
}

// hold is a lock that was taken.
type hold struct {
	locks  *locks
	digest Digest
	lock   *digestLock
	weight int64
}

// lock takes the lock of d exclusively, unless ctx ends before.
func (l *locks) lock(ctx context.Context, d Digest) (*hold, error) { return l.take(ctx, d, exclusive) }

// shared takes the lock of d beside others that share it, unless ctx ends before.
func (l *locks) shared(ctx context.Context, d Digest) (*hold, error) { return l.take(ctx, d, 1) }

func (l *locks) take(ctx context.Context, d Digest, weight int64) (*hold, error) {
	h := &hold{locks: l, digest: d, lock: l.use(d), weight: weight}
	if err := h.lock.weight.Acquire(ctx, weight); err != nil {
		l.release(d)
		return nil, err
	}
	return h, nil
}

// share makes an exclusive lock a shared one.
func (h *hold) share() {
	h.lock.weight.Release(h.weight - 1)
	h.weight = 1
}

func (h *hold) unlock() {
	h.lock.weight.Release(h.weight)
	h.locks.release(h.digest)
}

func (l *locks) use(d Digest) *digestLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used == nil {
		l.used = map[Digest]*digestLock{}
	}
	lock := l.used[d]
	if lock == nil {
		lock = &digestLock{weight: semaphore.NewWeighted(exclusive)}
		l.used[d] = lock
	}
	lock.users++
	return lock
}

func (l *locks) release(d Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.used[d]
	lock.users--
	if lock.users == 0 {
		delete(l.used, d)
	}
}
