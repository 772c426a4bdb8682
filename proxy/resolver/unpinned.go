package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// Latest is the newest recipe revision of the member that decides about the reference, see latestRecipe; or the newest
// package revision, the store's if it has one, else the newest of all upstreams that know the recipe revision.
func (v *generationReader) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	if !rev.IsPackage() {
		a, _, err := v.latestRecipe(ctx, rev.Ref)
		return a, err
	}
	return v.latestPackage(ctx, rev)
}

// latestRecipe returns the newest recipe revision and the member that says so.
//
// The store decides if it is the owner of the reference: if something was published in it that no upstream has. What was
// adopted from an upstream, or is there too, makes no owner: an upstream's newer revisions stay visible, and the copy
// here answers if they cannot.
func (v *generationReader) latestRecipe(ctx context.Context, ref conan.Ref) (conan.Answer[conan.RevisionTime], *member, error) {
	recipe := conan.Revision{Ref: ref}
	var none conan.Answer[conan.RevisionTime]
	outside := v.outside(ref)
	if v.local != nil && len(outside) == 0 {
		a, err := v.local.Latest(ctx, recipe)
		return a, v.local, err
	}
	own, err := v.ownRevisions(ctx, ref)
	if err != nil {
		return none, nil, err
	}
	isOwner, lists := v.isOwner(ctx, outside, ref, own)
	if isOwner {
		a, err := v.latestOwn(ctx, ref, own)
		a.Origin = expiring(a.Origin, lists)
		return a, v.local, err
	}
	a, from, err := latestInOrder(ctx, outside, recipe)
	if len(own) > 0 {
		a.Origin = expiring(a.Origin, lists)
	}
	if err == nil || v.local == nil || ctx.Err() != nil {
		return a, from, err
	}
	here, localErr := v.local.Latest(ctx, recipe)
	switch {
	case localErr == nil && from != nil:
		here.Origin = conan.MergeOrigins(here.Origin, withoutMember(v.local, from, err))
		return here, v.local, nil
	case localErr == nil || !absent(localErr):
		here.Origin = expiring(here.Origin, a.Origin)
		return here, v.local, localErr
	}
	return conan.Answer[conan.RevisionTime]{Origin: expiring(here.Origin, a.Origin)}, nil, err
}

// latestInOrder asks one member after the other. A member that cannot tell ends it: it is returned with its error. Of
// "not found" the origin tells how long that may be remembered.
func latestInOrder(ctx context.Context, members []*member, recipe conan.Revision) (conan.Answer[conan.RevisionTime], *member, error) {
	var errs []error
	var passed []conan.Origin
	for _, m := range members {
		a := askOne(ctx, m, func(ctx context.Context, m *member) (conan.Answer[conan.RevisionTime], error) {
			return m.Latest(ctx, recipe)
		})
		if a.err == nil {
			a.Origin = expiring(a.Origin, passed...)
			return a.Answer, m, nil
		}
		if !absent(a.err) {
			return conan.Answer[conan.RevisionTime]{}, m, fmt.Errorf("%s: %w", recipe, a.err)
		}
		errs = append(errs, a.err)
		passed = append(passed, a.Origin)
	}
	return conan.Answer[conan.RevisionTime]{Origin: conan.MergeOrigins(passed...)}, nil, notAnywhere(recipe, errs)
}

// latestOwn is the newest of the store's own revisions: what was adopted since is no newer publication of the owner.
func (v *generationReader) latestOwn(ctx context.Context, ref conan.Ref, own []string) (conan.Answer[conan.RevisionTime], error) {
	list, err := v.local.Revisions(ctx, conan.Revision{Ref: ref})
	a := conan.Answer[conan.RevisionTime]{Origin: list.Origin}
	if err != nil {
		return a, fmt.Errorf("%s: %w", ref, err)
	}
	for _, rt := range list.Value {
		if slices.Contains(own, rt.ID) {
			a.Value = rt
			return a, nil
		}
	}
	return a, fmt.Errorf("%s: %w", ref, conan.ErrNotFound)
}

