package upstream

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// State is the state of a circuit breaker.
type State int

// The states; the numbers are the values of the metric.
const (
	Closed   State = 0 // asked normally
	HalfOpen State = 1 // one probe is or may be on its way
	Open     State = 2 // not asked
)

// String is the state in words.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case HalfOpen:
		return "half-open"
	}
	return "open"
}

const (
	breakerFailures = 5                // consecutive failures that open it
	breakerFirst    = 5 * time.Second  // how long it stays open at first; doubled by each failed probe
	breakerMost     = 2 * time.Minute  // at most, unless upstream asked for more
	throttleMost    = 15 * time.Minute // at most what upstream may ask for
	probeWait       = time.Second      // Retry-After of questions that come while a probe is on its way
)

// breaker stops questions to a server that is down. It opens after some consecutive failures that
// say so, or at once when upstream asks for a pause. When the pause is over one question at a time
// is admitted; its success closes the breaker. An answer about one thing, such as "not found" or a
// refusal, is a success.
type breaker struct {
	now     func() time.Time
	changed func(to State, reason string, wait time.Duration) // called under the lock

	mu       sync.Mutex
	state    State
	failures int
	trips    int // pauses since the last success
	until    time.Time
	since    time.Time // of the first failure since the last success; zero: there is none
	probing  bool
	epoch    int // counts openings: older questions say nothing about a newer state
	reason   string

	throttled bool // it is open because upstream asked for a pause
}

// ticket admits one question; done must be called once.
type ticket struct {
	b     *breaker
	epoch int
	probe bool
}

// admit gives a ticket, or the failure to answer with at once.
func (b *breaker) admit() (*ticket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Closed {
		return &ticket{b: b, epoch: b.epoch}, nil
	}
	wait := b.until.Sub(b.now())
	if wait > 0 {
		return nil, b.refusal(wait, !b.throttled)
	}
	if b.probing {
		return nil, b.refusal(probeWait, false)
	}
	b.state, b.probing = HalfOpen, true
	b.tell(HalfOpen, 0)
	return &ticket{b: b, epoch: b.epoch, probe: true}, nil
}

// refusal is permanent while upstream is not asked because it failed, and trying again soon cannot
// help.
func (b *breaker) refusal(wait time.Duration, permanent bool) *failure {
	return &failure{
		kind:       kindRefused,
		reason:     fmt.Sprintf("not asked for the moment because it failed before: %s", b.reason),
		retryAfter: wait,
		permanent:  permanent,
		since:      b.since,
	}
}

// done reports the outcome of the question.
func (t *ticket) done(err error) {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	b := t.b
	if t.probe && t.epoch == b.epoch {
		b.probing = false
	}
	var f *failure
	switch {
	case isCallerGone(err):
	case errors.As(err, &f) && f.kind == kindThrottled && f.retryAfter > 0:
		b.throttled = true
		b.noteFirst()
		b.open(f.reason, min(f.retryAfter, throttleMost))
	case t.epoch != b.epoch:
	case errors.As(err, &f) && f.isServerDown():
		b.failed(t.probe, f.reason)
	case b.state != Closed || b.failures > 0:
		changed := b.state != Closed
		b.state, b.failures, b.trips, b.since = Closed, 0, 0, time.Time{}
		if changed {
			b.tell(Closed, 0)
		}
	}
}

// report tells of a failure that came after its question had been answered well.
func (b *breaker) report(err error) {
	b.mu.Lock()
	t := &ticket{b: b, epoch: b.epoch}
	b.mu.Unlock()
	t.done(err)
}

// noteFirst keeps the time of the first failure.
func (b *breaker) noteFirst() {
	if b.since.IsZero() {
		b.since = b.now()
	}
}

func (b *breaker) failed(probe bool, reason string) {
	b.failures++
	b.noteFirst()
	if !probe && b.failures < breakerFailures {
		return
	}
	b.throttled = false
	b.open(reason, min(breakerFirst<<min(b.trips, 10), breakerMost))
	b.trips++
}

func (b *breaker) open(reason string, wait time.Duration) {
	b.state, b.reason, b.until = Open, reason, b.now().Add(wait)
	b.probing, b.failures = false, 0
	b.epoch++
	b.tell(Open, wait)
}

func (b *breaker) tell(to State, wait time.Duration) { b.changed(to, b.reason, wait) }

// current is the state for metrics and tests.
func (b *breaker) current() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}
