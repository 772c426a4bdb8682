package memory

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"conanproxy/internal/conan"
)

// Key names a remembered answer: which member said it, to which kind of question, about what.
type Key struct {
	Member string
	Kind   string
	Rev    conan.Revision
	Text   string // tells answers about one Rev apart, such as the key of a document; often empty
}

// Answers remembers decoded answers within a bound of bytes; the longest unused ones go first.
// Everything in it can be found out again. An answer that was put is there at once, so that
// questions which wait for each other need no other place. It is safe for concurrent use.
type Answers struct {
	max int64

	mu    sync.Mutex
	items *simplelru.LRU[Key, entry]
	bytes int64
}

type entry struct {
	value any
	stamp Stamp
	cost  int64
}

// entryCost is about what an entry takes in memory beside its value.
const entryCost = 400

// NewAnswers makes a memory of that many bytes; 0 or less remembers nothing.
func NewAnswers(bytes int64) *Answers {
	a := &Answers{max: bytes}
	// The bound is the bytes, so the number of entries has none; the size is never 0, so no error.
	a.items, _ = simplelru.NewLRU(math.MaxInt, func(_ Key, e entry) { a.bytes -= e.cost })
	return a
}

// Get returns the answer under a key if there is one of type T that is still true.
func Get[T any](a *Answers, k Key) (value T, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.items.Get(k)
	if !ok {
		return value, false
	}
	if !e.stamp.Valid() {
		a.items.Remove(k)
		return value, false
	}
	value, ok = e.value.(T)
	return value, ok
}

// Put remembers a value of about size bytes, which must not be modified any more, until what it
// depends on changes. The stamp was taken before the value was read.
func (a *Answers) Put(k Key, value any, size int, stamp Stamp) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(k, entry{value, stamp, int64(size) + entryCost})
}

// Add is Put for a value that was read from where a newer one may have been written meanwhile: what
// is remembered already stays.
func (a *Answers) Add(k Key, value any, size int, stamp Stamp) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.items.Peek(k); !ok || !e.stamp.Valid() {
		a.put(k, entry{value, stamp, int64(size) + entryCost})
	}
}

func (a *Answers) put(k Key, e entry) {
	a.items.Remove(k)
	if e.cost > a.max/16 || !e.stamp.Valid() {
		return
	}
	a.items.Add(k, e)
	a.bytes += e.cost
	for a.bytes > a.max {
		a.items.RemoveOldest()
	}
}

// Remove removes an answer.
func (a *Answers) Remove(k Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.items.Remove(k)
}

// RemoveAll removes the answers whose keys match.
func (a *Answers) RemoveAll(match func(Key) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.items.Keys() {
		if match(k) {
			a.items.Remove(k)
		}
	}
}

// Bytes returns about how many bytes the answers take.
func (a *Answers) Bytes() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bytes
}
