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
// package revision, see latestPackage.
func (v *generationReader) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	if !rev.IsPackage() {
		a, _, err := v.latestRecipe(ctx, rev.Ref)
		return a, err
	}
	return v.latestPackage(ctx, rev)
}

// latestRecipe returns the newest recipe revision and the member that says so: the first in order that decides.
//
// A store decides if it is an owner of the reference: if something was published in it that no upstream has. What was
// adopted from an upstream, or is there too, makes no owner: an upstream's newer revisions stay visible, and the copy in
// the store answers if they cannot.
func (v *generationReader) latestRecipe(ctx context.Context, ref conan.Ref) (conan.Answer[conan.RevisionTime], *member, error) {
	recipe := conan.Revision{Ref: ref}
	members := v.members(ref)
	stores, outside := split(members)
	if len(outside) == 0 {
		return latestInOrder(ctx, stores, recipe)
	}
	ownership := v.newOwnership(outside, ref)
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
			continue
		}
		deciding = append(deciding, m)
		break // no later member is asked
	}
	a, from, err := v.latestAmong(ctx, deciding, ownership, recipe)
	a.Origin = expiring(a.Origin, ownership.expiry()...)
	if err == nil || len(stores) == 0 || ctx.Err() != nil {
		return a, from, err
	}
	copied, store, copyErr := latestInOrder(ctx, stores, recipe)
	switch {
	case copyErr == nil && from != nil:
		copied.Origin = conan.MergeOrigins(copied.Origin, withoutMember(store, from, err))
		return copied, store, nil
	case copyErr == nil || !absent(copyErr):
		copied.Origin = expiring(copied.Origin, a.Origin)
		return copied, store, copyErr
	}
	return conan.Answer[conan.RevisionTime]{Origin: expiring(copied.Origin, a.Origin)}, nil, err
}

// latestAmong asks the members that decide, the last of which may be a store that owns the reference.
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

