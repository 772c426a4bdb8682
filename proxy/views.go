package proxy

import (
	"errors"
	"fmt"

	"conanproxy/internal/conan"
)

// The names of the two views that always exist; the others are named after upstreams.
const (
	ViewAll   = "all"   // at the root: every member
	ViewLocal = "local" // at /local: the local store only
)

// Readers gives the Reader that answers clients of one generation. *Resolver is one.
type Readers interface {
	For(conan.Generation) Reader
}

// View is one mount of the API: what it reads, and whether it takes uploads and deletes.
type View struct {
	Name     string // ViewAll, ViewLocal or an upstream's name
	Resolver Readers
	Writable bool
}

// SetViews replaces the views, for requests that come from now on, and forgets every kept
// answer: call it after each change of rules, users or upstreams. Two views of one name, a
// view without a name or without a Resolver are errors, and nothing changes then.
func (s *Server) SetViews(views []View) error {
	table := make(map[string]View, len(views))
	for _, v := range views {
		if v.Name == "" || v.Resolver == nil {
			return errors.New("proxy: a view needs a name and a resolver")
		}
		if _, twice := table[v.Name]; twice {
			return fmt.Errorf("proxy: two views are named %q", v.Name)
		}
		v.Writable = v.Writable && s.publisher != nil
		table[v.Name] = v
	}
	s.views.Store(&table)
	s.documents.forgetAll()
	return nil
}

// view looks a view up by the name in the path of a request.
func (s *Server) view(name string) (View, bool) {
	v, ok := (*s.views.Load())[name]
	return v, ok
}
