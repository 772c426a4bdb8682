package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// Member is one place outside that answers: a cache over an upstream, and what it is asked.
type Member struct {
	Name    string           // as it is shown; unique, not "local"
	Source  conan.Source     //
	Clients conan.Generation // the clients that see it; empty is any
	Include []string         // conan.Glob patterns of what it is asked; none at all is everything
	Exclude []string         // conan.Glob patterns of what it is never asked
}

// LocalSource is the authoritative store as the resolver sees it.
type LocalSource interface {
	conan.Source

	// OwnRevisions lists the recipe revisions of ref that were published here, in any order;
	// adopted ones, which are copies of an upstream's, are left out. None is an empty list or conan.ErrNotFound.
	OwnRevisions(ctx context.Context, ref conan.Ref) ([]string, error)
}

// ResolverOptions are what a Resolver needs.
type ResolverOptions struct {
	Local     LocalSource // nil for a view of upstreams only
	Owns      []string    // conan.Glob patterns of what only the local store may answer
	Upstreams []Member    // in the order in which they are asked
	Log       *zap.Logger // nil is no log
}

// Resolver answers from many members as if they were one. It is safe for concurrent use.
//
// The members are the local store, if there is one, and then the upstreams in order. Which of
// them a reference concerns is settled by rules before any of them is asked: what the local
// store owns by name stays inside, and each upstream is asked what its include patterns admit
// and its exclude patterns do not.
//
// A question about the newest of something is answered by the first member that has it. If an
// earlier one could not tell, the answer is that member's ErrUnavailable and never silently the
// next one's. A pinned revision has one content wherever it is, so it may come from the next
// member that has it; all its files come from one of them.
type Resolver struct {
	local     *member // nil: none
	store     LocalSource
	owns      []conan.Glob
	upstreams []*member
	homes     *lru.Cache[conan.Revision, *member] // where pinned revisions were found; a hint only
	log       *zap.Logger
}

// Reader is what the routes ask.
type Reader interface {
	conan.Source

	// Newest pins rev: the recipe by its newest revision if rev.RRev is empty, and a package by
	// its newest PRev if rev.PRev is. If neither is named and the newest recipe revision lacks
	// the package id, the older ones of the same member are looked at, newest first.
	Newest(ctx context.Context, rev conan.Revision) (conan.Revision, error)

	// AllPackages lists the packages of every recipe revision in which Newest would look, sorted
	// by id; an id in several is that of the newest.
	AllPackages(ctx context.Context, ref conan.Ref) ([]conan.Package, error)

	// UpstreamsWith names the upstreams that have the revision, as far as can be told soon, for
	// a text that explains why it is still there. It asks nothing that rules forbid.
	UpstreamsWith(ctx context.Context, rev conan.Revision) []string
}

// member is a Member with compiled rules.
type member struct {
	conan.Source
	name    string
	clients conan.Generation
	include []conan.Glob // none: everything
	exclude []conan.Glob
	slow    atomic.Int64 // until when, in Unix nanoseconds, it is known to answer too late
}

const (
	localName   = "local"
	hintedHomes = 16384
)

// NewResolver checks the options and makes a Resolver. A pattern that cannot be understood,
// a member without a name or a source and two of one name are conan.ErrInvalid.
func NewResolver(o ResolverOptions) (*Resolver, error) {
	homes, err := lru.New[conan.Revision, *member](hintedHomes)
	if err != nil {
		return nil, fmt.Errorf("making a resolver: %w", err)
	}
	r := &Resolver{store: o.Local, homes: homes, log: o.Log}
	if r.log == nil {
		r.log = zap.NewNop()
	}
	if o.Local != nil {
		r.local = &member{Source: o.Local, name: localName}
	}
	if r.owns, err = parseGlobs("owns", o.Owns); err != nil {
		return nil, err
	}
	names := map[string]bool{localName: true}
	for _, m := range o.Upstreams {
		if m.Name == "" || m.Source == nil || names[m.Name] {
			return nil, fmt.Errorf("%w: upstream %q has no source, no name or another's name", conan.ErrInvalid, m.Name)
		}
		names[m.Name] = true
		compiled, err := compileMember(m)
		if err != nil {
			return nil, err
		}
		r.upstreams = append(r.upstreams, compiled)
	}
	return r, nil
}

func compileMember(m Member) (*member, error) {
	include, err := parseGlobs("include of upstream "+m.Name, m.Include)
	if err != nil {
		return nil, err
	}
	exclude, err := parseGlobs("exclude of upstream "+m.Name, m.Exclude)
	if err != nil {
		return nil, err
	}
	return &member{Source: m.Source, name: m.Name, clients: m.Clients, include: include, exclude: exclude}, nil
}

func parseGlobs(what string, patterns []string) ([]conan.Glob, error) {
	var globs []conan.Glob
	for _, p := range patterns {
		g, err := conan.ParseGlob(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		globs = append(globs, g)
	}
	return globs, nil
}

// For gives the reader for clients of one generation: it has the members that serve them.
func (r *Resolver) For(g conan.Generation) Reader {
	v := &generationReader{Resolver: r}
	for _, m := range r.upstreams {
		if m.clients.Serves(g) {
			v.serving = append(v.serving, m)
		}
	}
	return v
}

// generationReader is a Resolver as the clients of one generation see it. Its methods are in
// files of their own: questions about the newest in resolver_unpinned.go and newest.go, pinned
// ones in resolver_pinned.go, recipe search in resolver_search.go.
type generationReader struct {
	*Resolver
	serving []*member // the upstreams that serve these clients, in order
}

var _ Reader = (*generationReader)(nil)

// admits tells whether rules let the upstream be asked about ref, and its answers count.
func (m *member) admits(ref conan.Ref) bool {
	if anyGlob(m.exclude, ref) {
		return false
	}
	return len(m.include) == 0 || anyGlob(m.include, ref)
}

func anyGlob(globs []conan.Glob, ref conan.Ref) bool {
	for _, g := range globs {
		if g.Match(ref) {
			return true
		}
	}
	return false
}

// outside lists the upstreams that may be asked about ref, in order.
func (v *generationReader) outside(ref conan.Ref) []*member {
	if anyGlob(v.owns, ref) {
		return nil
	}
	var asked []*member
	for _, m := range v.serving {
		if m.admits(ref) {
			asked = append(asked, m)
		}
	}
	return asked
}

// members lists everyone who may be asked about ref, the local store first.
func (v *generationReader) members(ref conan.Ref) []*member {
	outside := v.outside(ref)
	if v.local == nil {
		return outside
	}
	return append([]*member{v.local}, outside...)
}

// absent tells a member's "I do not have it" from a failure: known to be absent, or not
// looked up because its configuration says so.
func absent(err error) bool {
	return errors.Is(err, conan.ErrNotFound) || errors.Is(err, conan.ErrNotFetched)
}

// nowhere is the answer if no member had what: a failure if there was one, and "not found"
// only if every member that was asked said so.
func nowhere(what fmt.Stringer, errs []error) error {
	for _, err := range errs {
		if !absent(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	for _, err := range errs {
		if !errors.Is(err, conan.ErrNotFound) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("%s: %w: the rules let nobody be asked for it", what, conan.ErrNotFetched)
	}
	return fmt.Errorf("%s: %w", what, conan.ErrNotFound)
}
