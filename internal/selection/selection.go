// Package selection says what an operation is about: references, revisions and packages, chosen by
// the patterns of Conan's client or by the files that it writes (package lists, graphs, lockfiles).
package selection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// Selection is what a user chose. The zero value selects nothing.
type Selection struct {
	Patterns []conan.ListPattern
	Named    []Named // from files of the client

	Query  conan.Query // which packages, of those that a pattern or a lockfile leaves open
	Latest int         // how many of the newest revisions "latest" means; 0 is 1

	RecipesOnly  bool // leave packages out
	PackagesOnly bool // leave recipe revisions out
}

// Named is one revision that a file names. An empty RRev or PRev means the newest.
type Named struct {
	conan.Revision
	WithPackages bool // a recipe with all its packages, as a lockfile means it
	From         string
}

// Entry is one revision that a selection found.
type Entry struct {
	conan.Revision
	Time time.Time // of the revision; zero for a reference or a package id without revision
	Info string    // conaninfo.txt of a package if the listing told it
}

// Resolved is a selection resolved against a Source.
type Resolved struct {
	Entries []Entry  // sorted by reference, revision, package; each once
	Missing []string // what was named and is not there, in the order of the selection, as sentences
}

// Resolve finds the selection in a source. What is named and not found stands in Missing; errors
// are failures of the source.
func (s Selection) Resolve(ctx context.Context, source conan.Source) (Resolved, error) {
	r := resolver{Selection: s, source: source, found: make(map[conan.Revision]Entry)}
	if s.RecipesOnly && s.PackagesOnly {
		return Resolved{}, fmt.Errorf("%w: recipes only and packages only exclude each other", conan.ErrInvalid)
	}
	for _, p := range s.Patterns {
		if err := r.pattern(ctx, p); err != nil {
			return Resolved{}, fmt.Errorf("selection %q: %w", p, err)
		}
	}
	for _, n := range s.Named {
		if err := r.named(ctx, n); err != nil {
			return Resolved{}, fmt.Errorf("selection %s of %s: %w", n.Revision, n.From, err)
		}
	}
	return r.result(), nil
}

// resolver collects what one selection finds.
type resolver struct {
	Selection
	source  conan.Source
	found   map[conan.Revision]Entry
	missing []string
}

func (r *resolver) result() Resolved {
	entries := make([]Entry, 0, len(r.found))
	for _, e := range r.found {
		if e.IsPackage() && r.RecipesOnly || !e.IsPackage() && r.PackagesOnly {
			continue
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(
			strings.Compare(a.Ref.String(), b.Ref.String()), strings.Compare(a.RRev, b.RRev),
			strings.Compare(a.PackageID, b.PackageID), strings.Compare(a.PRev, b.PRev))
	})
	return Resolved{Entries: entries, Missing: r.missing}
}

func (r *resolver) add(rev conan.Revision, at time.Time, info string) {
	if e, ok := r.found[rev]; ok && info == "" {
		info = e.Info
	}
	r.found[rev] = Entry{Revision: rev, Time: at, Info: info}
}

func (r *resolver) miss(format string, args ...any) {
	r.missing = append(r.missing, fmt.Sprintf(format, args...))
}

func (r *resolver) latest() int { return max(r.Latest, 1) }

// pattern adds what a pattern finds, as the client's command list would.
func (r *resolver) pattern(ctx context.Context, p conan.ListPattern) error {
	if !r.Query.IsZero() && p.PackageID != "" && !strings.Contains(p.PackageID, "*") {
		return fmt.Errorf("%w: a query needs a pattern of package ids, not the id %q", conan.ErrInvalid, p.PackageID)
	}
	refs, err := r.refs(ctx, p)
	if err != nil {
		return err
	}
	if len(refs) == 0 && p.IsLiteral() {
		r.miss("Recipe '%s' not found", p)
	}
	for _, ref := range refs {
		if p.RRev == "" && p.PackageID == "" {
			r.add(conan.Revision{Ref: ref}, time.Time{}, "")
			continue
		}
		if err := r.recipes(ctx, p, ref); err != nil {
			return err
		}
	}
	return nil
}

