package api

import (
	"context"
	"fmt"
	"slices"

	"conanproxy/internal/conan"
)

// readable is a Source without the references that a caller may not read: they do not exist for the
// caller. It is for a store's trash, which no view shows.
type readable struct {
	conan.Source
	may func(conan.Ref) bool
}

// readableTrash is what the caller may know of a store's trash.
func (c *Call) readableTrash(store Store, name string) conan.Source {
	return readable{store.TrashSource(), func(ref conan.Ref) bool { return c.Guard.MayRead(c.Caller, name, ref) }}
}

func ifReadable[T any](r readable, rev conan.Revision, ask func() (conan.Answer[T], error)) (conan.Answer[T], error) {
	if !r.may(rev.Ref) {
		return conan.Answer[T]{}, fmt.Errorf("%s: %w", rev, conan.ErrNotFound)
	}
	return ask()
}

// Latest implements conan.Source.
func (r readable) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	return ifReadable(r, rev, func() (conan.Answer[conan.RevisionTime], error) { return r.Source.Latest(ctx, rev) })
}

// Revisions implements conan.Source.
func (r readable) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	return ifReadable(r, rev, func() (conan.Answer[[]conan.RevisionTime], error) { return r.Source.Revisions(ctx, rev) })
}

// Packages implements conan.Source.
func (r readable) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	return ifReadable(r, recipe, func() (conan.Answer[[]conan.Package], error) { return r.Source.Packages(ctx, recipe, idsOnly) })
}

// Search implements conan.Source.
func (r readable) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	found, err := r.Source.Search(ctx, p)
	found.Value = slices.DeleteFunc(slices.Clone(found.Value), func(ref conan.Ref) bool { return !r.may(ref) })
	return found, err
}
