package space

import (
	"context"
	"sync"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// users tells which revisions are being read or filled. Those are not evicted: bytes that a client still reads would
// stay on the disk, where nothing counts them any more.
type users struct {
	mu     sync.Mutex
	counts map[usedRevision]int
	barred map[usedRevision]chan struct{} // being evicted; closed afterwards
}

// usedRevision is a revision in one member.
type usedRevision struct {
	member index.MemberID
	rev    conan.Revision
}

func newUsers() users {
	return users{counts: make(map[usedRevision]int), barred: make(map[usedRevision]chan struct{})}
}

// Use keeps a cached revision from being evicted until the caller calls end, once. It waits while the revision is being
// evicted.
func (b *Budget) Use(ctx context.Context, member index.MemberID, rev conan.Revision) (end func(), err error) {
	return b.users.begin(ctx, usedRevision{member, rev})
}

// InUse is how many cached revisions are kept from being evicted now.
func (b *Budget) InUse() int { return len(b.users.all()) }

// begin waits while the revision is being evicted, and keeps it from that until the caller calls end, once.
func (u *users) begin(ctx context.Context, r usedRevision) (end func(), err error) {
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
	u.counts[r]++
	u.mu.Unlock()
	return func() { u.end(r) }, nil
}

func (u *users) end(r usedRevision) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.counts[r]--; u.counts[r] == 0 {
		delete(u.counts, r)
	}
}

// all are the revisions in use.
func (u *users) all() map[usedRevision]bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make(map[usedRevision]bool, len(u.counts))
	for r := range u.counts {
		out[r] = true
	}
	return out
}

// bar keeps these revisions from being used until the caller calls free. Those that are in use by now it leaves out.
func (u *users) bar(cold []index.Cold) (barred []index.Cold, free func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	gone := make(chan struct{})
	for _, c := range cold {
		r := usedRevision{c.Member.ID, c.Revision}
		if u.counts[r] == 0 {
			u.barred[r] = gone
			barred = append(barred, c)
		}
	}
	return barred, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, c := range barred {
			delete(u.barred, usedRevision{c.Member.ID, c.Revision})
		}
		close(gone)
	}
}
