package space

import (
	"context"
	"sync"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// uses tells which revisions are being read or downloaded. Those are not evicted: bytes that a
// client still reads would stay on the disk, where nothing counts them any more.
type uses struct {
	mu       sync.Mutex
	count    map[memberRevision]int
	evicting map[memberRevision]chan struct{} // closed afterwards
}

// memberRevision is a revision as one member stores it.
type memberRevision struct {
	member index.MemberID
	rev    conan.Revision
}

func newUses() uses {
	return uses{count: make(map[memberRevision]int), evicting: make(map[memberRevision]chan struct{})}
}

// Use keeps a revision of a member from being evicted until the caller calls end, once. It waits
// while the revision is being evicted.
func (b *Budget) Use(ctx context.Context, member index.MemberID, rev conan.Revision) (end func(), err error) {
	r := memberRevision{member, rev}
	if err := b.uses.begin(ctx, r); err != nil {
		return nil, err
	}
	return func() { b.uses.end(r) }, nil
}

// InUse is the number of revisions that are in use.
func (b *Budget) InUse() int {
	b.uses.mu.Lock()
	defer b.uses.mu.Unlock()
	return len(b.uses.count)
}

func (u *uses) begin(ctx context.Context, r memberRevision) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		gone, ok := u.evicting[r]
		if !ok {
			u.count[r]++
			return nil
		}
		if err := u.wait(ctx, gone); err != nil {
			return err
		}
	}
}

// wait is called with u.mu held and returns so.
func (u *uses) wait(ctx context.Context, gone <-chan struct{}) error {
	u.mu.Unlock()
	defer u.mu.Lock()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (u *uses) end(r memberRevision) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count[r]--; u.count[r] == 0 {
		delete(u.count, r)
	}
}

// all are the revisions in use.
func (u *uses) all() map[memberRevision]bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make(map[memberRevision]bool, len(u.count))
	for r := range u.count {
		out[r] = true
	}
	return out
}

// block makes new uses of these revisions wait until the caller calls unblock. It leaves out those
// that are in use by now.
func (u *uses) block(cold []index.Cold) (blocked []index.Cold, unblock func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	gone := make(chan struct{})
	for _, c := range cold {
		r := memberRevision{c.Member.ID, c.Revision}
		if u.count[r] == 0 {
			u.evicting[r] = gone
			blocked = append(blocked, c)
		}
	}
	return blocked, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, c := range blocked {
			delete(u.evicting, memberRevision{c.Member.ID, c.Revision})
		}
		close(gone)
	}
}
