package conformance

import (
	"slices"
	"strings"

	"conanproxy/internal/harness"
)

// This is a second evaluator of the rules, written from their description in docs/rights.md: plain
// loops over strings. It shares nothing with the program.

// rule is one line of auth.read or auth.write.
type rule struct {
	pattern string
	users   []string
	in      []string
}

// ruleSet is what a server is told about rights.
type ruleSet struct {
	name        string
	read, write []rule
	groups      map[string][]string
}

// settings are the section auth of the configuration.
func (s ruleSet) settings() harness.Settings {
	list := func(rules []rule) []harness.Settings {
		all := make([]harness.Settings, len(rules))
		for i, r := range rules {
			all[i] = harness.Settings{"pattern": r.pattern, "users": append([]string{}, r.users...)}
			if len(r.in) > 0 {
				all[i]["in"] = r.in
			}
		}
		return all
	}
	return harness.Settings{"read": list(s.read), "write": list(s.write), "groups": s.groups}
}

// may tells whether the first rule about the member whose pattern matches admits the user.
func (s ruleSet) may(rules []rule, user, member, ref string) bool {
	for _, r := range rules {
		if r.speaksOf(member) && r.matches(user, ref) {
			return s.admits(r, user)
		}
	}
	return false
}

// mayFindAny tells whether a search over everything in the members is answered: not if anonymous
// callers may read nothing there, whatever is stored.
func (s ruleSet) mayFindAny(user string, members []string) bool {
	if user != nobody {
		return true
	}
	for _, member := range members {
		for _, r := range s.read {
			if !r.speaksOf(member) || strings.Contains(r.pattern, "{user}") {
				continue
			}
			if s.admits(r, user) {
				return true
			}
			if r.pattern == "*" {
				break
			}
		}
	}
	return false
}

// someWriter tells whether an anonymous caller may write something somewhere.
func (s ruleSet) someWriter() bool {
	for _, r := range s.write {
		if slices.Contains(r.users, "*") && !strings.Contains(r.pattern, "{user}") {
			return true
		}
	}
	return false
}

// robotLimits are what a robot token may do at most; an empty pattern and no members are all.
type robotLimits struct {
	read, write bool
	pattern     string
	in          []string
}

// allow tells whether the limits let the token of an owner do something with a reference.
func (l *robotLimits) allow(right bool, owner, member, ref string) bool {
	r := rule{pattern: l.pattern, in: l.in}
	return right && r.speaksOf(member) && (l.pattern == "" || r.matches(owner, ref))
}

// mayRead tells whether a caller may read a reference in a member.
func (s ruleSet) mayRead(c rightsCaller, member, ref string) bool {
	return s.may(s.read, c.user, member, ref) && (c.robot == nil || c.robot.allow(c.robot.read, c.user, member, ref))
}

// mayWrite tells whether a caller may write a reference in a store.
func (s ruleSet) mayWrite(c rightsCaller, store, ref string) bool {
	return s.may(s.write, c.user, store, ref) && (c.robot == nil || c.robot.allow(c.robot.write, c.user, store, ref))
}

func (s ruleSet) admits(r rule, user string) bool {
	for _, u := range r.users {
		group, isGroup := strings.CutPrefix(u, "@")
		switch {
		case u == "*",
			user != nobody && (u == "?" || u == user),
			user != nobody && isGroup && slices.Contains(s.groups[group], user):
			return true
		}
	}
	return false
}

func (r rule) speaksOf(member string) bool {
	return len(r.in) == 0 || slices.Contains(r.in, member)
}

func (r rule) matches(user, ref string) bool {
	if strings.Contains(r.pattern, "{user}") && user == nobody {
		return false
	}
	return starMatch(strings.ReplaceAll(r.pattern, "{user}", user), ref)
}

