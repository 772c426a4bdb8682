package conan

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pattern is a compiled recipe search pattern with the semantics of conan_server: an
// fnmatch pattern, anchored at both ends and tried against every partial sum of the tokens
// of a reference. For hello/1.0@demo/stable these are "hello", "hello/", "hello/1.0",
// "hello/1.0@", "hello/1.0@demo", "hello/1.0@demo/", "hello/1.0@demo/stable", and both
// with the "#" and "#0" of a revision, which every server without revisions shows.
//
// In a pattern * is any run of characters (also of / and @), ? is one character, [seq] and
// [!seq] are one character in or not in a set with ranges; nothing can be escaped, and a [
// without its ] stands for itself.
//
// It is compiled here because in path.Match a * stops at a slash, and because the work of one
// search must stay bounded whatever pattern a client sends.
//
// The zero value matches everything. A Pattern is safe for concurrent use; it is not
// comparable: String and IgnoreCase together identify it.
type Pattern struct {
	_          [0]func()
	text       string
	ignoreCase bool
	prog       *program // nil matches everything
}

// maxPatternSize bounds the text of a search in bytes.
const maxPatternSize = 4 << 10

// ParsePattern compiles text. The empty text matches everything. Text that is longer than
// 4 KiB or not UTF-8 is ErrInvalid; everything else is a pattern.
func ParsePattern(text string, ignoreCase bool) (Pattern, error) {
	if len(text) > maxPatternSize {
		return Pattern{}, fmt.Errorf("%w: search pattern is longer than %d bytes", ErrInvalid, maxPatternSize)
	}
	if !utf8.ValidString(text) {
		return Pattern{}, fmt.Errorf("%w: search pattern is not UTF-8", ErrInvalid)
	}
	p := Pattern{text: text, ignoreCase: ignoreCase}
	if strings.Trim(text, "*") != "" {
		elements, trailing := parseFnmatch(text, ignoreCase)
		p.prog = compile(elements, trailing)
		p.prog.prefix = literalPrefix(elements, ignoreCase)
	}
	return p, nil
}

// String is the pattern as it was asked for; empty means everything.
func (p Pattern) String() string { return p.text }

// IgnoreCase tells whether case is ignored.
func (p Pattern) IgnoreCase() bool { return p.ignoreCase }

// Prefix is the longest text that every matching reference begins with: r.String() begins
// with it, or its lower-case form does if case is ignored (the prefix is lower case then).
// It is empty if the pattern begins with a wildcard. An index can narrow by it; Match
// still decides, since "zlib" as a pattern does not match zlib-ng/1.0.
func (p Pattern) Prefix() string {
	if p.prog == nil {
		return ""
	}
	return p.prog.prefix
}

// Match tells whether p finds r. The time is bounded by the length of the reference times
// the length of the pattern over 64, whatever the pattern looks like.
func (p Pattern) Match(r Ref) bool {
	if p.prog == nil {
		return true
	}
	m := matcher{prog: p.prog}
	m.start()
	if m.token(r.Name) || m.token("/") || m.token(r.Version) {
		return true
	}
	if r.User != "" && (m.token("@") || m.token(r.User)) {
		return true
	}
	if r.Channel != "" && (m.token("/") || m.token(r.Channel)) {
		return true
	}
	return m.token("#") || m.token(MutableRevision)
}

// element is one character position of a pattern: the ASCII characters that it takes
// (references are ASCII), and whether a * stands before it.
type element struct {
	set  [2]uint64
	star bool
}

func (e *element) add(c rune) {
	if c < utf8.RuneSelf {
		e.set[c>>6] |= 1 << (c & 63)
	}
}

func (e *element) has(c byte) bool { return c < utf8.RuneSelf && e.set[c>>6]&(1<<(c&63)) != 0 }

// fold adds the other cases of every character that the element takes.
func (e *element) fold() {
	for c := rune('a'); c <= 'z'; c++ {
		if upper := c - 'a' + 'A'; e.has(byte(c)) || e.has(byte(upper)) {
			e.add(c)
			e.add(upper)
		}
	}
}

// single returns the one character that the element takes: in lower case, and the cases of
// a letter being one, if case is ignored.
func (e *element) single(ignoreCase bool) (c byte, ok bool) {
	for i := byte(1); i < utf8.RuneSelf; i++ {
		if !e.has(i) {
			continue
		}
		if ok && !(ignoreCase && c >= 'A' && c <= 'Z' && i == c-'A'+'a') {
			return 0, false
		}
		c, ok = i, true
	}
	return c, ok
}

