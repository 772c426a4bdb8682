package cache

import (
	"sync"
	"time"
)

// pace knows how fast upstream answers, and so how long a client that could have a stale answer
// waits for a newer one. The zero value is ready.
type pace struct {
	mu    sync.Mutex
	usual map[string]time.Duration // moving average by kind of question
	// degraded means that upstream did not answer in time, and has answered nothing since. Stale
	// answers are given at once then, and upstream is asked behind them.
	degraded bool
}

// The bounds of timeout.
const (
	minTimeout = 250 * time.Millisecond
	maxTimeout = 10 * time.Second
)

// timeout is how long a client waits: several times as long as upstream usually takes, or took for
// the probe, the least when neither is known, and not at all while it is degraded.
func (p *pace) timeout(kind string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.degraded {
		return 0
	}
	usual, known := p.usual[kind]
	if !known {
		usual = p.usual[kindPing]
	}
	return min(max(minTimeout, 4*usual), maxTimeout)
}

// answered notes that upstream answered, also if it refused or has not what was asked for.
func (p *pace) answered(kind string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.degraded = false
	if p.usual == nil {
		p.usual = make(map[string]time.Duration)
	}
	if usual, known := p.usual[kind]; known {
		took = (7*usual + took) / 8
	}
	p.usual[kind] = took
}

// unheard notes that a probe of upstream was not answered in time. That says nothing if upstream
// has answered something else.
func (p *pace) unheard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.degraded = p.degraded || p.usual == nil
}

// missed notes that a client stopped waiting.
func (p *pace) missed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.degraded = true
}