// starMatch tries every run of characters for a star.
func starMatch(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	if pattern[0] != '*' {
		return text != "" && text[0] == pattern[0] && starMatch(pattern[1:], text[1:])
	}
	for i := range len(text) + 1 {
		if starMatch(pattern[1:], text[i:]) {
			return true
		}
	}
	return false
}

// ruleSets are those of the matrix. Members are the stores dev and release and the upstream direct;
// ann is in the group team, bob in guests, eve in none.
func ruleSets() []ruleSet {
	type who = []string
	closed := who{"demo"} // who is none of the callers
	dev, release, direct := who{"dev"}, who{"release"}, who{"direct"}
	all := func(users ...string) rule { return rule{pattern: "*", users: users} }
	sets := []ruleSet{
		{name: "everything is open", read: []rule{all("*")}, write: []rule{all("*")}},
		{name: "no rules"},
		{name: "users read, one of them writes", read: []rule{all("?")}, write: []rule{all("ann")}},
		{name: "names in order",
			read:  []rule{{"inner/*", who{"ann"}, nil}, {"outer/*", who{"bob", "eve"}, nil}, {"owned/*", closed, nil}, all("*")},
			write: []rule{{"shared/*", who{"bob"}, nil}, all("ann")}},
		{name: "a rule for all before those that narrow",
			read:  []rule{all("*"), {"inner/*", who{"ann"}, nil}, {"*", closed, dev}},
			write: []rule{all("?"), {"shared/*", who{"bob"}, nil}, {"*", closed, release}}},
		{name: "one store is closed before all are open",
			read:  []rule{{"*", closed, dev}, all("*")},
			write: []rule{{"*", closed, release}, all("?")}},
		{name: "each member has its readers",
			read:  []rule{{"*", who{"@team"}, dev}, {"*", who{"?"}, release}, {"*", who{"*"}, direct}},
			write: []rule{{"*", who{"@team"}, dev}, {"*", who{"@guests"}, release}}},
		{name: "rules about the upstream only",
			read:  []rule{{"shared/*", who{"bob"}, direct}, {"*", who{"*"}, direct}},
			write: []rule{{"*", who{"*"}, direct}}},
		{name: "own names",
			read:  []rule{{"*@{user}/*", who{"?"}, nil}, {"*", who{"*"}, release}},
			write: []rule{{"*@{user}/*", who{"?"}, nil}, {"outer/*", who{"eve"}, dev}}},
		{name: "own names in one store",
			read:  []rule{{"*@{user}/*", who{"*"}, dev}, {"*", closed, dev}, all("*")},
			write: []rule{{"*@{user}/*", who{"*"}, release}, {"*", who{"bob"}, dev}}},
		{name: "groups",
			read:  []rule{all("@team"), {"shared/*", who{"@guests"}, release}, {"outer/*", who{"@guests", "eve"}, nil}},
			write: []rule{{"*", who{"@team", "eve"}, dev}, {"*", who{"@guests"}, release}}},
		{name: "a closed rule decides before a group",
			read:  []rule{{"owned/*", closed, nil}, {"*", who{"@team"}, nil}, {"*", who{"?"}, direct}},
			write: []rule{{"owned/*", closed, release}, all("@team", "@guests")}},
		{name: "two members with one pattern",
			read:  []rule{{"shared/*", who{"bob"}, release}, {"shared/*", who{"*"}, direct}, all("ann")},
			write: []rule{{"shared/*", who{"bob"}, release}, {"shared/*", who{"ann"}, dev}}},
		{name: "rules about two members each",
			read:  []rule{{"*ne*", who{"eve"}, who{"dev", "direct"}}, {"*", who{"bob"}, who{"release", "dev"}}, {"*/1.0", who{"*"}, release}},
			write: []rule{{"*/9.9*", who{"eve"}, who{"dev", "release"}}}},
	}
	for i := range sets {
		sets[i].groups = map[string][]string{"team": {"ann", "demo"}, "guests": {"bob"}}
	}
	return sets
}
