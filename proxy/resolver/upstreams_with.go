package resolver

import (
	"context"
	"slices"

	"conanproxy/internal/conan"
)

// UpstreamsWith implements Reader.
func (v *generationReader) UpstreamsWith(ctx context.Context, rev conan.Revision) []string {
	has := func(ctx context.Context, m *member) (conan.Answer[bool], error) {
		there, err := memberHas(ctx, m, rev)
		return conan.Answer[bool]{Value: there}, err
	}
	_, upstreams := split(v.members(rev.Ref))
	var names []string
	for _, a := range gather(ctx, upstreams, adding(has)) {
		if a.err == nil && a.Value {
			names = append(names, a.from.Name)
		}
	}
	return names
}

// memberHas tells whether a member has a revision, or any if none is named.
func memberHas(ctx context.Context, m *member, rev conan.Revision) (bool, error) {
	if rev.IsPackage() && rev.RRev == "" {
		a, err := m.Latest(ctx, rev.Recipe())
		if err != nil {
			return false, err
		}
		rev.RRev = a.Value.ID
	}
	list, err := m.Revisions(ctx, rev.With(""))
	if err != nil {
		return false, err
	}
	return rev.ID() == "" || slices.ContainsFunc(list.Value, func(rt conan.RevisionTime) bool { return rt.ID == rev.ID() }), nil
}
