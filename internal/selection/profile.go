package selection

import (
	"fmt"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// Profile has the settings and options of a host profile of the client.
type Profile struct {
	settings, options []assignment
}

// assignment is one line of a profile: "key=value" or "pattern:key=value".
type assignment struct{ pattern, key, value string }

// ParseProfile reads what `conan profile show` prints, up to the build profile, or a profile file
// without templates. What is wrong is conan.ErrInvalid.
func ParseProfile(text string) (Profile, error) {
	var p Profile
	section, seen := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line == "Build profile:", line == "[settings]" && seen:
			return p, p.check() // the build profile follows
		case strings.Contains(line, "{{"), strings.Contains(line, "{%"), strings.HasPrefix(line, "include("):
			return p, fmt.Errorf("%w: the profile includes another one or has templates: give what `conan profile show` prints", conan.ErrInvalid)
		case line[0] == '[':
			section, seen = line, seen || line == "[settings]"
		case section == "[settings]":
			p.settings = append(p.settings, parseAssignment(line))
		case section == "[options]":
			p.options = append(p.options, parseAssignment(line))
		}
	}
	return p, p.check()
}

// check refuses what is no profile.
func (p Profile) check() error {
	if len(p.settings)+len(p.options) == 0 {
		return fmt.Errorf("%w: the profile has neither [settings] nor [options]", conan.ErrInvalid)
	}
	for _, a := range slices.Concat(p.settings, p.options) {
		if a.key == "" {
			return fmt.Errorf("%w: a line of [settings] or [options] is not key=value", conan.ErrInvalid)
		}
	}
	return nil
}

// parseAssignment reads a line. A "!" before the "=" makes the client insist on an option.
func parseAssignment(line string) assignment {
	left, value, ok := strings.Cut(line, "=")
	if !ok {
		return assignment{}
	}
	pattern, key, ok := cutLast(left, ":")
	if !ok {
		pattern, key = "", left
	}
	return assignment{strings.TrimSpace(pattern), strings.TrimSpace(strings.TrimSuffix(key, "!")), strings.TrimSpace(value)}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// For is what the profile says about a reference that something requires: of several lines about
// one key the last counts. Options without a pattern are of the consumer only.
func (p Profile) For(ref conan.Ref) (settings, options map[string]string) {
	settings, options = make(map[string]string), make(map[string]string)
	for _, a := range p.settings {
		if a.pattern == "" {
			settings[a.key] = a.value
		}
	}
	for _, a := range p.settings {
		if a.pattern != "" && a.concerns(ref) {
			settings[a.key] = a.value
		}
	}
	for _, a := range p.options {
		if a.pattern != "" && a.concerns(ref) {
			options[a.key] = a.value
		}
	}
	return settings, options
}

// concerns tells whether the pattern matches a reference: its text, or in a profile of Conan 1 its
// name. A "!" or "~" negates it; "&" is the consumer.
func (a assignment) concerns(ref conan.Ref) bool {
	pattern := strings.TrimLeft(a.pattern, "!~")
	match := conan.Wildcard(pattern).Match(ref.String()) || conan.Wildcard(pattern).Match(ref.Name)
	return match != (pattern != a.pattern)
}
