package blob

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// locks are one lock per digest that somebody holds or waits for, alone or with others. The zero value is ready.
type locks struct {
	mu   sync.Mutex
	used map[Digest]*digestLock
}

// alone is the weight of a holder who shares with nobody.
const alone = 1 << 30

type digestLock struct {
	weight *semaphore.Weighted
	users  int // who hold it or wait for it; guarded by locks.mu
}

// hold is a lock that was taken.
type hold struct {
	locks  *locks
	digest Digest
	lock   *digestLock
	weight int64
}

// lock waits until nobody else holds the lock of d, or until ctx is done.
func (l *locks) lock(ctx context.Context, d Digest) (*hold, error) { return l.take(ctx, d, alone) }

// shared waits until nobody holds the lock of d alone, or until ctx is done.
func (l *locks) shared(ctx context.Context, d Digest) (*hold, error) { return l.take(ctx, d, 1) }

func (l *locks) take(ctx context.Context, d Digest, weight int64) (*hold, error) {
	h := &hold{locks: l, digest: d, lock: l.join(d), weight: weight}
	if err := h.lock.weight.Acquire(ctx, weight); err != nil {
		l.leave(d)
		return nil, err
	}
	return h, nil
}

// share lets others in who share.
func (h *hold) share() {
	h.lock.weight.Release(h.weight - 1)
	h.weight = 1
}

func (h *hold) unlock() {
	h.lock.weight.Release(h.weight)
	h.locks.leave(h.digest)
}

func (l *locks) join(d Digest) *digestLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used == nil {
		l.used = map[Digest]*digestLock{}
	}
	lock := l.used[d]
	if lock == nil {
		lock = &digestLock{weight: semaphore.NewWeighted(alone)}
		l.used[d] = lock
	}
	lock.users++
	return lock
}

func (l *locks) leave(d Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.used[d]
	lock.users--
	if lock.users == 0 {
		delete(l.used, d)
	}
}
