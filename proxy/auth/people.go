package auth

import (
	"fmt"
	"strings"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
)

// groups are the users of each group, by its name.
type groups map[string]map[string]bool

// compileGroups checks the groups. They have names of users only: groups do not nest.
func compileGroups(members map[string][]string) (groups, error) {
	known := make(groups, len(members))
	for name, users := range members {
		known[name] = make(map[string]bool, len(users))
		for _, user := range users {
			if err := checkUser(user); err != nil {
				return nil, fmt.Errorf("group %q: %w", name, err)
			}
			known[name][user] = true
		}
	}
	return known, nil
}

// has tells whether the caller is in a group.
func (gs groups) has(name string, c Caller) bool { return gs[name][c.Name] }

// people is a compiled list of users and groups.
type people struct {
	users    map[string]bool
	groups   []string
	anyone   bool // "*"
	loggedIn bool // "?"
}

// compilePeople checks a list of users as rules have it. A group that is not known is
// conan.ErrInvalid.
func compilePeople(list []string, known groups) (people, error) {
	p := people{users: make(map[string]bool, len(list))}
	for _, entry := range list {
		group, isGroup := strings.CutPrefix(entry, "@")
		switch {
		case entry == identity.AnyoneWord:
			p.anyone = true
		case entry == identity.LoggedInWord:
			p.loggedIn = true
		case isGroup && known[group] == nil:
			return people{}, fmt.Errorf("%w: there is no group %q", conan.ErrInvalid, group)
		case isGroup:
			p.groups = append(p.groups, group)
		default:
			if err := checkUser(entry); err != nil {
				return people{}, err
			}
			p.users[entry] = true
		}
	}
	return p, nil
}

// checkUser checks the name of one user.
func checkUser(user string) error {
	if strings.HasPrefix(user, "@") {
		return fmt.Errorf("%w: %q is a group, where only users can stand", conan.ErrInvalid, user)
	}
	return identity.CheckUserName(user)
}

// admits tells whether the caller is one of the people. Groups are looked up at each call.
func (p *people) admits(c Caller, gs groups) bool {
	if p.anyone || c.Anonymous() {
		return p.anyone
	}
	if p.loggedIn || p.users[c.Name] {
		return true
	}
	for _, group := range p.groups {
		if gs.has(group, c) {
			return true
		}
	}
	return false
}
