// Package memory is the one place where decoded answers are remembered, and the counters of changes
// by which every remembered answer, decoded or rendered, is known to be still true.
package memory

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"conanproxy/internal/conan"
)

// Changes counts the changes of references, of the list of names, and of the settings. An answer
// that was begun before a change is not taken for true after it.
//
// There is one publisher for each kind: the index, which raises the counters of what a transaction
// changed after the commit and before the write returns; and the wiring, when settings are
// replaced. References of equal hash share a counter, so a change may invalidate more than it must,
// never less. The zero value is ready.
type Changes struct {
	refs     [1024]atomic.Uint64
	names    atomic.Uint64
	settings atomic.Uint64

	mu          sync.Mutex
	subscribers map[int]func(conan.Ref)
	subscribed  int // subscribers so far, their keys
}

// hashSeed makes the hash of references; any value does.
var hashSeed = maphash.MakeSeed()

// Stamp is the state of the counters that an answer depends on. Take it before anything is read.
type Stamp struct {
	counter, settings *atomic.Uint64
	seen, seenSetting uint64
}

// Of returns the stamp for answers about a reference.
func (c *Changes) Of(ref conan.Ref) Stamp { return c.stamp(c.counter(ref)) }

// Names returns the stamp for answers that depend on which references exist: searches.
func (c *Changes) Names() Stamp { return c.stamp(&c.names) }

// Settings returns the stamp for answers that depend on the settings alone.
func (c *Changes) Settings() Stamp { return c.stamp(&c.settings) }

func (c *Changes) stamp(counter *atomic.Uint64) Stamp {
	return Stamp{counter, &c.settings, counter.Load(), c.settings.Load()}
}

// Valid tells whether nothing that the answer depends on has changed since the stamp was taken. The
// zero Stamp is valid for ever.
func (s Stamp) Valid() bool {
	return s.counter == nil || s.counter.Load() == s.seen && s.settings.Load() == s.seenSetting
}

// ChangedRef invalidates answers about a reference.
func (c *Changes) ChangedRef(ref conan.Ref) { c.counter(ref).Add(1) }

// ChangedNames invalidates searches: the recipe revisions of a reference changed, so it may have
// appeared or disappeared.
func (c *Changes) ChangedNames(ref conan.Ref) {
	c.names.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tell := range c.subscribers {
		tell(ref)
	}
}

// Subscribe has tell called with each reference that may have appeared or disappeared, before the
// write that did it returns, until cancel is called. tell must not block. Lists of names are kept
// in step by it.
func (c *Changes) Subscribe(tell func(conan.Ref)) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscribers == nil {
		c.subscribers = make(map[int]func(conan.Ref))
	}
	key := c.subscribed
	c.subscribed++
	c.subscribers[key] = tell
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subscribers, key)
	}
}

// ChangedSettings invalidates every answer.
func (c *Changes) ChangedSettings() { c.settings.Add(1) }

func (c *Changes) counter(ref conan.Ref) *atomic.Uint64 {
	return &c.refs[maphash.Comparable(hashSeed, ref)%uint64(len(c.refs))]
}
