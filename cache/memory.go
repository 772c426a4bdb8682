package cache

import (
	"hash/maphash"
	"strconv"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// memory keeps what was read from the index in decoded form, bounded by bytes. Everything in it can be read again.
//
// Keys carry a generation that every write to the index bumps, after the write: what was read before is never
// found again, however late the asynchronous store takes it in. Generations are shared by the keys of a shard.
type memory struct {
	items       *ristretto.Cache[string, any]
	seed        maphash.Seed
	generations [1024]atomic.Uint64
}

// What an entry costs in memory, roughly: its text decoded, and the entry itself.
const (
	memoryDecoded = 2
	memoryEntry   = 256
)

func newMemory(size int64) (*memory, error) {
	items, err := ristretto.NewCache(&ristretto.Config[string, any]{
		NumCounters: max(1000, 10*size/1024), // ten per expected item
		MaxCost:     size,
		BufferItems: 64,
	})
	if err != nil {
		return nil, err
	}
	return &memory{items: items, seed: maphash.MakeSeed()}, nil
}

// hotKey names an entry as of one generation.
type hotKey string

// key must be taken before the index is read for what will be put under it.
func (m *memory) key(kind, key string) hotKey {
	gen := m.generation(key).Load()
	return hotKey(kind + "\x00" + key + "\x00" + strconv.FormatUint(gen, 36))
}

func (m *memory) generation(key string) *atomic.Uint64 {
	return &m.generations[maphash.String(m.seed, key)%uint64(len(m.generations))]
}

// forget drops every entry under key, of whatever kind. It is called when what they were made of has changed.
func (m *memory) forget(key string) { m.generation(key).Add(1) }

func (m *memory) get(k hotKey) (any, bool) { return m.items.Get(string(k)) }

// put keeps v, which is about size bytes as text and must not be modified any more; or not, if it is too large or memory is busy.
func (m *memory) put(k hotKey, v any, size int) {
	m.items.Set(string(k), v, memoryDecoded*int64(size)+memoryEntry)
}

func (m *memory) close() { m.items.Close() }
