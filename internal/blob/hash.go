package blob

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"math"
	"sync"
	"sync/atomic"
)

// hasher computes all sums in one pass. The head of a blob is hashed by the caller; what follows is
// copied and hashed by one goroutine per algorithm, so that a large blob takes as long as its
// slowest sum, not as long as all of them.
type hasher struct {
	sha256, sha1, md5 hash.Hash

	size   int64
	inline int64 // bytes that the caller hashes
	pool   *sync.Pool
	pipe   *hashPipe // nil while the blob is small
}

func newHasher(inline int64, pool *sync.Pool) *hasher {
	return &hasher{sha256: sha256.New(), sha1: sha1.New(), md5: md5.New(), inline: inline, pool: pool}
}

func (h *hasher) all() []hash.Hash { return []hash.Hash{h.md5, h.sha256, h.sha1} }

func (h *hasher) write(p []byte) {
	h.size += int64(len(p))
	if h.pipe == nil && h.size > h.inline {
		h.pipe = startHashPipe(h.all(), h.pool)
	}
	if h.pipe != nil {
		h.pipe.write(p)
		return
	}
	for _, sum := range h.all() {
		sum.Write(p)
	}
}

// Hasher computes the sums of bytes that are not stored. It is an io.Writer that never fails.
type Hasher struct{ h *hasher }

// NewHasher makes a Hasher of no bytes.
func NewHasher() *Hasher { return &Hasher{newHasher(math.MaxInt64, nil)} }

// Write implements io.Writer.
func (h *Hasher) Write(p []byte) (int, error) {
	h.h.write(p)
	return len(p), nil
}

// Sums are those of everything written so far.
func (h *Hasher) Sums() Sums { return h.h.sums() }

// sums waits for everything written so far.
func (h *hasher) sums() Sums {
	if h.pipe != nil {
		h.pipe.drain()
	}
	return Sums{
		Size:   h.size,
		SHA256: Digest(hex.EncodeToString(h.sha256.Sum(nil))),
		SHA1:   hex.EncodeToString(h.sha1.Sum(nil)),
		MD5:    hex.EncodeToString(h.md5.Sum(nil)),
	}
}

// stop ends the goroutines; sums stays usable, write does not.
func (h *hasher) stop() {
	if h.pipe == nil {
		return
	}
	h.pipe.stop(h.pool)
	h.pipe = nil
}

// chunk is a piece of a blob on its way through the goroutines of a hashPipe.
type chunk struct {
	data []byte
	left atomic.Int32 // goroutines that have not hashed it yet
}

func newChunk() *chunk {
	const size = 32 << 10
	return &chunk{data: make([]byte, 0, size)}
}

// hashPipe hands chunks to one goroutine per hash. It holds a fixed number of chunks, so a writer
// that is faster than the slowest hash waits.
type hashPipe struct {
	current *chunk
	free    chan *chunk
	lanes   []chan *chunk
	wg      sync.WaitGroup
}

func startHashPipe(sums []hash.Hash, pool *sync.Pool) *hashPipe {
	const chunks = 6
	p := &hashPipe{free: make(chan *chunk, chunks)}
	for range chunks {
		p.free <- pool.Get().(*chunk)
	}
	for _, sum := range sums {
		lane := make(chan *chunk, chunks)
		p.lanes = append(p.lanes, lane)
		p.wg.Go(func() { p.run(sum, lane) })
	}
	return p
}

func (p *hashPipe) run(sum hash.Hash, lane <-chan *chunk) {
	for c := range lane {
		sum.Write(c.data)
		if c.left.Add(-1) == 0 {
			p.free <- c
		}
	}
}

func (p *hashPipe) write(b []byte) {
	for len(b) > 0 {
		if p.current == nil {
			p.current = <-p.free
			p.current.data = p.current.data[:0]
		}
		c := p.current
		n := copy(c.data[len(c.data):cap(c.data)], b)
		c.data, b = c.data[:len(c.data)+n], b[n:]
		if len(c.data) == cap(c.data) {
			p.send()
		}
	}
}

func (p *hashPipe) send() {
	c := p.current
	p.current = nil
	c.left.Store(int32(len(p.lanes)))
	for _, lane := range p.lanes {
		lane <- c
	}
}

// drain returns when every goroutine has hashed everything.
func (p *hashPipe) drain() {
	if p.current != nil {
		p.send()
	}
	all := make([]*chunk, 0, cap(p.free))
	for range cap(p.free) {
		all = append(all, <-p.free)
	}
	for _, c := range all {
		p.free <- c
	}
}

// stop ends the goroutines and gives the chunks back.
func (p *hashPipe) stop(pool *sync.Pool) {
	p.drain()
	for _, lane := range p.lanes {
		close(lane)
	}
	p.wg.Wait()
	for range cap(p.free) {
		pool.Put(<-p.free)
	}
}
