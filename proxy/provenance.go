package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// provenance is what every answer says about where it came from.
type provenance struct {
	source string           // members, joined by commas
	state  conan.CacheState // empty: a failure
	age    time.Duration
}

func (p provenance) isZero() bool { return p.source == "" }

// provenanceOf sums up the origins of an answer: of a merged one all members, else the member
// asked last, which is the one that answered.
func provenanceOf(t *conan.Trace, merged bool) provenance {
	origins := t.Origins()
	if len(origins) == 0 {
		return provenance{}
	}
	last := origins[len(origins)-1].Member
	var p provenance
	var members []string
	for _, o := range origins {
		if !merged && o.Member != last {
			continue
		}
		if !slices.Contains(members, o.Member) {
			members = append(members, o.Member)
		}
		if badness(o.State) > badness(p.state) {
			p.state = o.State
		}
		p.age = max(p.age, o.Age)
	}
	p.source = strings.Join(members, ", ")
	return p
}

// badness orders the states; a merged answer has the worst of its parts.
func badness(s conan.CacheState) int {
	return 1 + slices.Index([]conan.CacheState{conan.StateLocal, conan.StateHit, conan.StateMiss, conan.StateStale}, s)
}

// writeTo sets the headers; the age is told of stale answers only.
func (p provenance) writeTo(h http.Header) {
	if p.isZero() {
		return
	}
	h.Set("X-Conanproxy-Source", p.source)
	if p.state != "" {
		h.Set("X-Cache", string(p.state))
	}
	if p.state != conan.StateStale {
		return
	}
	h.Set("Age", strconv.FormatInt(int64(p.age/time.Second), 10))
	h.Set("Warning", `110 - "Response is Stale"`)
}
