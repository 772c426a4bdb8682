package conan

import "strings"

// Wildcard is fnmatch over a whole id.
type Wildcard string

// Match tells whether the id matches.
func (w Wildcard) Match(id string) bool {
	if !strings.ContainsAny(string(w), "*?[") {
		return string(w) == id
	}
	p, err := ParsePattern(string(w), false)
	if err != nil {
		return false
	}
	if p.prog == nil {
		return true
	}
	m := matcher{prog: p.prog}
	m.start()
	return m.token(id)
}
