package config

import (
	"fmt"
	"slices"
	"time"
)

// Store is a named set of published packages.
type Store struct {
	Name      string        `yaml:"name"`      // [a-z0-9][a-z0-9.-]*, unique over stores, upstreams and views
	Owns      []string      `yaml:"owns"`      // patterns of references that are never asked upstream where this store is a member
	Overwrite bool          `yaml:"overwrite"` // other bytes may replace the files of a published revision
	TrashFor  time.Duration `yaml:"trash_for"` // how long removed revisions can be restored; 0: not at all
	Quota     Size          `yaml:"quota"`     // bytes that the store may have, without its trash; 0: no bound
	Retention Retention     `yaml:"retention"` // what is removed because it is no longer needed
}

// View is an ordered list of members under one URL.
type View struct {
	Name    string   `yaml:"name"`    // as of a store; "default" is served at the root
	Members []string `yaml:"members"` // names of stores and upstreams; the order decides which answers
	Publish string   `yaml:"publish"` // the store that takes uploads; empty: read-only
}

// Names with a meaning of their own: LocalName may only be the first store, and DefaultView is the
// view at the root.
const (
	LocalName   = "local"
	AllName     = "all"
	DefaultView = "default"
)

// defaultTrashFor is how long removed revisions can be restored.
const defaultTrashFor = 7 * 24 * time.Hour

// defaultStore has the values of the keys that an entry of stores leaves out.
func defaultStore() Store {
	return Store{Owns: []string{}, Overwrite: true, TrashFor: defaultTrashFor, Retention: noRetention()}
}

// AllStores lists the stores in order: those of the section stores, or the one that the section
// local means.
func (c *Config) AllStores() []Store {
	if len(c.Stores) > 0 {
		return c.Stores
	}
	return []Store{{
		Name: LocalName, Owns: c.Local.Owns, Overwrite: c.Local.Overwrite, TrashFor: c.Local.TrashFor, Retention: c.Local.Retention,
	}}
}

// DefaultMembers lists every member in configured order, stores first.
func (c *Config) DefaultMembers() []string {
	var names []string
	for _, s := range c.AllStores() {
		names = append(names, s.Name)
	}
	for _, u := range c.Upstreams {
		names = append(names, u.Name)
	}
	return names
}

// ShareView tells whether two members are in one view, be it that at the root.
func (c *Config) ShareView(a, b string) bool {
	if !c.HasDefaultView() {
		return true
	}
	return slices.ContainsFunc(c.Views, func(v View) bool { return slices.Contains(v.Members, a) && slices.Contains(v.Members, b) })
}

// HasDefaultView tells whether a view is configured for the root.
func (c *Config) HasDefaultView() bool {
	return slices.ContainsFunc(c.Views, func(v View) bool { return v.Name == DefaultView })
}

// validateStores checks stores and views, whose names are unique together with those of upstreams.
func (l *loader) validateStores(c *Config) {
	if len(c.Stores) > 0 && l.origin["local"] != "" {
		l.problem("local", "says the same as stores; write its keys into the entry %q of stores", c.Stores[0].Name)
	}
	taken := make(map[string]string) // name → path
	take := func(path, name string) {
		if other, ok := taken[name]; ok && name != "" {
			l.problem(path+".name", "%.60q is also the name of %s", name, other)
			return
		}
		taken[name] = path
	}
	for i, s := range c.Stores {
		path := fmt.Sprintf("stores[%d]", i)
		l.checkName(path, s.Name, i > 0)
		take(path, s.Name)
		l.userlessPatterns(path+".owns", s.Owns)
		l.notNegative(path+".trash_for", s.TrashFor)
		l.validateRetention(path+".retention", &c.Stores[i].Retention)
	}
	for i, u := range c.Upstreams {
		take(fmt.Sprintf("upstreams[%d]", i), u.Name)
	}
	for i, v := range c.Views {
		path := fmt.Sprintf("views[%d]", i)
		l.checkName(path, v.Name, true)
		take(path, v.Name)
		l.validateView(path, v, c)
	}
}

func (l *loader) validateView(path string, v View, c *Config) {
	if len(v.Members) == 0 {
		l.problem(path+".members", "is empty; write the names of stores and upstreams")
	}
	l.memberNames(path+".members", v.Members, "a view has stores and upstreams as members", c)
	if v.Publish == "" {
		return
	}
	isStore := slices.ContainsFunc(c.AllStores(), func(s Store) bool { return s.Name == v.Publish })
	switch {
	case !isStore:
		l.problem(path+".publish", "there is no store %.60q", v.Publish)
	case !slices.Contains(v.Members, v.Publish):
		l.problem(path+".publish", "%.60q is no member of the view, so what is published could not be read there", v.Publish)
	}
}

// checkName checks the name of a store or view. notLocal tells that it is not the first store.
func (l *loader) checkName(path, name string, notLocal bool) {
	if name == LocalName && notLocal {
		l.problem(path+".name", "%q may only be the first store, which /local serves", name)
		return
	}
	l.checkMemberName(path, name, AllName)
}

// CheckMemberName tells why a name is none that a store or upstream can have.
func CheckMemberName(name string) error {
	switch {
	case name == AllName || name == DefaultView:
		return fmt.Errorf("%q has a meaning of its own; choose another name", name)
	case !validName(name):
		return fmt.Errorf("%.60q is not a name: at most 64 of a-z, 0-9, dot and hyphen, beginning with a letter or digit", name)
	}
	return nil
}

// checkMemberName checks a name that appears in URLs. reserved are valid names with another
// meaning.
func (l *loader) checkMemberName(path, name string, reserved ...string) {
	switch {
	case name == "":
		l.problem(path+".name", "is missing")
	case slices.Contains(reserved, name):
		l.problem(path+".name", "%q has a meaning of its own; choose another", name)
	case !validName(name):
		l.problem(path+".name", "%.60q is not a name: at most 64 of a-z, 0-9, dot and hyphen, beginning with a letter or digit", name)
	}
}
