package blob

import (
	"context"
	"sync"
)

// locks are one lock per digest that somebody holds or waits for. The zero value is ready.
type locks struct {
	mu   sync.Mutex
	used map[Digest]*digestLock
}

type digestLock struct {
	token chan struct{} // holds one value while the lock is held
	users int           // who hold it or wait for it; guarded by locks.mu
}

// lock waits for the lock of d, or until ctx is done.
func (l *locks) lock(ctx context.Context, d Digest) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	lock := l.join(d)
	select {
	case lock.token <- struct{}{}:
		return func() { <-lock.token; l.leave(d) }, nil
	case <-ctx.Done():
		l.leave(d)
		return nil, ctx.Err()
	}
}

func (l *locks) join(d Digest) *digestLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used == nil {
		l.used = map[Digest]*digestLock{}
	}
	lock := l.used[d]
	if lock == nil {
		lock = &digestLock{token: make(chan struct{}, 1)}
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
