package conan

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
)

// Checks bounds the memory and the work of all checks of archives and manifests together, since
// both come from outside. Small checks share a fixed number of bytes. One that needs more than is
// left, or whose archive unpacks out of proportion, waits until it is the only large one. It is
// safe for concurrent use.
type Checks struct {
	left  atomic.Int64  // bytes of the shared ones
	large chan struct{} // holds a value while a large check is under way
}

// sharedMemory is what all small checks may take together.
const sharedMemory = 32 << 20

// errLarge ends a check that may not wait until it is the only large one.
var errLarge = errors.New("the check needs more memory than is left")

// NewChecks makes the bounds. A process has one.
func NewChecks() *Checks {
	c := &Checks{large: make(chan struct{}, 1)}
	c.left.Store(sharedMemory)
	return c
}

// Check is one check under way: of one archive, or of a manifest and the archives of its revision.
// It belongs to one goroutine. What it returns is to be dropped before End.
type Check struct {
	checks *Checks
	ctx    context.Context // of the waiting; nil does not wait
	taken  int64
	large  bool
}

// Begin starts a check. It waits as long as ctx lasts where it has to.
func (c *Checks) Begin(ctx context.Context) *Check { return &Check{checks: c, ctx: ctx} }

// End gives everything back. It may be called more than once.
func (c *Check) End() {
	c.giveBack()
	if c.large {
		<-c.checks.large
		c.large = false
	}
}

func (c *Check) giveBack() {
	c.checks.left.Add(c.taken)
	c.taken = 0
}

// need takes n bytes more.
func (c *Check) need(n int64) error {
	if c.large {
		return nil
	}
	if c.checks.left.Add(-n) >= 0 {
		c.taken += n
		return nil
	}
	c.checks.left.Add(n)
	return c.grow()
}

// grow makes the check the only large one.
func (c *Check) grow() error {
	if c.large {
		return nil
	}
	if c.ctx == nil {
		return errLarge
	}
	select {
	case c.checks.large <- struct{}{}:
		c.large = true
		c.giveBack()
		runtime.GC() // what the large check before it took must be free before this one takes as much
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}
