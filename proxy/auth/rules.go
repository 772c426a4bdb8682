package auth

import (
	"fmt"
	"strings"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
)

// Rule is one line of the read or write rules: who may touch the references that Pattern matches.
type Rule struct {
	// Pattern is a conan.Glob over name/version[@user/channel]; {user} stands for the caller's own
	// name.
	Pattern string
	// Users are names, "*" for anyone, or "?" for any logged-in user. None at all refuses everyone.
	Users []string
}

// ruleList is a compiled list of rules in their order.
type ruleList []compiledRule

type compiledRule struct {
	pattern  conan.Glob
	own      bool // the pattern has {user}, so it never matches for an anonymous caller
	users    map[string]bool
	anyone   bool // users has "*"
	loggedIn bool // users has "?"
}

// compileRules checks and compiles rules; what names them in an error: "read" or "write".
func compileRules(what string, rules []Rule) (ruleList, error) {
	list := make(ruleList, 0, len(rules))
	for i, r := range rules {
		glob, err := conan.ParseGlob(r.Pattern)
		if err != nil {
			return nil, fmt.Errorf("%s rule %d: %w", what, i+1, err)
		}
		c := compiledRule{
			pattern: glob,
			own:     strings.Contains(r.Pattern, "{user}"),
			users:   make(map[string]bool, len(r.Users)),
		}
		for _, user := range r.Users {
			switch user {
			case identity.AnyoneWord:
				c.anyone = true
			case identity.LoggedInWord:
				c.loggedIn = true
			default:
				if err := identity.CheckUserName(user); err != nil {
					return nil, fmt.Errorf("%s rule %d, pattern %q: %w", what, i+1, r.Pattern, err)
				}
				c.users[user] = true
			}
		}
		list = append(list, c)
	}
	return list, nil
}

// allow tells whether the first rule whose pattern matches ref admits c. Without one it is false.
func (l ruleList) allow(c Caller, ref conan.Ref) bool {
	for _, r := range l {
		if r.pattern.MatchFor(ref, c.Name) {
			return r.admits(c)
		}
	}
	return false
}

// meets tells whether c may read some reference that the pattern could match; it errs on the side
// of true.
func (l ruleList) meets(c Caller, p conan.Pattern) bool {
	for _, r := range l {
		switch {
		case r.own && c.Anonymous(): // never matches
		case r.admits(c) && r.pattern.MayMeet(p):
			return true
		case !r.admits(c) && r.pattern.MatchSearch(p.String()):
			return false // it decides about all that the pattern finds
		}
	}
	return false
}

// admitsSomewhere tells whether c is admitted by any rule, whatever the reference.
func (l ruleList) admitsSomewhere(c Caller) bool {
	for _, r := range l {
		if c.Anonymous() && r.own {
			continue
		}
		if r.admits(c) {
			return true
		}
	}
	return false
}

func (r compiledRule) admits(c Caller) bool {
	if r.anyone {
		return true
	}
	return !c.Anonymous() && (r.loggedIn || r.users[c.Name])
}