// ownRevisions lists what was published here and not adopted.
func (v *generationReader) ownRevisions(ctx context.Context, ref conan.Ref) ([]string, error) {
	if v.store == nil {
		return nil, nil
	}
	own, err := v.store.OwnRevisions(ctx, ref)
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return own, nil
}

// isOwner tells whether one of the store's own revisions is in no upstream. The origin tells how long that holds.
func (v *generationReader) isOwner(ctx context.Context, outside []*member, ref conan.Ref, own []string) (bool, conan.Origin) {
	if len(own) == 0 {
		return false, conan.Origin{}
	}
	lists, origin := v.listsOutside(ctx, outside, ref)
	return slices.ContainsFunc(own, func(rrev string) bool { return len(listing(lists, rrev)) == 0 }), origin
}

// listsOutside asks upstreams for their recipe revisions, with a short timeout. Those that fail are left out: on that
// question the store does not depend on them.
//
// The lists are no part of what the caller gets, so the origin tells only how long they may be remembered.
func (v *generationReader) listsOutside(ctx context.Context, outside []*member, ref conan.Ref) ([]answer[[]conan.RevisionTime], conan.Origin) {
	lists := gather(ctx, outside, adding(revisionsOf(conan.Revision{Ref: ref})))
	origin := conan.Origin{Expires: conan.Forever}
	for _, a := range lists {
		origin = expiring(origin, a.Origin)
		if a.err != nil && !absent(a.err) {
			v.log.Debug("upstream did not tell whether it has a reference of the store",
				zap.String("reference", ref.String()), zap.String("member", a.from.Name), zap.Error(a.err))
		}
	}
	return slices.DeleteFunc(lists, func(a answer[[]conan.RevisionTime]) bool { return a.err != nil }), origin
}

// listing lists the members whose lists have the revision.
func listing(lists []answer[[]conan.RevisionTime], rrev string) []*member {
	var members []*member
	for _, a := range lists {
		if slices.ContainsFunc(a.Value, func(rt conan.RevisionTime) bool { return rt.ID == rrev }) {
			members = append(members, a.from)
		}
	}
	return members
}

// Revisions unites the lists of every member: recipe revisions of all that may be asked about the reference, package
// revisions of all that know the recipe revision.
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

// latestPackage asks the store first, and no other member if it has the package.
func (v *generationReader) latestPackage(ctx context.Context, pkg conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	pkg.PRev = ""
	ask := func(ctx context.Context, m *member) (conan.Answer[conan.RevisionTime], error) {
		return m.Latest(ctx, pkg)
	}
	var first []answer[conan.RevisionTime]
	if v.local != nil && pkg.RRev != "" && !pkg.Mutable() {
		a := askOne(ctx, v.local, ask)
		if a.err == nil || !absent(a.err) {
			return a.Answer, a.err
		}
		first = []answer[conan.RevisionTime]{a}
	}
	asked, err := v.packageRespondents(ctx, pkg.Recipe())
	if err != nil {
		return conan.Answer[conan.RevisionTime]{Origin: asked.origin}, err
	}
	if first == nil && asked.local != nil {
		return asked.local.Latest(ctx, pkg)
	}
	answers := append(first, gather(ctx, asked.outside, ask)...)
	answers, origin, err := choose(ctx, pkg, answers, func(conan.RevisionTime) bool { return false })
	origin = expiring(origin, asked.expiry()...)
	if err != nil {
		return conan.Answer[conan.RevisionTime]{Origin: origin}, err
	}
	newest := answers[0]
	for _, a := range answers[1:] {
		if a.Value.Time.After(newest.Value.Time) {
			newest = a
		}
	}
	if origin.State == conan.StateStale { // a failure was passed over
		newest.Origin = conan.MergeOrigins(newest.Origin, conan.Origin{Member: newest.Origin.Member, State: conan.StateStale, Reason: origin.Reason})
	}
	newest.Origin = expiring(newest.Origin, origin)
	return newest.Answer, nil
}

