package conan

import (
	"slices"
	"strings"
	"time"
)

// CacheState is how an answer came about, in the words of the X-Cache header.
type CacheState string

// The states, from best to worst; a merged answer has the worst of its parts.
const (
	StateLocal CacheState = "local" // from an authoritative store
	StateHit   CacheState = "hit"   // remembered and fresh
	StateMiss  CacheState = "miss"  // an upstream was asked
	StateStale CacheState = "stale" // remembered, no longer fresh, and upstream could not be asked
)

// Origin says where an answer came from and how long it stays true. The zero value is that of a
// failure.
type Origin struct {
	Member string        // the member that answered; of a merged answer all of them, joined by ", "
	State  CacheState    // how the member came by it
	Age    time.Duration // since upstream said so; 0 for a store
	// Expires is the time until which the same question has the same answer unless a change of the
	// reference or of the settings is published. Zero means that it must not be remembered,
	// Forever that it is immutable.
	Expires time.Time
	Reason  string // for StateStale: why upstream could not be asked
}

// Forever is the Expires of an immutable answer.
var Forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Answer is what a Source says. Of a failure only Origin is set, and only if the failure may be
// remembered, as ErrNotFound may.
type Answer[T any] struct {
	Value  T
	Origin Origin

	// Prefetch, if not nil, begins to fetch in the background what a client that installs asks for
	// next. The caller calls it if its client is one; it returns at once.
	Prefetch func()
}

// MergeOrigins is the origin of an answer that is made of several: every member in order, the worst
// state, the greatest age, the earliest expiry, and the first reason for a stale part.
func MergeOrigins(origins ...Origin) Origin {
	var merged Origin
	var members []string
	for i, o := range origins {
		for member := range strings.SplitSeq(o.Member, ", ") {
			if member != "" && !slices.Contains(members, member) {
				members = append(members, member)
			}
		}
		if badness(o.State) > badness(merged.State) {
			merged.State = o.State
		}
		merged.Age = max(merged.Age, o.Age)
		if i == 0 || o.Expires.Before(merged.Expires) {
			merged.Expires = o.Expires
		}
		if merged.Reason == "" {
			merged.Reason = o.Reason
		}
	}
	merged.Member = strings.Join(members, ", ")
	return merged
}

func badness(s CacheState) int {
	return slices.Index([]CacheState{StateLocal, StateHit, StateMiss, StateStale}, s)
}
