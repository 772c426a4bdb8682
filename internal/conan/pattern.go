package conan

// Pattern is a compiled recipe search pattern with the semantics of conan_server
// (protocol/v1.md §2.4): fnmatch, tried against every partial sum of the tokens of a reference.
// The zero value matches everything.
type Pattern struct {
	text       string
	ignoreCase bool
}

// String is the pattern as it was asked for; empty means everything.
func (p Pattern) String() string { return p.text }

// IgnoreCase tells whether case is ignored.
func (p Pattern) IgnoreCase() bool { return p.ignoreCase }