func (r *resolver) refs(ctx context.Context, p conan.ListPattern) ([]conan.Ref, error) {
	if ref, ok, err := p.Exact(); err != nil || ok {
		return []conan.Ref{ref}, err
	}
	question, err := p.Search()
	if err != nil {
		return nil, err
	}
	answer, err := r.source.Search(ctx, question)
	if err != nil {
		return nil, err
	}
	var refs []conan.Ref
	for _, ref := range answer.Value {
		if p.Keeps(ref) {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// recipes adds the recipe revisions of one reference that a pattern selects, and their packages.
func (r *resolver) recipes(ctx context.Context, p conan.ListPattern, ref conan.Ref) error {
	node := conan.Revision{Ref: ref}
	revisions, err := r.revisions(ctx, node, cmp.Or(p.RRev, conan.LatestRevision))
	if err != nil {
		return err
	}
	if len(revisions) == 0 && p.IsLiteral() && conan.Wildcard(p.RRev).IsLiteral() {
		r.miss("Recipe revision '%s' not found", p)
	}
	for _, rt := range revisions {
		recipe := node.With(rt.ID)
		r.add(recipe, rt.Time, "")
		if p.PackageID == "" {
			continue
		}
		if err := r.packages(ctx, p, recipe); err != nil {
			return err
		}
	}
	return nil
}

// revisions lists those of a node's revisions that a part of a pattern selects; none is no error.
func (r *resolver) revisions(ctx context.Context, node conan.Revision, part string) ([]conan.RevisionTime, error) {
	if part == conan.LatestRevision && r.latest() == 1 {
		answer, err := r.source.Latest(ctx, node)
		if absent(err) {
			return nil, nil
		}
		return []conan.RevisionTime{answer.Value}, err
	}
	answer, err := r.source.Revisions(ctx, node)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := answer.Value
	switch part {
	case conan.LatestRevision:
		return list[:min(r.latest(), len(list))], nil
	case conan.NotLatestRevision:
		return list[1:], nil
	}
	return slices.DeleteFunc(slices.Clone(list), func(rt conan.RevisionTime) bool {
		return !conan.Wildcard(part).Match(rt.ID)
	}), nil
}

// packages adds the packages of one recipe revision that a pattern selects.
func (r *resolver) packages(ctx context.Context, p conan.ListPattern, recipe conan.Revision) error {
	wanted := conan.Wildcard(p.PackageID)
	if wanted.IsLiteral() && p.PRev != "" {
		return r.packageRevisions(ctx, p, recipe, conan.Package{ID: p.PackageID})
	}
	answer, err := r.source.Packages(ctx, recipe, false)
	if err != nil && !absent(err) {
		return err
	}
	found := false
	for _, pkg := range answer.Value {
		if !wanted.Match(pkg.ID) {
			continue
		}
		found = true
		if !r.Query.Match(conan.ParseInfo(pkg.Info)) {
			continue
		}
		if err := r.packageRevisions(ctx, p, recipe, pkg); err != nil {
			return err
		}
	}
	if !found && wanted.IsLiteral() && p.IsLiteral() {
		r.miss("Package ID '%s' not found", p)
	}
	return nil
}

func (r *resolver) packageRevisions(ctx context.Context, p conan.ListPattern, recipe conan.Revision, pkg conan.Package) error {
	node := recipe
	node.PackageID = pkg.ID
	if p.PRev == "" {
		r.add(node, time.Time{}, pkg.Info)
		return nil
	}
	revisions, err := r.revisions(ctx, node, p.PRev)
	if err != nil {
		return err
	}
	if len(revisions) == 0 && p.IsLiteral() && conan.Wildcard(p.PRev).IsLiteral() && conan.Wildcard(p.PackageID).IsLiteral() {
		r.miss("Package revision '%s' not found", p)
	}
	for _, rt := range revisions {
		r.add(node.With(rt.ID), rt.Time, pkg.Info)
	}
	return nil
}

// named adds one revision that a file names, with its recipe.
func (r *resolver) named(ctx context.Context, n Named) error {
	recipe := n.Recipe()
	rt, err := r.one(ctx, recipe)
	if err != nil {
		return err
	}
	if rt == nil {
		r.miss("%s: recipe %s is not here", n.From, recipe)
		return nil
	}
	recipe = recipe.With(rt.ID)
	r.add(recipe, rt.Time, "")
	switch {
	case n.IsPackage():
		return r.namedPackage(ctx, n, recipe)
	case n.WithPackages && !r.RecipesOnly:
		all, err := conan.ParseListPattern(recipe.String()+":*", conan.ListDefaults{PRev: conan.LatestRevision})
		if err != nil {
			return err
		}
		return r.packages(ctx, all, recipe)
	}
	return nil
}

func (r *resolver) namedPackage(ctx context.Context, n Named, recipe conan.Revision) error {
	pkg := n.Revision
	pkg.RRev = recipe.RRev
	rt, err := r.one(ctx, pkg)
	if err != nil {
		return err
	}
	if rt == nil {
		r.miss("%s: package %s is not here", n.From, pkg)
		return nil
	}
	r.add(pkg.With(rt.ID), rt.Time, "")
	return nil
}

// one finds a revision by its id, or the newest if it has none; nil if it is not there.
func (r *resolver) one(ctx context.Context, rev conan.Revision) (*conan.RevisionTime, error) {
	if rev.ID() == "" {
		answer, err := r.source.Latest(ctx, rev)
		if absent(err) {
			return nil, nil
		}
		return &answer.Value, err
	}
	answer, err := r.source.Revisions(ctx, rev.With(""))
	if err != nil && !absent(err) {
		return nil, err
	}
	i := slices.IndexFunc(answer.Value, func(rt conan.RevisionTime) bool { return rt.ID == rev.ID() })
	if i < 0 {
		return nil, nil
	}
	return &answer.Value[i], nil
}

// absent tells a source's "I do not have it" from a failure.
func absent(err error) bool {
	return errors.Is(err, conan.ErrNotFound) || errors.Is(err, conan.ErrNotFetched)
}
