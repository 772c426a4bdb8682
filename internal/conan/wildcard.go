package conan

// Wildcard is fnmatch over a whole id.
type Wildcard string

// Match tells whether the id matches.
func (w Wildcard) Match(id string) bool {
	p, err := ParsePattern(string(w), false)
	if err != nil {
		return false
	}
	if p.prog == nil {
		return w != "" || id == ""
	}
	m := matcher{prog: p.prog}
	m.start()
	return m.token(id)
}