// parseFnmatch splits a pattern into its elements; trailing tells whether a * ends it.
func parseFnmatch(text string, ignoreCase bool) (elements []element, trailing bool) {
	var e element
	push := func() {
		if ignoreCase {
			e.fold()
		}
		elements = append(elements, e)
		e = element{}
	}
	pattern := []rune(text)
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c == '*' {
			e.star = true
			continue
		}
		if c == '?' {
			e.set = [2]uint64{^uint64(0), ^uint64(0)}
			push()
			continue
		}
		if end := classEnd(pattern, i); c == '[' && end > 0 {
			e.set = parseClass(pattern[i+1:end], ignoreCase)
			i = end
			push()
			continue
		}
		e.add(c)
		if ignoreCase && c >= utf8.RuneSelf { // ſ and the Kelvin sign are cases of s and k
			for f := unicode.SimpleFold(c); f != c; f = unicode.SimpleFold(f) {
				e.add(f)
			}
		}
		push()
	}
	return elements, e.star
}

// classEnd is the index of the ] that closes the class which begins at i, or 0. A ] right
// after [ or [! belongs to the set.
func classEnd(pattern []rune, i int) int {
	j := i + 1
	if j < len(pattern) && pattern[j] == '!' {
		j++
	}
	for j++; j < len(pattern); j++ {
		if pattern[j] == ']' {
			return j
		}
	}
	return 0
}

// parseClass reads what stands between [ and ]. A range whose ends are the wrong way round is
// empty.
func parseClass(seq []rune, ignoreCase bool) [2]uint64 {
	negate := seq[0] == '!'
	if negate {
		seq = seq[1:]
	}
	var e element
	for i := 0; i < len(seq); {
		lo, hi, used := seq[i], seq[i], 1
		if i+2 < len(seq) && seq[i+1] == '-' {
			hi, used = seq[i+2], 3
		}
		for c := lo; c <= hi && c < utf8.RuneSelf; c++ {
			e.add(c)
		}
		i += used
	}
	if ignoreCase {
		e.fold()
	}
	if negate {
		e.set = [2]uint64{^e.set[0], ^e.set[1]}
	}
	return e.set
}

// program runs a pattern as a set of states: state i says that i elements are behind it.
// It holds one bit per state, so a step costs one operation for 64 elements.
type program struct {
	prefix string
	accept int                     // the last state
	take   [utf8.RuneSelf][]uint64 // bit i: element i takes the character
	stay   []uint64                // bit i: a * stands before element i (or at the end)
	never  bool                    // longer than any reference
}

func compile(elements []element, trailing bool) *program {
	p := &program{accept: len(elements)}
	if p.accept > maxRefLength+len("#0") {
		p.never = true
		return p
	}
	words := p.accept/64 + 1
	table := make([]uint64, words*(utf8.RuneSelf+1))
	p.stay = table[:words]
	for c := range p.take {
		p.take[c] = table[words*(c+1) : words*(c+2)]
	}
	for i, e := range elements {
		bit := uint64(1) << (i & 63)
		if e.star {
			p.stay[i>>6] |= bit
		}
		for c := range p.take {
			if e.has(byte(c)) {
				p.take[c][i>>6] |= bit
			}
		}
	}
	if trailing {
		p.stay[p.accept>>6] |= 1 << (p.accept & 63)
	}
	return p
}

// literalPrefix is Pattern.Prefix: the plain characters before the first wildcard, without a
// revision.
func literalPrefix(elements []element, ignoreCase bool) string {
	var b strings.Builder
	for i := range elements {
		c, ok := elements[i].single(ignoreCase)
		if !ok || elements[i].star || c == '#' {
			break
		}
		b.WriteByte(c)
	}
	return b.String()
}

// maxStateWords holds the states of the longest pattern that can match.
const maxStateWords = (maxRefLength+len("#0"))/64 + 1

// matcher is one run of a program.
type matcher struct {
	prog   *program
	states [maxStateWords]uint64
}

func (m *matcher) start() { m.states[0] = 1 }

// token feeds the next token and tells whether the pattern matches what was fed so far.
func (m *matcher) token(s string) bool {
	p := m.prog
	if p.never {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			c = 0 // never in a valid reference; only * and ? take it
		}
		take := p.take[c]
		var carry uint64
		for w := range take {
			moved := m.states[w] & take[w]
			m.states[w] = m.states[w]&p.stay[w] | moved<<1 | carry
			carry = moved >> 63
		}
	}
	return m.states[p.accept>>6]&(1<<(p.accept&63)) != 0
}
