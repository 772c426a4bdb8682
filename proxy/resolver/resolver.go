// Package resolver answers from many members as if they were one.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
	"conanproxy/internal/memory"
	"conanproxy/internal/policy"
)

// Member is one place that answers: a store, or a cache over an upstream behind its rules.
type Member struct {
	Name   string       // as it is shown; unique
	Source conan.Source // of an upstream; not needed of a store

	Store Store        // set if the member is a store
	Owns  policy.Globs // of a store: what no upstream is asked about

	Clients conan.Generation // the clients that see it; empty is any
	Rules   policy.Rules     // about which references it is asked
}

// Store is an authoritative store as the resolver sees it.
type Store interface {
	conan.Source

	// OwnRevisions lists the recipe revisions of ref that were published in the store, in any
	// order; adopted ones, which are copies of an upstream's, are left out. None is an empty list
	// or conan.ErrNotFound.
	OwnRevisions(ctx context.Context, ref conan.Ref) ([]string, error)
}

// Options are what a Resolver needs.
type Options struct {
	Members []Member     // in the order in which they answer
	Owns    policy.Globs // what stores that are no members own: no upstream is asked about it
	// where it is remembered in which member a revision was found; nil: 1 MiB of its own
	Memory *memory.Answers
	Scope  string      // tells the hints of one resolver in Memory from those of others
	Log    *zap.Logger // nil is no log
}

// Resolver answers from many members as if they were one. It is safe for concurrent use.
//
// Rules decide which members a reference concerns before any of them is asked: what a store
// owns by name is asked of no upstream, and each upstream is asked what its rules admit.
//
// A question about the newest of something is answered by the first member in order that has it. If
// an earlier one could not tell, the answer is that member's ErrUnavailable and never silently the
// next one's. A pinned revision has one content wherever it is, so it may come from the next member
// that has it; all its files come from one of them.
type Resolver struct {
	all    []*member
	owns   policy.Globs
	memory *memory.Answers
	scope  string
	log    *zap.Logger
}

// Reader is what the routes ask.
type Reader interface {
	conan.Source

	// Newest pins rev: the recipe by its newest revision if rev.RRev is empty, and a package by its
	// newest PRev if rev.PRev is. If neither is named and the newest recipe revision lacks the
	// package id, the older ones of the same member are looked at, newest first.
	Newest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Revision], error)

	// AllPackages lists the packages of every recipe revision in which Newest would look, sorted by
	// id; an id in several is that of the newest.
	AllPackages(ctx context.Context, ref conan.Ref) (conan.Answer[[]conan.Package], error)

	// UpstreamsWith names the upstreams that have the revision, as far as can be told soon, for a
	// text that explains why it is still there. It asks nothing that rules forbid.
	UpstreamsWith(ctx context.Context, rev conan.Revision) []string
}

// member is a Member with what is known of it.
type member struct {
	Member
	conan.Source
	degradedUntil *atomic.Int64 // until when, in Unix nanoseconds, it is known to answer too late
}

// New checks the options and makes a Resolver. A member without a name or a source and two of one
// name are conan.ErrInvalid.
func New(o Options) (*Resolver, error) {
	r := &Resolver{owns: slices.Clone(o.Owns), memory: o.Memory, scope: o.Scope, log: o.Log}
	if r.log == nil {
		r.log = zap.NewNop()
	}
	if r.memory == nil {
		r.memory = memory.NewAnswers(1 << 20)
	}
	names := make(map[string]bool)
	for _, m := range o.Members {
		source := m.Source
		if m.Store != nil {
			source = m.Store
		}
		if m.Name == "" || source == nil || names[m.Name] {
			return nil, fmt.Errorf("%w: member %q has no source, no name or another's name", conan.ErrInvalid, m.Name)
		}
		names[m.Name] = true
		r.all = append(r.all, &member{Member: m, Source: source, degradedUntil: new(atomic.Int64)})
		r.owns = append(r.owns, m.Owns...)
	}
	return r, nil
}

// For gives the reader for a caller with these rights and with a client of one generation: it has
// the members that serve such clients. Without rights (nil) it reads everything.
func (r *Resolver) For(g conan.Generation, rights Rights) Reader { return r.reader(g, rights) }

func (r *Resolver) reader(g conan.Generation, rights Rights) *generationReader {
	v := &generationReader{Resolver: r, rights: rights}
	for _, m := range r.all {
		if m.Clients.Serves(g) {
			v.serving = append(v.serving, m)
		}
	}
	return v
}

// generationReader is a Resolver as a caller with a client of one generation sees it. Its methods
// are in files of their own: questions about the newest in unpinned.go and newest.go, pinned ones
// in pinned.go, recipe search in search.go.
type generationReader struct {
	*Resolver
	serving []*member // the members that serve these clients, in order
	rights  Rights    // of the caller; nil: everything
	trace   *Trace    // what is noted for an explanation; nil: nothing is
}

var _ Reader = (*generationReader)(nil)

// members lists every member that may be asked about ref, in order.
func (v *generationReader) members(ref conan.Ref) []*member {
	owned := v.owns.Match(ref)
	return v.those(func(m *member) bool {
		admitted := m.isStore() || !owned && m.Rules.Admits(ref)
		return admitted && v.mayRead(m, ref)
	})
}

func (v *generationReader) those(which func(*member) bool) []*member {
	var list []*member
	for _, m := range v.serving {
		if which(m) {
			list = append(list, m)
		}
	}
	return list
}

func (m *member) isStore() bool { return m.Store != nil }

// split tells the stores of a list of members from its upstreams, both in order.
func split(members []*member) (stores, upstreams []*member) {
	for _, m := range members {
		if m.isStore() {
			stores = append(stores, m)
		} else {
			upstreams = append(upstreams, m)
		}
	}
	return stores, upstreams
}

// notAnywhere is the error if no member had what: a failure if there was one, and "not found" only
// if every member that was asked said so.
func notAnywhere(what fmt.Stringer, errs []error) error {
	for _, err := range errs {
		if !conan.IsAbsent(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	for _, err := range errs {
		if !errors.Is(err, conan.ErrNotFound) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("%s: %w: the rules let no member be asked for it", what, conan.ErrNotFetched)
	}
	return fmt.Errorf("%s: %w", what, conan.ErrNotFound)
}
