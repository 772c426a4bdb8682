package conan

import (
	"fmt"
	"strings"
)

// Glob is a rule pattern of the configuration: the references that users may read or write, that a
// store owns, that an upstream is asked for. It is matched against the whole of Ref.String,
// case-sensitively. A * is any run of characters, also of / and @, and {user} is the caller's own
// name; nothing else is special. A pattern that allows any channel, as *@acme/* does, matches
// references without a channel too (zlib/1.3@acme). The zero value matches nothing.
type Glob struct {
	text  string
	parts []string // the literal text between the stars; one part: no star
	user  bool     // {user} occurs
}

// userWord is what a rule writes for the caller's own name.
const userWord = "{user}"

// ParseGlob compiles a rule pattern. Text that no reference can match is ErrInvalid, with a
// sentence that says why, so that a rule which protects nothing is noticed at once.
func ParseGlob(s string) (Glob, error) {
	literal := strings.ReplaceAll(s, userWord, "")
	for _, c := range literal {
		if !strings.ContainsRune(globAlphabet, c) {
			return Glob{}, fmt.Errorf("%w: pattern %q: %q is in no reference; only * and %s are special", ErrInvalid, clip(s), c, userWord)
		}
	}
	g := Glob{text: s, parts: strings.Split(s, "*"), user: len(literal) != len(s)}
	if strings.HasSuffix(s, "@_") || strings.Contains(s, "@_/") {
		return Glob{}, fmt.Errorf("%w: pattern %q: references without a user are written without @", ErrInvalid, clip(s))
	}
	if len(g.parts) == 1 && !g.user {
		if r, err := ParseRef(s); err != nil || r.String() != s {
			return Glob{}, fmt.Errorf("%w: pattern %q matches no reference; a name alone is written name/*", ErrInvalid, clip(s))
		}
	}
	return g, nil
}

// globAlphabet is what references are made of, and the star.
const globAlphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-/@*"

// String is the pattern as it was written.
func (g Glob) String() string { return g.text }

// Match tells whether g matches r for a caller without a name: a pattern with {user} never does.
func (g Glob) Match(r Ref) bool { return g.MatchFor(r, "") }

// MatchFor tells whether g matches r for the named caller. The name is taken literally, also
// if it contains a star. An empty name never matches a pattern with {user}.
func (g Glob) MatchFor(r Ref, user string) bool {
	if g.user && user == "" {
		return false
	}
	text := r.String()
	if g.match(text, user) {
		return true
	}
	anyEnd := len(g.parts) > 1 && g.parts[len(g.parts)-1] == ""
	return anyEnd && r.User != "" && r.Channel == "" && g.match(text+"/", user)
}

// match is linear: the first part begins the text, the last one ends it, and each one
// between is taken where it first occurs.
func (g Glob) match(text, user string) bool {
	if len(g.parts) == 0 {
		return false
	}
	last := len(g.parts) - 1
	part := func(i int) string {
		if !g.user {
			return g.parts[i]
		}
		return strings.ReplaceAll(g.parts[i], userWord, user)
	}
	if last == 0 {
		return text == part(0)
	}
	rest, ok := strings.CutPrefix(text, part(0))
	if !ok {
		return false
	}
	for i := 1; i < last; i++ {
		if _, rest, ok = strings.Cut(rest, part(i)); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, part(last))
}

// MayMeet tells whether some reference could match both g and a search; it errs on the side of
// true.
func (g Glob) MayMeet(p Pattern) bool {
	mine, _, _ := strings.Cut(g.text, "*")
	mine, _, _ = strings.Cut(mine, userWord)
	theirs := p.Prefix()
	if p.IgnoreCase() {
		mine = strings.ToLower(mine)
	}
	return strings.HasPrefix(mine, theirs) || strings.HasPrefix(theirs, mine)
}

// MatchSearch tells whether a recipe search is for what g covers, so that an upstream must
// not see its text: it would tell a covered name and find nothing else. It is meant for
// patterns without {user}; with one it is false.
//
// The wildcards of the text are taken literally, so only a * of g covers them: acme-* covers
// the searches acme-core/* and acme-*, but not acme* or *, which other names match too. A
// search also finds references that merely begin with its text at the end of a name or user,
// so it is covered as well if g covers it whatever version or channel follows: internal/*
// covers the search internal, *@acme/* covers zlib/*@acme, but neither covers zlib/*. Case
// is ignored, since searches ignore it. Text that is no pattern is covered: it finds nothing
// anyway.
func (g Glob) MatchSearch(text string) bool {
	if g.user || len(g.parts) == 0 {
		return false
	}
	p, err := ParsePattern(text, true)
	if err != nil {
		return true
	}
	folded := Glob{parts: strings.Split(strings.ToLower(g.text), "*")}
	text = literalSearch(p)
	if folded.match(text, "") {
		return true
	}
	switch lastToken := text[strings.LastIndexByte(text, '@')+1:]; {
	case lastToken == "" || strings.HasSuffix(lastToken, "/"):
		return folded.match(text+opaque, "")
	case !strings.Contains(lastToken, "/"):
		return folded.match(text+"/"+opaque, "")
	}
	return false
}

// opaque stands for a wildcard of a search: a character of no reference and no Glob.
const opaque = "\x00"

// literalSearch is the text of a search in lower case with opaque in place of its wildcards,
// and without a revision.
func literalSearch(p Pattern) string {
	var b strings.Builder
	elements, trailing := parseFnmatch(p.text, true)
	for i := range elements {
		c, ok := elements[i].single(true)
		if elements[i].star {
			b.WriteString(opaque)
		}
		if ok && c == '#' {
			trailing = false
			break
		}
		if ok {
			b.WriteByte(c)
		} else {
			b.WriteString(opaque)
		}
	}
	if trailing || b.Len() == 0 {
		b.WriteString(opaque)
	}
	return b.String()
}
