package auth

import (
	"fmt"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// Rule is one line of the read or write rules: who may touch the references that Pattern matches.
type Rule struct {
	// Pattern is a conan.Glob over name/version[@user/channel]; {user} stands for the caller's own
	// name.
	Pattern string
	// Users are names, "*" for anyone, "?" for any logged-in user, or "@" and the name of a group.
	// None at all refuses everyone.
	Users []string
	// In are the members of which the rule speaks; none is all of them.
	In []string
}

// ruleList is a compiled list of rules in their order.
type ruleList struct {
	rules    []compiledRule
	groups   groups
	byMember bool // a rule speaks of some members only
	own      bool // a pattern has {user}
}

type compiledRule struct {
	pattern conan.Glob
	own     bool // the pattern has {user}, so it never matches for an anonymous caller
	in      []string
	people
}

// compileRules checks and compiles rules; what names them in an error: "read" or "write".
func compileRules(what string, rules []Rule, known groups) (ruleList, error) {
	list := ruleList{groups: known}
	for i, r := range rules {
		glob, err := conan.ParseGlob(r.Pattern)
		if err != nil {
			return list, fmt.Errorf("%s rule %d: %w", what, i+1, err)
		}
		c := compiledRule{pattern: glob, own: strings.Contains(r.Pattern, "{user}"), in: slices.Clone(r.In)}
		if c.people, err = compilePeople(r.Users, known); err != nil {
			return list, fmt.Errorf("%s rule %d, pattern %q: %w", what, i+1, r.Pattern, err)
		}
		list.rules = append(list.rules, c)
		list.byMember = list.byMember || len(c.in) > 0
		list.own = list.own || c.own
	}
	return list, nil
}

// allow tells whether the first rule about the member whose pattern matches ref admits c. Without
// one it is false.
func (l *ruleList) allow(c Caller, member string, ref conan.Ref) bool {
	for i := range l.rules {
		r := &l.rules[i]
		if r.speaksOf(member) && r.pattern.MatchFor(ref, c.Name) {
			return r.admits(c, l.groups)
		}
	}
	return false
}

// meets tells whether c may read some reference of the member that the pattern could match; it errs
// on the side of true.
func (l *ruleList) meets(c Caller, member string, p conan.Pattern) bool {
	for i := range l.rules {
		r := &l.rules[i]
		admitted := r.admits(c, l.groups)
		switch {
		case !r.speaksOf(member):
		case r.own && c.Anonymous(): // never matches
		case admitted && r.pattern.MayMeet(p):
			return true
		case !admitted && r.pattern.MatchSearch(p.String()):
			return false // it decides about all that the pattern finds
		}
	}
	return false
}

// admitsSomewhere tells whether c is admitted by any rule, whatever the reference and the member.
func (l *ruleList) admitsSomewhere(c Caller) bool {
	return slices.ContainsFunc(l.rules, func(r compiledRule) bool {
		return !(c.Anonymous() && r.own) && r.admits(c, l.groups)
	})
}

// class is a word for all that the rules ask about a caller: for callers of one class they decide
// alike.
func (l *ruleList) class(c Caller) string {
	word := make([]byte, len(l.rules), len(l.rules)+len(c.Name))
	for i := range l.rules {
		word[i] = '-'
		if l.rules[i].admits(c, l.groups) {
			word[i] = '+'
		}
	}
	if l.own {
		word = append(word, c.Name...)
	}
	return string(word)
}

func (r *compiledRule) speaksOf(member string) bool {
	return len(r.in) == 0 || slices.Contains(r.in, member)
}
