package identity

import (
	"context"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// throttle counts wrong logins by address and makes the next wrong ones wait. It never
// stops a right one: behind one address may stand a whole office.
type throttle struct {
	now     func() time.Time
	waiting chan struct{} // one slot per wrong login that waits

	mu     sync.Mutex
	counts *lru.Cache[netip.Prefix, wrongLogins]
}

type wrongLogins struct {
	since time.Time // the first of them
	count int
}

const (
	freeWrongLogins = 10          // of one address
	wrongWindow     = time.Minute // are answered at once
	firstDelay      = 500 * time.Millisecond
	maxDelay        = 8 * time.Second // well below the 30 s after which clients give up
	countedNetworks = 8192            // addresses
	maxWaiting      = 256             // wrong logins; more are answered at once
)

func newThrottle(now func() time.Time) (*throttle, error) {
	counts, err := lru.New[netip.Prefix, wrongLogins](countedNetworks)
	if err != nil {
		return nil, err
	}
	return &throttle{now: now, waiting: make(chan struct{}, maxWaiting), counts: counts}, nil
}

// network is what counts as one address: an IPv6 customer has at least a /64 of them.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // an invalid address is the zero prefix: all of them are one network
	return prefix
}

// isSuspect tells whether the network used up its free wrong logins.
func (t *throttle) isSuspect(n netip.Prefix) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, ok := t.counts.Peek(n)
	return ok && w.count >= freeWrongLogins && t.now().Sub(w.since) < wrongWindow
}

// wrong counts a wrong login and waits as long as it has to. It returns the error of ctx if
// that ends first.
func (t *throttle) wrong(ctx context.Context, addr netip.Addr) error {
	delay := t.delay(t.count(addr))
	if delay == 0 {
		return nil
	}
	select {
	case t.waiting <- struct{}{}:
		defer func() { <-t.waiting }()
	default:
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *throttle) count(addr netip.Addr) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, now := network(addr), t.now()
	w, ok := t.counts.Get(key)
	if !ok || now.Sub(w.since) >= wrongWindow {
		w = wrongLogins{since: now}
	}
	w.count++
	t.counts.Add(key, w)
	return w.count
}

// delay of the n-th wrong login within the window: none at first, then doubling to a bound.
func (t *throttle) delay(n int) time.Duration {
	if n <= freeWrongLogins {
		return 0
	}
	delay := firstDelay
	for i := freeWrongLogins + 1; i < n && delay < maxDelay; i++ {
		delay *= 2
	}
	return min(delay, maxDelay)
}
