package conan

import (
	"context"
	"sync"
	"time"
)

// CacheState is how an answer came about, in the words of the X-Cache header.
type CacheState string

// The states, from best to worst; a merged answer has the worst of its parts.
const (
	StateLocal CacheState = "local" // from the authoritative store
	StateHit   CacheState = "hit"   // remembered and fresh
	StateMiss  CacheState = "miss"  // an upstream was asked
	StateStale CacheState = "stale" // remembered, no longer fresh, and upstream could not be asked
)

// Origin says where an answer came from and how long it stays true.
type Origin struct {
	Member string        // "local" or an upstream's name
	State  CacheState    //
	Age    time.Duration // since upstream said so; 0 for local
	// Expires is the time until which the same question has the same answer unless something is
	// published here; zero means "do not remember", Forever means immutable.
	Expires time.Time
	Reason  string // for StateStale: why upstream could not be asked
}

// Forever is the Expires of an immutable answer.
var Forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Trace collects the origins of one request's answers. The zero value is ready; it is safe for concurrent use.
type Trace struct {
	mu      sync.Mutex
	origins []Origin
}

type traceKey struct{}

// WithTrace returns a context whose sources note their origins in t.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// Note records an origin in the context's Trace, if it has one. Answers of "not found" are noted too.
func Note(ctx context.Context, o Origin) {
	t, _ := ctx.Value(traceKey{}).(*Trace)
	if t == nil {
		return
	}
	t.mu.Lock()
	t.origins = append(t.origins, o)
	t.mu.Unlock()
}

// Origins returns what was noted, in order.
func (t *Trace) Origins() []Origin {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Origin(nil), t.origins...)
}
