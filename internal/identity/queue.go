package identity

import (
	"errors"
	"net/netip"
	"slices"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
)

// ErrBusy is the failure of a login that was not checked because too many others wait: it may be
// right and is to be sent again.
var ErrBusy = errors.New("too many logins at once; try again")

// queue gives out the slots in which passwords are checked. Networks take turns, and in a network
// the names: a login waits for one check of each other and not for all guesses of one. Between
// equals the newest goes first, so that a login after a burst of guesses need not wait for them. If
// more wait than the queue takes, the oldest login of the longest line is refused.
type queue struct {
	isSuspect func(netip.Prefix) bool // a network that guesses; it gets half of the slots
	slots     int
	capacity  int // logins that may wait

	mu      sync.Mutex
	used    int                        // slots
	running map[netip.Prefix]int       // slots by network
	waiting []waiter                   // oldest first
	turn    uint64                     // counts the checks
	last    *lru.Cache[source, uint64] // the turn of a network, and of a name in it; none: long ago
}

// source is where a login comes from: a network and the name that was sent, or a network as a
// whole.
type source struct {
	network netip.Prefix
	user    string
}

// whole is the network of a source.
func (s source) whole() source { return source{network: s.network} }

// waiter is a login that waits.
type waiter struct {
	source
	ready chan error // gets nil for a slot, or ErrBusy
}

// rememberedTurns bounds the sources of which the last turn is known.
const rememberedTurns = 1024

func newQueue(slots, capacity int, isSuspect func(netip.Prefix) bool) (*queue, error) {
	last, err := lru.New[source, uint64](rememberedTurns)
	if err != nil {
		return nil, err
	}
	return &queue{isSuspect: isSuspect, slots: slots, capacity: capacity, running: map[netip.Prefix]int{}, last: last}, nil
}

// enter waits for a slot, which the caller leaves, or is ErrBusy.
func (q *queue) enter(from source) error {
	w := waiter{from, make(chan error, 1)}
	q.mu.Lock()
	q.waiting = append(q.waiting, w)
	q.serve()
	if len(q.waiting) > q.capacity {
		q.take(q.longest()).ready <- ErrBusy
	}
	q.mu.Unlock()
	return <-w.ready
}

// leave gives a slot back.
func (q *queue) leave(from source) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	if q.running[from.network]--; q.running[from.network] == 0 {
		delete(q.running, from.network)
	}
	q.serve()
}

// serve gives away the free slots.
func (q *queue) serve() {
	for q.used < q.slots {
		i := q.next()
		if i < 0 {
			return
		}
		w := q.take(i)
		q.turn++
		q.last.Add(w.whole(), q.turn)
		q.last.Add(w.source, q.turn)
		q.running[w.network]++
		q.used++
		w.ready <- nil
	}
}

// take removes a login from those that wait.
func (q *queue) take(i int) waiter {
	w := q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return w
}

// next is the login whose turn it is, or -1.
func (q *queue) next() int {
	best := -1
	for i, w := range q.waiting {
		if q.running[w.network] >= max(1, q.slots/2) && q.isSuspect(w.network) {
			continue
		}
		if best < 0 || !q.isBefore(q.waiting[best].source, w.source) {
			best = i
		}
	}
	return best
}

// isBefore tells whether the last turn of a is longer ago than that of b.
func (q *queue) isBefore(a, b source) bool {
	networkA, _ := q.last.Peek(a.whole())
	networkB, _ := q.last.Peek(b.whole())
	if networkA != networkB {
		return networkA < networkB
	}
	turnA, _ := q.last.Peek(a)
	turnB, _ := q.last.Peek(b)
	return turnA < turnB
}

// longest is the oldest login of the network that has most of them, there of the name that has
// most.
func (q *queue) longest() int {
	networks, names := map[netip.Prefix]int{}, map[source]int{}
	for _, w := range q.waiting {
		networks[w.network]++
		names[w.source]++
	}
	longest := 0
	for i, w := range q.waiting {
		than := q.waiting[longest]
		if n, most := networks[w.network], networks[than.network]; n > most || n == most && w.network == than.network && names[w.source] > names[than.source] {
			longest = i
		}
	}
	return longest
}
