// Package retention decides which revisions of a store are no longer needed: by rules, and by
// reasons for which a revision stays whatever the rules say. It changes nothing itself.
package retention

import (
	"time"

	"conanproxy/internal/conan"
)

// Rule says which revisions of the references that its pattern matches may go. A condition that is
// zero is not set; a Rule has at least one.
type Rule struct {
	Pattern     conan.Glob
	UnusedFor   time.Duration // a revision that was used later stays
	KeepRecipes int           // so many of the newest recipe revisions of a reference stay
	// so many of the newest revisions of each package id of a recipe revision stay
	KeepPackages int
}

// Keep tells why a revision stays whatever the rules say; false if it knows no reason. It must be
// quick and safe for concurrent use.
type Keep func(rev conan.Revision) (reason string, stays bool)

// Policy is what one run goes by.
type Policy struct {
	Rules []Rule // the first whose pattern matches a reference decides
	Keeps []Keep
}

// Revision is a revision of a store with what rules ask about.
type Revision struct {
	conan.Revision
	Adopted bool      // a copy of an upstream's recipe, which goes with its last package
	LastUse time.Time // or publication, if that was later

	PinnedBy string // who pinned it; empty: it has no pin and may go
}

// Decision is what a run says about a revision that a rule selects.
type Decision struct {
	conan.Revision
	Goes   bool
	Reason string // why it goes, or why it stays although a rule selects it
}

// Concerns tells whether a rule is about a reference.
func (p Policy) Concerns(ref conan.Ref) bool {
	_, _, ok := p.rule(ref)
	return ok
}

// rule finds the rule of a reference, and its number from 1.
func (p Policy) rule(ref conan.Ref) (Rule, int, bool) {
	for i, r := range p.Rules {
		if r.Pattern.Match(ref) {
			return r, i + 1, true
		}
	}
	return Rule{}, 0, false
}

// Kept finds the first reason for which a revision stays whatever the rules say.
func (p Policy) Kept(rev conan.Revision) (reason string, stays bool) {
	for _, keep := range p.Keeps {
		if reason, stays = keep(rev); stays {
			return reason, true
		}
	}
	return "", false
}
