package cache

import (
	"context"
	"sync"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// inUse tells which revisions are being read or filled. Those are not evicted: bytes that a client still reads would
// stay on the medium, where nothing counts them any more.
type inUse struct {
	mu     sync.Mutex
	users  map[usedRevision]int
	barred map[usedRevision]chan struct{} // being evicted; closed afterwards
}

// usedRevision is a revision as one member holds it.
type usedRevision struct {
	member string
	rev    conan.Revision
}

func newInUse() inUse {
	return inUse{users: make(map[usedRevision]int), barred: make(map[usedRevision]chan struct{})}
}

// begin waits while the revision is being evicted, and keeps it from that until the caller calls end, once.
func (u *inUse) begin(ctx context.Context, r usedRevision) (end func(), err error) {
	u.mu.Lock()
	for {
		gone, ok := u.barred[r]
		if !ok {
			break
		}
		u.mu.Unlock()
		select {
		case <-gone:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		u.mu.Lock()
	}
	u.users[r]++
	u.mu.Unlock()
	return func() { u.end(r) }, nil
}

func (u *inUse) end(r usedRevision) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users[r]--; u.users[r] == 0 {
		delete(u.users, r)
	}
}

// all are the revisions in use.
func (u *inUse) all() map[usedRevision]bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make(map[usedRevision]bool, len(u.users))
	for r := range u.users {
		out[r] = true
	}
	return out
}

// bar has nobody use these revisions until the caller calls free. Those that are in use by now it leaves out.
func (u *inUse) bar(cold []index.Cold) (barred []index.Cold, free func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	gone := make(chan struct{})
	for _, c := range cold {
		r := usedRevision{c.Member, c.Revision}
		if u.users[r] == 0 {
			u.barred[r] = gone
			barred = append(barred, c)
		}
	}
	return barred, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, c := range barred {
			delete(u.barred, usedRevision{c.Member, c.Revision})
		}
		close(gone)
	}
}
