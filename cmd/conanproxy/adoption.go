package main

import (
	"context"
	"sync/atomic"

	"conanproxy/internal/conan"
)

// adoption is the Source of the recipes that the store adopts: all upstreams of the settings in force.
type adoption struct{ settings *atomic.Pointer[settings] }

var _ conan.Source = adoption{}

func (a adoption) now() conan.Source { return a.settings.Load().adoptFrom }

// Latest asks the upstreams in force.
func (a adoption) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	return a.now().Latest(ctx, rev)
}

// Revisions asks the upstreams in force.
func (a adoption) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	return a.now().Revisions(ctx, rev)
}

// Snapshot asks the upstreams in force.
func (a adoption) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	return a.now().Snapshot(ctx, rev)
}

// Open asks the upstreams in force.
func (a adoption) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	return a.now().Open(ctx, rev, name)
}

// Packages asks the upstreams in force.
func (a adoption) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	return a.now().Packages(ctx, recipe, idsOnly)
}

// Search asks the upstreams in force.
func (a adoption) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	return a.now().Search(ctx, p)
}
