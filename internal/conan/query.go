package conan

import (
	"fmt"
	"strings"
)

// Query is an expression over settings and options of binaries, in the language of the client's
// option -p: `os=Linux and (compiler=gcc or options.shared=True)`. The client gives "and" and "or"
// no precedence, and where both stand side by side without parentheses it joins the last two terms
// first, by the first operator: `a and b or c` is `a or (b and c)`. Query does the same. The zero
// value matches every binary.
type Query struct {
	text    string
	postfix []queryTerm
}

// queryTerm is a comparison, or the operator & or | if it has one.
type queryTerm struct {
	operator    byte
	name, value string
}

// ParseQuery reads an expression; the empty text matches everything. What the client refuses
// ("!", "~", "not", unbalanced parentheses, a term without "=") is ErrInvalid.
func ParseQuery(text string) (Query, error) {
	q := Query{text: text}
	if text == "" {
		return q, nil
	}
	if len(text) > maxPatternSize {
		return Query{}, fmt.Errorf("%w: the query is longer than %d bytes", ErrInvalid, maxPatternSize)
	}
	if strings.ContainsAny(text, "!~") || strings.Contains(text, " not ") || strings.HasPrefix(text, "not ") {
		return Query{}, fmt.Errorf(`%w: query %q: "!", "~" and "not" are not allowed`, ErrInvalid, clip(text))
	}
	var err error
	if q.postfix, err = queryPostfix(text); err != nil {
		return Query{}, fmt.Errorf("query %q: %w", clip(text), err)
	}
	return q, nil
}

var queryOperators = strings.NewReplacer(" AND ", "&", " OR ", "|", " and ", "&", " or ", "|")

// queryPostfix brings an expression into postfix form. Operators wait until the end, or until the
// parenthesis closes in which they stand.
func queryPostfix(text string) ([]queryTerm, error) {
	text = queryOperators.Replace(text)
	var output []queryTerm
	var stack []byte
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ':
			i++
		case '(', '&', '|':
			stack = append(stack, c)
			i++
		case ')':
			open := strings.LastIndexByte(string(stack), '(')
			if open < 0 {
				return nil, errUnbalanced
			}
			for j := len(stack) - 1; j > open; j-- {
				output = append(output, queryTerm{operator: stack[j]})
			}
			stack = stack[:open]
			i++
		default:
			word := queryWord(text[i:])
			term, err := parseTerm(word)
			if err != nil {
				return nil, err
			}
			output = append(output, term)
			i += len(word)
		}
	}
	for _, c := range stack {
		if c == '(' {
			return nil, errUnbalanced
		}
		output = append(output, queryTerm{operator: c})
	}
	return output, checkPostfix(output)
}

var errUnbalanced = fmt.Errorf("%w: the parentheses are not balanced", ErrInvalid)

// queryWord is the comparison that the text begins with. Quotes protect spaces and operators.
func queryWord(text string) string {
	quoted := false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\'':
			quoted = !quoted
		case !quoted && strings.IndexByte(" &|()", c) >= 0:
			return text[:i]
		}
	}
	return text
}

func parseTerm(word string) (queryTerm, error) {
	name, value, ok := strings.Cut(word, "=")
	if !ok {
		return queryTerm{}, fmt.Errorf("%w: %q is not name=value", ErrInvalid, clip(word))
	}
	return queryTerm{name: name, value: strings.ReplaceAll(value, `"`, "")}, nil
}

// checkPostfix tells whether each operator has two operands and one value is left.
func checkPostfix(postfix []queryTerm) error {
	depth := 0
	for _, t := range postfix {
		if t.operator == 0 {
			depth++
			continue
		}
		if depth < 2 {
			return fmt.Errorf("%w: an operator lacks an operand", ErrInvalid)
		}
		depth--
	}
	if depth != 1 {
		return fmt.Errorf("%w: an operator is missing between two terms", ErrInvalid)
	}
	return nil
}

// String is the text that the query was read from.
func (q Query) String() string { return q.text }

// IsZero tells whether the query matches everything because it is empty.
func (q Query) IsZero() bool { return len(q.postfix) == 0 }

// Match evaluates the query on a binary. A name is that of a setting, or of an option after
// "options."; the value None means that the binary does not have it.
func (q Query) Match(info Info) bool {
	if q.IsZero() {
		return true
	}
	var stack []bool
	for _, t := range q.postfix {
		if t.operator == 0 {
			stack = append(stack, t.match(info))
			continue
		}
		a, b := stack[len(stack)-1], stack[len(stack)-2]
		stack = stack[:len(stack)-2]
		if t.operator == '&' {
			stack = append(stack, a && b)
		} else {
			stack = append(stack, a || b)
		}
	}
	return stack[0]
}

func (t queryTerm) match(info Info) bool {
	values, name := info.Settings, t.name
	if option, ok := strings.CutPrefix(name, "options."); ok {
		values, name = info.Options, option
	}
	value, ok := values[name]
	if !ok {
		return t.value == "None"
	}
	return value == t.value
}
