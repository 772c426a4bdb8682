package resolver

import (
	"context"
	"fmt"
	"slices"

	"conanproxy/internal/conan"
)

// Latest is the newest recipe revision of the member that decides about the reference, see
// latestRecipe; or the newest package revision, see latestPackage.
func (v *generationReader) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	if !rev.IsPackage() {
		a, _, err := v.latestRecipe(ctx, rev.Ref)
		return a, err
	}
	return v.latestPackage(ctx, rev)
}

// latestRecipe returns the newest recipe revision and the member that says so: the first in order
// that decides.
//
// A store decides if it is an owner of the reference: if something was published in it that no
// upstream has. What was adopted from an upstream, or is there too, makes no owner: an upstream's
// newer revisions stay visible, and the copy in the store answers if they cannot.
func (v *generationReader) latestRecipe(ctx context.Context, ref conan.Ref) (conan.Answer[conan.RevisionTime], *member, error) {
	recipe := conan.Revision{Ref: ref}
	members := v.members(ref)
	stores, upstreams := split(members)
	if len(upstreams) == 0 {
		a, from, err := latestInOrder(ctx, stores, recipe)
		v.note(from, IsFirst)
		return a, from, err
	}
	ownership := v.newOwnership(upstreams, ref)
	var deciding []*member // without the stores that hold copies only
	for _, m := range members {
		if !m.isStore() {
			deciding = append(deciding, m)
			continue
		}
		owner, err := ownership.of(ctx, m)
		if err != nil {
			return conan.Answer[conan.RevisionTime]{}, nil, err
		}
		if !owner {
			v.note(m, HasCopies)
			continue
		}
		deciding = append(deciding, m)
		break // no later member is asked
	}
	a, from, err := v.latestAmong(ctx, deciding, ownership, recipe)
	a.Origin = expiring(a.Origin, ownership.origin)
	v.noteDecider(from)
	if err == nil || len(stores) == 0 || ctx.Err() != nil {
		return a, from, err
	}
	copied, store, copyErr := latestInOrder(ctx, stores, recipe)
	switch {
	case copyErr == nil && from != nil:
		v.note(store, IsCopy)
		copied.Origin = conan.MergeOrigins(copied.Origin, withoutMember(store, from, err))
		return copied, store, nil
	case copyErr == nil || !conan.IsAbsent(copyErr):
		v.note(store, IsCopy)
		copied.Origin = expiring(copied.Origin, a.Origin)
		return copied, store, copyErr
	}
	return conan.Answer[conan.RevisionTime]{Origin: expiring(copied.Origin, a.Origin)}, nil, err
}

// latestAmong asks the members that decide, the last of which may be a store that owns the
// reference.
func (v *generationReader) latestAmong(ctx context.Context, deciding []*member, o *ownership, recipe conan.Revision) (conan.Answer[conan.RevisionTime], *member, error) {
	return inOrder(ctx, deciding, recipe, func(ctx context.Context, m *member) (conan.Answer[conan.RevisionTime], error) {
		if m.isStore() {
			return latestOf(ctx, m, recipe.Ref, o.own[m])
		}
		return m.Latest(ctx, recipe)
	})
}

// latestInOrder asks one member after the other for the newest revision.
func latestInOrder(ctx context.Context, members []*member, recipe conan.Revision) (conan.Answer[conan.RevisionTime], *member, error) {
	return inOrder(ctx, members, recipe, func(ctx context.Context, m *member) (conan.Answer[conan.RevisionTime], error) {
		return m.Latest(ctx, recipe)
	})
}

// inOrder asks one member after the other. A member that cannot tell ends it: it is returned with
// its error. Of "not found" the origin tells how long that may be remembered.
func inOrder(ctx context.Context, members []*member, recipe conan.Revision, ask question[conan.RevisionTime]) (conan.Answer[conan.RevisionTime], *member, error) {
	var errs []error
	var passed []conan.Origin
	for _, m := range members {
		a := askOne(ctx, m, ask)
		if a.err == nil {
			a.Origin = expiring(a.Origin, passed...)
			return a.Answer, m, nil
		}
		if !conan.IsAbsent(a.err) {
			return conan.Answer[conan.RevisionTime]{}, m, fmt.Errorf("%s: %w", recipe, a.err)
		}
		errs = append(errs, a.err)
		passed = append(passed, a.Origin)
	}
	return conan.Answer[conan.RevisionTime]{Origin: conan.MergeOrigins(passed...)}, nil, notAnywhere(recipe, errs)
}

