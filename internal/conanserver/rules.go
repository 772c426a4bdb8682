package conanserver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// Rules are what a server.conf says, in the form that our configuration has.
type Rules struct {
	Users       []string // the names of [users], sorted
	Read, Write []Rule   // the first whose pattern matches decides
	Problems    []string // one sentence each about what was left out
}

// Rule names the users of the references that a pattern matches.
type Rule struct {
	Pattern string
	Users   []string
}

// Translate reads the text of a server.conf. Conan 1's server lets everybody read and write what is
// under their own user name, whatever the rules say; ownNames adds a rule for that.
func Translate(text string, ownNames bool) Rules {
	var rules Rules
	if ownNames {
		own := Rule{Pattern: "*@{user}/*", Users: []string{"?"}}
		rules.Read, rules.Write = append(rules.Read, own), append(rules.Write, own)
	}
	for _, e := range parseConf(text) {
		switch {
		case e.section == "users":
			if e.key == "" || strings.ContainsAny(e.key, " :") {
				rules.problem("the user %q: a name has no space and no colon", e.key)
				continue
			}
			rules.Users = append(rules.Users, e.key)
		case e.section == "read_permissions":
			rules.Read = append(rules.Read, rules.translate(e)...)
		case e.section == "write_permissions":
			rules.Write = append(rules.Write, rules.translate(e)...)
		case e.section == "server" && strings.HasPrefix(e.key, "custom_auth") && e.value != "":
			rules.problem("%s: %s is a program of its own; its users and rights are not in this file", e.key, e.value)
		}
	}
	slices.Sort(rules.Users)
	return rules
}

func (r *Rules) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// translate makes rules of one line "name/version@user/channel: users".
func (r *Rules) translate(e confEntry) []Rule {
	patterns, ok := patternsOf(e.key)
	if !ok {
		r.problem("the rule %q of [%s]: no pattern matches exactly these references", e.key, e.section)
		return nil
	}
	var users []string
	for user := range strings.SplitSeq(e.value, ",") {
		users = append(users, strings.TrimSpace(user))
	}
	switch {
	case users[0] == "*" || users[0] == "?":
		users = users[:1]
	case slices.ContainsFunc(users, func(u string) bool { return u == "" || u == "*" || u == "?" || strings.ContainsAny(u, " :@") }):
		r.problem("the rule %q of [%s]: %q is not a list of users", e.key, e.section, e.value)
		return nil
	}
	var out []Rule
	for _, pattern := range patterns {
		out = append(out, Rule{Pattern: pattern, Users: users})
	}
	return out
}

// patternsOf are the patterns that match the same references as a rule of the server, in which a
// part is a * or stands for itself, and * also matches no user and no channel.
func patternsOf(rule string) ([]string, bool) {
	ref, place, hasPlace := strings.Cut(rule, "@")
	name, version, ok := strings.Cut(ref, "/")
	user, channel, hasChannel := strings.Cut(place, "/")
	if !ok || hasPlace != hasChannel || !hasPlace {
		return nil, false
	}
	for _, part := range []string{name, version, user, channel} {
		if part == "" || part != "*" && strings.ContainsAny(part, "*/@") {
			return nil, false
		}
	}
	anyPlace := user == "*" && channel == "*"
	patterns := []string{rule}
	switch {
	case anyPlace && version == "*":
		patterns = []string{ref}
	case anyPlace && name == "*": // "*/1.0" also matches the channel 1.0
		return nil, false
	case anyPlace:
		patterns = []string{ref, ref + "@*"}
	}
	for _, pattern := range patterns {
		if _, err := conan.ParseGlob(pattern); err != nil {
			return nil, false
		}
	}
	return patterns, true
}

// confEntry is one line of a section.
type confEntry struct{ section, key, value string }

// parseConf reads the format of Python's configparser: sections, "key: value" or "key = value",
// comments that begin a line, and values that go on in indented lines.
func parseConf(text string) (entries []confEntry) {
	section := ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
		case trimmed[0] == '[' && strings.HasSuffix(trimmed, "]"):
			section = trimmed[1 : len(trimmed)-1]
		case (line[0] == ' ' || line[0] == '\t') && len(entries) > 0 && entries[len(entries)-1].section == section:
			last := &entries[len(entries)-1]
			last.value = strings.TrimSpace(last.value + "\n" + trimmed)
		default:
			at := cmp.Or(strings.IndexAny(trimmed, ":=")+1, len(trimmed)+1) - 1
			value := strings.TrimSpace(trimmed[min(at+1, len(trimmed)):])
			entries = append(entries, confEntry{section, strings.TrimSpace(trimmed[:at]), value})
		}
	}
	return entries
}
