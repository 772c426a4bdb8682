package main

import (
	"context"
	"sync/atomic"

	"conanproxy/internal/conan"
)

// outside is the Source over all upstreams that the local store adopts recipes from. A reload replaces what it asks.
type outside struct {
	source atomic.Pointer[conan.Source]
}

var _ conan.Source = (*outside)(nil)

func (o *outside) set(s conan.Source) { o.source.Store(&s) }

func (o *outside) now() conan.Source { return *o.source.Load() }

// Latest asks the upstreams in force.
func (o *outside) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	return o.now().Latest(ctx, rev)
}

// Revisions asks the upstreams in force.
func (o *outside) Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	return o.now().Revisions(ctx, rev)
}

// Snapshot asks the upstreams in force.
func (o *outside) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	return o.now().Snapshot(ctx, rev)
}

// Open asks the upstreams in force.
func (o *outside) Open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	return o.now().Open(ctx, rev, name)
}

// Packages asks the upstreams in force.
func (o *outside) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	return o.now().Packages(ctx, recipe, idsOnly)
}

// Search asks the upstreams in force.
func (o *outside) Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	return o.now().Search(ctx, p)
}
