package identity

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
)

// ErrBusy is the failure of a login that was not checked because too many others wait: it may be
// right and is to be sent again.
var ErrBusy = errors.New("too many logins at once; try again")

// queue gives the slots in which passwords are checked to networks in turn, so that a login waits
// for one check of each other network and not for all guesses of one. Within a network the newest
// goes first: after a burst of guesses a later login need not wait for them. If more wait than the
// queue holds, the oldest of the network that has most of them are refused.
type queue struct {
	isSuspect func(netip.Prefix) bool // a network that guesses; it gets half of the slots
	slots     int
	room      int // for logins that wait

	mu      sync.Mutex
	used    int     // slots
	waiting int     // logins
	lines   []*line // with a login that waits or is checked; the front one is served next
}

// line is the logins of a network.
type line struct {
	network netip.Prefix
	running int
	waiting []chan error // oldest first; each gets nil for a slot, or ErrBusy
}

func newQueue(slots, room int, isSuspect func(netip.Prefix) bool) *queue {
	return &queue{isSuspect: isSuspect, slots: slots, room: room}
}

// enter waits for a slot, which the caller leaves, or is ErrBusy.
func (q *queue) enter(network netip.Prefix) error {
	ready := make(chan error, 1)
	q.mu.Lock()
	l := q.line(network)
	l.waiting = append(l.waiting, ready)
	q.waiting++
	q.serve()
	if q.waiting > q.room {
		q.refuseOne()
	}
	q.mu.Unlock()
	return <-ready
}

// leave gives a slot back.
func (q *queue) leave(network netip.Prefix) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.line(network).running--
	q.used--
	q.serve()
	q.lines = slices.DeleteFunc(q.lines, func(l *line) bool { return l.running == 0 && len(l.waiting) == 0 })
}

func (q *queue) line(network netip.Prefix) *line {
	i := slices.IndexFunc(q.lines, func(l *line) bool { return l.network == network })
	if i >= 0 {
		return q.lines[i]
	}
	l := &line{network: network}
	q.lines = append(q.lines, l)
	return l
}

// serve gives away the free slots.
func (q *queue) serve() {
	for q.used < q.slots {
		i := slices.IndexFunc(q.lines, q.mayRun)
		if i < 0 {
			return
		}
		l := q.lines[i]
		q.lines = append(slices.Delete(q.lines, i, i+1), l)
		newest := len(l.waiting) - 1
		l.waiting[newest] <- nil
		l.waiting = l.waiting[:newest]
		l.running++
		q.used++
		q.waiting--
	}
}

func (q *queue) mayRun(l *line) bool {
	return len(l.waiting) > 0 && (l.running < max(1, q.slots/2) || !q.isSuspect(l.network))
}

// refuseOne refuses the oldest login of the longest line; of equal ones, of that served last.
func (q *queue) refuseOne() {
	l := q.lines[0]
	for _, other := range q.lines {
		if len(other.waiting) >= len(l.waiting) {
			l = other
		}
	}
	l.waiting[0] <- ErrBusy
	l.waiting = slices.Delete(l.waiting, 0, 1)
	q.waiting--
	if l.running == 0 && len(l.waiting) == 0 {
		q.lines = slices.DeleteFunc(q.lines, func(o *line) bool { return o == l })
	}
}