// respondents are the members that a question goes to.
type respondents struct {
	local   *member // nil: the store is not asked
	outside []*member
	// own: what is asked about was published here, so that the answer of the store, if it has one, must not wait for
	// the others.
	own bool
	// origin tells how long the choice of members holds, if hasOrigin; with an error, how long that may be remembered.
	origin    conan.Origin
	hasOrigin bool
}

func (r respondents) expiry() []conan.Origin {
	if !r.hasOrigin {
		return nil
	}
	return []conan.Origin{r.origin}
}

// respondents finds the members for a list of revisions.
func (v *generationReader) respondents(ctx context.Context, rev conan.Revision) (respondents, error) {
	if rev.IsPackage() {
		return v.packageRespondents(ctx, rev.Recipe())
	}
	outside := v.outside(rev.Ref)
	if len(outside) == 0 {
		return respondents{local: v.local}, nil
	}
	own, err := v.ownRevisions(ctx, rev.Ref)
	return respondents{local: v.local, outside: outside, own: len(own) > 0}, err
}

// packageRespondents finds the members for a question about the packages of a recipe revision. Equal revisions are equal
// recipes, so every member may have packages of it. An upstream is not asked for those of a recipe that was published
// here, unless it lists that revision too: it could know nothing. The mutable revision is another recipe in every
// member; there the one that has its files is asked alone.
func (v *generationReader) packageRespondents(ctx context.Context, recipe conan.Revision) (respondents, error) {
	if recipe.RRev == "" {
		return respondents{}, fmt.Errorf("%w: packages of %s are asked for without a recipe revision", conan.ErrInvalid, recipe)
	}
	if recipe.Mutable() {
		m, a, err := v.home(ctx, recipe)
		asked := respondents{origin: a.Origin, hasOrigin: true}
		if m == v.local {
			asked.local = m
		} else {
			asked.outside = []*member{m}
		}
		return asked, err
	}
	outside := v.outside(recipe.Ref)
	if v.local == nil || len(outside) == 0 {
		return respondents{local: v.local, outside: outside}, nil
	}
	own, err := v.ownRevisions(ctx, recipe.Ref)
	if err != nil || !slices.Contains(own, recipe.RRev) {
		return respondents{local: v.local, outside: outside}, err
	}
	lists, origin := v.listsOutside(ctx, outside, recipe.Ref)
	return respondents{local: v.local, outside: listing(lists, recipe.RRev), own: true, origin: origin, hasOrigin: true}, nil
}

// askAll asks the store and then, at once, the others, and chooses among their answers. A failure of the store is the
// answer. bound limits the others if the store has an answer about something of its own.
func askAll[T any](ctx context.Context, what fmt.Stringer, asked respondents, bound func(question[T]) question[T], ask question[T], isEmpty func(T) bool) ([]answer[T], conan.Origin, error) {
	var answers []answer[T]
	if asked.local != nil {
		a := askOne(ctx, asked.local, ask)
		if a.err != nil && !absent(a.err) {
			return nil, conan.Origin{}, fmt.Errorf("%s: %w", what, a.err)
		}
		if asked.own && a.err == nil && !isEmpty(a.Value) {
			ask = bound(ask)
		}
		answers = append(answers, a)
	}
	answers = append(answers, gather(ctx, asked.outside, ask)...)
	chosen, origin, err := choose(ctx, what, answers, isEmpty)
	return chosen, expiring(origin, asked.expiry()...), err
}

func revisionsOf(rev conan.Revision) question[[]conan.RevisionTime] {
	return func(ctx context.Context, m *member) (conan.Answer[[]conan.RevisionTime], error) {
		return m.Revisions(ctx, rev)
	}
}

func isEmpty[E any](list []E) bool { return len(list) == 0 }

// UpstreamsWith implements Reader.
func (v *generationReader) UpstreamsWith(ctx context.Context, rev conan.Revision) []string {
	has := func(ctx context.Context, m *member) (conan.Answer[bool], error) {
		there, err := memberHas(ctx, m, rev)
		return conan.Answer[bool]{Value: there}, err
	}
	var names []string
	for _, a := range gather(ctx, v.outside(rev.Ref), adding(has)) {
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