// latestOf is the newest of a store's own revisions: what was adopted since is no newer publication
// of the owner.
func latestOf(ctx context.Context, store *member, ref conan.Ref, own []string) (conan.Answer[conan.RevisionTime], error) {
	list, err := store.Revisions(ctx, conan.Revision{Ref: ref})
	a := conan.Answer[conan.RevisionTime]{Origin: list.Origin}
	if err != nil {
		return a, fmt.Errorf("%s: %w", ref, err)
	}
	for _, rt := range list.Value {
		if slices.Contains(own, rt.ID) && !rt.Hidden {
			a.Value = rt
			return a, nil
		}
	}
	return a, fmt.Errorf("%s: %w", ref, conan.ErrNotFound)
}

// Revisions unites the lists of every member: recipe revisions of all that may be asked about the
// reference, package revisions of all that know the recipe revision.
func (v *generationReader) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	rev = rev.With("")
	asked, err := v.respondents(ctx, rev)
	if err != nil {
		return conan.Answer[[]conan.RevisionTime]{Origin: asked.origin}, err
	}
	answers, origin, err := askAll(ctx, rev, asked, adding, revisionsOf(rev), isEmpty[conan.RevisionTime])
	if err != nil {
		return conan.Answer[[]conan.RevisionTime]{Origin: origin}, err
	}
	return conan.Answer[[]conan.RevisionTime]{Value: mergeRevisions(values(answers)), Origin: origin}, nil
}

// Packages unites the binaries of a recipe revision over every member that knows it.
func (v *generationReader) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	recipe = recipe.Recipe()
	asked, err := v.packageRespondents(ctx, recipe)
	if err != nil {
		return conan.Answer[[]conan.Package]{Origin: asked.origin}, err
	}
	ask := func(ctx context.Context, m *member) (conan.Answer[[]conan.Package], error) {
		return m.Packages(ctx, recipe, idsOnly)
	}
	answers, origin, err := askAll(ctx, recipe, asked, adding, ask, isEmpty[conan.Package])
	if err != nil {
		return conan.Answer[[]conan.Package]{Origin: origin}, err
	}
	return conan.Answer[[]conan.Package]{Value: mergePackages(values(answers)), Origin: origin}, nil
}

// latestPackage asks the stores that come before every upstream, and no other member if one of them
// has the package; else it is the newest of all others.
func (v *generationReader) latestPackage(ctx context.Context, pkg conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	pkg.PRev = ""
	ask := func(ctx context.Context, m *member) (conan.Answer[conan.RevisionTime], error) {
		return m.Latest(ctx, pkg)
	}
	var answers []answer[conan.RevisionTime]
	if pkg.RRev != "" && !pkg.Mutable() {
		for _, m := range v.members(pkg.Ref) {
			if !m.isStore() {
				break
			}
			a := askOne(ctx, m, ask)
			if a.err == nil || !conan.IsAbsent(a.err) {
				v.note(m, IsBeforeUpstreams)
				return a.Answer, a.err
			}
			answers = append(answers, a)
		}
	}
	asked, err := v.packageRespondents(ctx, pkg.Recipe())
	if err != nil {
		return conan.Answer[conan.RevisionTime]{Origin: asked.origin}, err
	}
	rest := slices.DeleteFunc(slices.Clone(asked.members), func(m *member) bool {
		return slices.ContainsFunc(answers, func(a answer[conan.RevisionTime]) bool { return a.from == m })
	})
	answers = append(answers, gather(ctx, rest, ask)...)
	answers, origin, err := choose(ctx, pkg, answers, func(conan.RevisionTime) bool { return false })
	origin = expiring(origin, asked.origin)
	if err != nil {
		return conan.Answer[conan.RevisionTime]{Origin: origin}, err
	}
	newest := answers[0]
	for _, a := range answers[1:] {
		if a.Value.Time.After(newest.Value.Time) {
			newest = a
		}
	}
	v.note(newest.from, HasNewest)
	if origin.State == conan.StateStale { // a failure was passed over
		newest.Origin = conan.MergeOrigins(newest.Origin, conan.Origin{Member: newest.Origin.Member, State: conan.StateStale, Reason: origin.Reason})
	}
	newest.Origin = expiring(newest.Origin, origin)
	return newest.Answer, nil
}
