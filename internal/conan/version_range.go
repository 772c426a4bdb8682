package conan

import (
	"fmt"
	"strings"
)

// VersionRange is a range as Conan 2 writes it between brackets: alternatives separated by "||",
// each a list of conditions that must all hold. The zero value contains nothing. Conan orders
// versions and pre-releases by rules of its own, so no library for semantic versions serves.
type VersionRange struct {
	text         string
	alternatives [][]versionCondition
	prereleases  bool
}

// versionCondition is one comparison. The operator "*" compares the beginning of the text.
type versionCondition struct {
	operator string
	version  Version
}

// ParseVersionRange reads the text between the brackets of name/[…]. What Conan's client refuses
// is ErrInvalid.
func ParseVersionRange(text string) (VersionRange, error) {
	if text == "" {
		return VersionRange{}, fmt.Errorf("%w: the version range is empty", ErrInvalid)
	}
	r := VersionRange{text: text}
	expression, options, _ := strings.Cut(text, ",")
	if err := r.parseOptions(options); err != nil {
		return VersionRange{}, err
	}
	for alternative := range strings.SplitSeq(expression, "||") {
		conditions, err := parseConditions(alternative)
		if err != nil {
			return VersionRange{}, fmt.Errorf("version range %q: %w", clip(text), err)
		}
		r.alternatives = append(r.alternatives, conditions)
	}
	return r, nil
}

func (r *VersionRange) parseOptions(options string) error {
	if options == "" {
		return nil
	}
	for option := range strings.SplitSeq(options, ",") {
		if strings.Contains(option, "include_prerelease") {
			r.prereleases = true
			return nil
		}
		option = strings.TrimSpace(option)
		if option == "" || !isLetter(option[0]) { // the client ignores words that it does not know
			return fmt.Errorf("%w: %q in version range %q is no option", ErrInvalid, clip(option), clip(r.text))
		}
	}
	return nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func parseConditions(text string) ([]versionCondition, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		words = []string{"*"}
	}
	var conditions []versionCondition
	for _, word := range words {
		parsed, err := parseCondition(word)
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, parsed...)
	}
	return conditions, nil
}

func parseCondition(word string) ([]versionCondition, error) {
	if word == "*" {
		return []versionCondition{newCondition(">=", ParseVersion("0.0.0"))}, nil
	}
	if len(word) == 1 {
		return nil, fmt.Errorf("%w: %q is no condition", ErrInvalid, word)
	}
	operator, version := splitOperator(word)
	switch {
	case version == "":
		return nil, fmt.Errorf("%w: %q has no version", ErrInvalid, clip(word))
	case (operator == "~" || operator == "^" || operator == "=") && version[0] == '=':
		return nil, fmt.Errorf("%w: %q: write %s instead of %s=", ErrInvalid, clip(word), operator, operator)
	case operator == "*" && len(version) == 1:
		return nil, fmt.Errorf("%w: %q: write %s.*", ErrInvalid, word, version) // the client fails too
	case operator == "~":
		return tilde(version)
	case operator == "^":
		return caret(version)
	}
	return []versionCondition{newCondition(operator, ParseVersion(version))}, nil
}

func splitOperator(word string) (operator, version string) {
	for _, op := range []string{">=", "<=", ">", "<", "^", "~", "="} {
		if rest, ok := strings.CutPrefix(word, op); ok {
			return op, rest
		}
	}
	if rest, ok := strings.CutSuffix(word, "*"); ok {
		return "*", rest
	}
	return "=", word
}

// newCondition excludes pre-releases of the bound from "<", and includes them in ">=".
func newCondition(operator string, v Version) versionCondition {
	if (operator == ">=" || operator == "<") && !strings.Contains(v.text, "-") && v.build == nil {
		v = ParseVersion(v.text + "-")
	}
	return versionCondition{operator, v}
}

func tilde(text string) ([]versionCondition, error) {
	if !strings.Contains(text, "-") {
		text += "-"
	}
	v := ParseVersion(text)
	return between(v, min(1, len(v.items)-1))
}

func caret(text string) ([]versionCondition, error) {
	v := ParseVersion(text)
	index := 0
	for index < len(v.items) && v.items[index].text == "0" {
		index++
	}
	return between(v, index)
}

func between(v Version, index int) ([]versionCondition, error) {
	upper, err := v.upperBound(index)
	if err != nil {
		return nil, err
	}
	return []versionCondition{newCondition(">=", v), newCondition("<", upper)}, nil
}

// String is the text that the range was read from.
func (r VersionRange) String() string { return r.text }

// Contains tells whether the version is in the range. A pre-release is only if the range has
// the option include_prerelease.
func (r VersionRange) Contains(v Version) bool {
	if v.IsPrerelease() && !r.prereleases {
		return false
	}
	for _, conditions := range r.alternatives {
		if areMet(conditions, v) {
			return true
		}
	}
	return false
}

func areMet(conditions []versionCondition, v Version) bool {
	for _, c := range conditions {
		if !c.isMet(v) {
			return false
		}
	}
	return true
}

func (c versionCondition) isMet(v Version) bool {
	if c.operator == "*" {
		return strings.HasPrefix(v.text, c.version.text)
	}
	order := v.Compare(c.version)
	switch c.operator {
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	}
	return order == 0
}
