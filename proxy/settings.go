package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// Readers gives the Reader for a caller with these rights and with a client of one generation, and
// one that explains its answers. *resolver.Resolver is one.
type Readers interface {
	For(conan.Generation, resolver.Rights) resolver.Reader
	Trace(conan.Generation, resolver.Rights) *resolver.Trace
}

// View is one mount of the API: what it reads, and where it takes uploads and deletes. Every member
// has a view of its own, which has its name.
type View struct {
	Name      string   // in logs, in metrics and in GitLab's project prefix; unique
	Path      string   // where it is mounted: "" is the root, else one or two segments like "/r/team"
	Also      []string // more such paths
	Resolver  Readers  // answers the reading questions
	Whole     Readers  // the same with what is hidden, for operators; nil: Resolver
	Members   []string // what it reads, in order, as rules name it
	Upstreams bool     // whether one of them is an upstream

	Publisher conan.Publisher // takes uploads and deletes; nil: the view is read-only
	Store     string          // the name of the Publisher's store

	today *View // of a view as it was: the view as it is
}

// Writable tells whether the view takes uploads and deletes.
func (v *View) Writable() bool { return v.Publisher != nil }

// readsStoreOnly tells whether clients see only the store through this view, so that `conan upload`
// does not skip a package because an upstream has it.
func (v *View) readsStoreOnly() bool { return v.Writable() && !v.Upstreams }

// SettingsOptions are what Settings are made of. Only Guard must be set.
type SettingsOptions struct {
	Views []View
	Guard *auth.Guard // users and rules

	// scheme, host and perhaps a path, for absolute URLs; empty: URLs begin at the root of the host
	PublicURL string
	// external path prefix, "/conan"; requests are answered with and without it
	BasePath       string
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-* headers count

	// At gives what answers for a view as it was at a moment, which is not in the future: from the
	// same members, for the same callers. Nil: paths with /at/ do not exist.
	At func(view *View, at time.Time) (Readers, error)

	// whether successful requests for /healthz, /readyz and /metrics get a line in the access log
	LogProbes bool
}

// Settings are what may be replaced while the server runs. They never change: a request takes the
// Settings of the moment when it begins and keeps them to its end.
type Settings struct {
	guard     *auth.Guard
	views     []*View // in the order in which they were given
	byName    map[string]*View
	byPath    map[string]*View
	moments   moments
	urls      urlBuilder
	trusted   trustedProxies
	logProbes bool
}

// NewSettings checks the options and makes Settings. Errors are a missing Guard, a PublicURL that
// is not an absolute http or https URL, a BasePath that is not a clean path, a view without a name
// or a resolver, and two views of one name or path.
func NewSettings(o SettingsOptions) (*Settings, error) {
	if o.Guard == nil {
		return nil, errors.New("proxy: SettingsOptions.Guard is missing")
	}
	urls, err := newURLBuilder(o.PublicURL, o.BasePath)
	if err != nil {
		return nil, err
	}
	s := &Settings{
		guard:     o.Guard,
		byName:    make(map[string]*View, len(o.Views)),
		byPath:    make(map[string]*View, len(o.Views)),
		moments:   newMoments(o.At),
		urls:      urls,
		trusted:   o.TrustedProxies,
		logProbes: o.LogProbes,
	}
	for _, v := range o.Views {
		if err := s.add(&v); err != nil {
			return nil, fmt.Errorf("proxy: view %q: %w", v.Name, err)
		}
	}
	return s, nil
}

func (s *Settings) add(v *View) error {
	if v.Name == "" || v.Resolver == nil {
		return errors.New("it needs a name and a resolver")
	}
	if s.byName[v.Name] != nil {
		return errors.New("another view has its name")
	}
	if v.Whole == nil {
		v.Whole = v.Resolver
	}
	s.views = append(s.views, v)
	s.byName[v.Name] = v
	for _, path := range append([]string{v.Path}, v.Also...) {
		if clean, _, err := cleanPath(path + "/"); err != nil || clean != path || strings.Count(path, "/") > 2 {
			return fmt.Errorf("its path %q is not a clean path of at most two segments", path)
		}
		if s.byPath[path] != nil {
			return fmt.Errorf("its path %q is that of view %q", path, s.byPath[path].Name)
		}
		s.byPath[path] = v
	}
	return nil
}

// publishPath is the mount to name in a text that says where uploads go: a view that reads only its
// store if there is one, since clients do not upload what they can read.
func (s *Settings) publishPath() (path string, ok bool) {
	for _, v := range s.views {
		if v.readsStoreOnly() {
			return v.Path, true
		}
		if v.Writable() && !ok {
			path, ok = v.Path, true
		}
	}
	return path, ok
}

// takesUploads tells whether anyone may publish at all: a user, or everybody by a rule.
func (s *Settings) takesUploads() bool {
	return s.guard.HasUsers() || s.guard.AnyWriter(auth.Caller{}) == nil
}

// takesWrites is nil if the view takes uploads and deletes, else a refusal with that status.
func (s *Settings) takesWrites(v *View, status int) error {
	if v.Writable() {
		return nil
	}
	path, ok := s.publishPath()
	if v.today != nil && v.today.Writable() {
		path, ok = v.today.Path, true
	}
	if !ok {
		return refuse(status, "this server takes no uploads and no deletes")
	}
	if path == "" {
		path = "/"
	}
	if v.today != nil {
		return refuse(status, "the past takes no uploads and no deletes: use %s", path)
	}
	return refuse(status, "the view %q takes no uploads and no deletes: use %s", v.Name, path)
}
