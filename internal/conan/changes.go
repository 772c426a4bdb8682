package conan

import (
	"hash/maphash"
	"sync/atomic"
)

// Changes counts what changed about references, so that what was read before a change is not taken for true after it. A
// counter is shared by references of one hash. The zero value is ready.
type Changes [256]atomic.Uint64

// changesSeed makes the hash of references; any value does.
var changesSeed = maphash.MakeSeed()

// Of is the counter of a reference: look at it before reading, add to it after a change.
func (c *Changes) Of(ref Ref) *atomic.Uint64 {
	return &c[maphash.Comparable(changesSeed, ref)%uint64(len(c))]
}
