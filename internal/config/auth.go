package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// validateAuth checks users, groups and rules.
func (l *loader) validateAuth(c *Config) {
	a := c.Auth
	l.readable("auth.htpasswd_file", a.HtpasswdFile)
	l.positive("auth.token_lifetime", a.TokenLifetime)
	l.positive("auth.signature_lifetime", a.SignatureLifetime)
	for _, name := range slices.Sorted(maps.Keys(a.Groups)) {
		l.validateGroup(name, a.Groups[name])
	}
	l.rules("auth.read", a.Read, c)
	l.rules("auth.write", a.Write, c)
	for i, user := range a.Admin {
		item := fmt.Sprintf("auth.admin[%d]", i)
		if user == "*" || user == "?" {
			l.problem(item, "%q cannot be an administrator; write the names of users, or @ and the name of a group", user)
			continue
		}
		l.userOrGroup(item, user, a.Groups)
	}
}

func (l *loader) validateGroup(name string, users []string) {
	path := join("auth.groups", nameText(name))
	if !validName(name) {
		l.problem(path, "%.60q is not a name: at most 64 of a-z, 0-9, dot and hyphen, beginning with a letter or digit", name)
	}
	for i, user := range users {
		item := fmt.Sprintf("%s[%d]", path, i)
		if user == "*" || user == "?" || strings.HasPrefix(user, "@") {
			l.problem(item, "%.60q is not the name of a user; a group has users only", user)
			continue
		}
		l.userName(item, user)
	}
}

func (l *loader) rules(path string, rules []Rule, c *Config) {
	for i, r := range rules {
		rule := fmt.Sprintf("%s[%d]", path, i)
		l.check(rule+".pattern", checkPattern(r.Pattern))
		if len(r.Users) == 0 {
			l.problem(rule+".users", `is empty; write ["*"] for anyone, ["?"] for any logged-in user, or names`)
		}
		for j, user := range r.Users {
			l.userOrGroup(fmt.Sprintf("%s.users[%d]", rule, j), user, c.Auth.Groups)
		}
		if r.In != nil && len(r.In) == 0 {
			l.problem(rule+".in", "is empty; write the names of stores and upstreams, or leave the key out for all of them")
		}
		l.memberNames(rule+".in", r.In, "name its members", c)
	}
}

// userOrGroup checks an entry of a list of users.
func (l *loader) userOrGroup(path, entry string, groups Groups) {
	group, isGroup := strings.CutPrefix(entry, "@")
	if _, ok := groups[group]; isGroup && !ok {
		l.problem(path, "there is no group %.60q in auth.groups", group)
		return
	}
	l.userName(path, entry)
}

func (l *loader) userName(path, name string) {
	if name == "" || strings.ContainsAny(name, " :") {
		l.problem(path, "%.60q cannot be the name of a user", name)
	}
}

// memberNames checks a list of the names of stores and upstreams. notViews says what to do if a
// view is among them.
func (l *loader) memberNames(path string, names []string, notViews string, c *Config) {
	known := c.DefaultMembers()
	for i, name := range names {
		item := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case slices.ContainsFunc(c.Views, func(v View) bool { return v.Name == name }):
			l.problem(item, "%.60q is a view; %s", name, notViews)
		case !slices.Contains(known, name):
			l.problem(item, "there is no store and no upstream %.60q", name)
		case slices.Index(names, name) < i:
			l.problem(item, "%.60q is named twice", name)
		}
	}
}
