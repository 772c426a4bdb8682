package policy

import (
	"context"
	"fmt"

	"conanproxy/internal/conan"
)

// Filter is a Source that is asked only what its rules admit.
type Filter struct {
	source conan.Source
	rules  Rules
}

var _ conan.Source = (*Filter)(nil)

// NewFilter puts rules before a source.
func NewFilter(source conan.Source, rules Rules) *Filter { return &Filter{source, rules} }

// ask asks about a reference, or is conan.ErrNotFetched if the rules forbid it.
func ask[T any](f *Filter, ref conan.Ref, question func() (conan.Answer[T], error)) (conan.Answer[T], error) {
	if !f.rules.Admits(ref) {
		return conan.Answer[T]{}, fmt.Errorf("%s: %w: a rule keeps it from being asked for here", ref, conan.ErrNotFetched)
	}
	return question()
}

// Latest implements conan.Source.
func (f *Filter) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	return ask(f, rev.Ref, func() (conan.Answer[conan.RevisionTime], error) { return f.source.Latest(ctx, rev) })
}

// Revisions implements conan.Source.
func (f *Filter) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	return ask(f, rev.Ref, func() (conan.Answer[[]conan.RevisionTime], error) { return f.source.Revisions(ctx, rev) })
}

// Snapshot implements conan.Source.
func (f *Filter) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	return ask(f, rev.Ref, func() (conan.Answer[conan.Snapshot], error) { return f.source.Snapshot(ctx, rev) })
}

// Open implements conan.Source.
func (f *Filter) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	return ask(f, rev.Ref, func() (conan.Answer[*conan.File], error) { return f.source.Open(ctx, rev, name) })
}

// Packages implements conan.Source.
func (f *Filter) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	return ask(f, recipe.Ref, func() (conan.Answer[[]conan.Package], error) { return f.source.Packages(ctx, recipe, idsOnly) })
}

// Search implements conan.Source. A search that asks only for what the rules shut out is not sent;
// it is conan.ErrNotFetched.
func (f *Filter) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	if !f.rules.admitsSearch(p) {
		return conan.Answer[[]conan.Ref]{}, fmt.Errorf("search: %w: a rule keeps it from being sent here", conan.ErrNotFetched)
	}
	found, err := f.source.Search(ctx, p)
	if err != nil {
		return found, err
	}
	admitted := make([]conan.Ref, 0, len(found.Value))
	for _, ref := range found.Value {
		if f.rules.Admits(ref) && p.Match(ref) {
			admitted = append(admitted, ref)
		}
	}
	found.Value = admitted
	return found, nil
}