// inOrder asks one member after the other. A member that cannot tell ends it: it is returned with its error. Of "not
// found" the origin tells how long that may be remembered.
func inOrder(ctx context.Context, members []*member, recipe conan.Revision, ask question[conan.RevisionTime]) (conan.Answer[conan.RevisionTime], *member, error) {
	var errs []error
	var passed []conan.Origin
	for _, m := range members {
		a := askOne(ctx, m, ask)
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

// latestOf is the newest of a store's own revisions: what was adopted since is no newer publication of the owner.
func latestOf(ctx context.Context, store *member, ref conan.Ref, own []string) (conan.Answer[conan.RevisionTime], error) {
	list, err := store.Revisions(ctx, conan.Revision{Ref: ref})
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

// ownership finds out which stores own a reference. Upstreams are asked only if a store may, and once.
type ownership struct {
	v       *generationReader
	outside []*member
	ref     conan.Ref
	own     map[*member][]string // what was published in a store and not adopted

	asked  bool
	lists  []answer[[]conan.RevisionTime]
	origin conan.Origin // how long what upstreams said holds
}

func (v *generationReader) newOwnership(outside []*member, ref conan.Ref) *ownership {
	return &ownership{v: v, outside: outside, ref: ref, own: make(map[*member][]string)}
}

// of tells whether one of the store's own revisions is in no upstream.
func (o *ownership) of(ctx context.Context, store *member) (bool, error) {
	own, err := o.revisions(ctx, store)
	if err != nil || len(own) == 0 {
		return false, err
	}
	o.ask(ctx)
	return slices.ContainsFunc(own, func(rrev string) bool { return len(listing(o.lists, rrev)) == 0 }), nil
}

// revisions lists what was published in a store and not adopted.
func (o *ownership) revisions(ctx context.Context, store *member) ([]string, error) {
	own, err := store.Store.OwnRevisions(ctx, o.ref)
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return nil, fmt.Errorf("%s: %w", o.ref, err)
	}
	o.own[store] = own
	return own, nil
}

// ask asks upstreams for their recipe revisions, with a short timeout. Those that fail are left out: on that question a
// store does not depend on them. The lists are no part of what the caller gets, so they tell only how long it may be
// remembered.
func (o *ownership) ask(ctx context.Context) {
	if o.asked {
		return
	}
	o.asked = true
	lists := gather(ctx, o.outside, adding(revisionsOf(conan.Revision{Ref: o.ref})))
	o.origin = conan.Origin{Expires: conan.Forever}
	for _, a := range lists {
		o.origin = expiring(o.origin, a.Origin)
		if a.err != nil && !absent(a.err) {
			o.v.log.Debug("upstream did not tell whether it has a reference of a store",
				zap.String("reference", o.ref.String()), zap.String("member", a.from.Name), zap.Error(a.err))
		}
	}
	o.lists = slices.DeleteFunc(lists, func(a answer[[]conan.RevisionTime]) bool { return a.err != nil })
}

func (o *ownership) expiry() []conan.Origin {
	if !o.asked {
		return nil
	}
	return []conan.Origin{o.origin}
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

// latestPackage asks the stores that come before every upstream, and no other member if one of them has the package;
// else it is the newest of all others.
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
			if a.err == nil || !absent(a.err) {
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
	members []*member // in order
	// own: what is asked about was published in a store, so that the answer of the stores, if they have one, must not
	// wait for the upstreams.
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
	members := v.members(rev.Ref)
	stores, outside := split(members)
	asked := respondents{members: members}
	if len(outside) == 0 {
		return asked, nil
	}
	ownership := v.newOwnership(outside, rev.Ref)
	for _, m := range stores {
		own, err := ownership.revisions(ctx, m)
		if err != nil {
			return asked, err
		}
		asked.own = asked.own || len(own) > 0
	}
	return asked, nil
}

// packageRespondents finds the members for a question about the packages of a recipe revision. Equal revisions are equal
// recipes, so every member may have packages of it. An upstream is not asked for those of a recipe that was published in
// a store, unless it lists that revision too: it could know nothing. The mutable revision is another recipe in every
// member; there the one that has its files is asked alone.
func (v *generationReader) packageRespondents(ctx context.Context, recipe conan.Revision) (respondents, error) {
	if recipe.RRev == "" {
		return respondents{}, fmt.Errorf("%w: packages of %s are asked for without a recipe revision", conan.ErrInvalid, recipe)
	}
	if recipe.Mutable() {
		m, a, err := v.home(ctx, recipe)
		return respondents{members: []*member{m}, origin: a.Origin, hasOrigin: true}, err
	}
	asked := respondents{members: v.members(recipe.Ref)}
	stores, outside := split(asked.members)
	if len(stores) == 0 || len(outside) == 0 {
		return asked, nil
	}
	ownership := v.newOwnership(outside, recipe.Ref)
	for _, m := range stores {
		own, err := ownership.revisions(ctx, m)
		if err != nil {
			return asked, err
		}
		asked.own = asked.own || slices.Contains(own, recipe.RRev)
	}
	if !asked.own {
		return asked, nil
	}
	ownership.ask(ctx)
	listed := listing(ownership.lists, recipe.RRev)
	asked.members = slices.DeleteFunc(slices.Clone(asked.members), func(m *member) bool {
		return !m.isStore() && !slices.Contains(listed, m)
	})
	asked.origin, asked.hasOrigin = ownership.origin, true
	return asked, nil
}

// askAll asks the stores and then, at once, the upstreams, and chooses among their answers in the members' order. A
// failure of a store is the answer. bound limits the upstreams if a store has an answer about something of its own.
func askAll[T any](ctx context.Context, what fmt.Stringer, asked respondents, bound func(question[T]) question[T], ask question[T], isEmpty func(T) bool) ([]answer[T], conan.Origin, error) {
	stores, upstreams := split(asked.members)
	byMember := make(map[*member]answer[T], len(asked.members))
	answered := false
	for _, a := range gather(ctx, stores, ask) {
		if a.err != nil && !absent(a.err) {
			return nil, conan.Origin{}, fmt.Errorf("%s: %w", what, a.err)
		}
		answered = answered || a.err == nil && !isEmpty(a.Value)
		byMember[a.from] = a
	}
	if asked.own && answered {
		ask = bound(ask)
	}
	for _, a := range gather(ctx, upstreams, ask) {
		byMember[a.from] = a
	}
	answers := make([]answer[T], len(asked.members))
	for i, m := range asked.members {
		answers[i] = byMember[m]
	}
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
	_, outside := split(v.members(rev.Ref))
	var names []string
	for _, a := range gather(ctx, outside, adding(has)) {
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
