package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// Latest is the newest recipe revision of the member that decides about the reference, see
// latestRecipe; or the newest package revision, the local store's if it has one, else the
// newest of all upstreams that know the recipe revision.
func (v *generationReader) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	if !rev.IsPackage() {
		rt, _, err := v.latestRecipe(ctx, rev.Ref)
		return rt, err
	}
	return v.latestPackage(ctx, rev)
}

// latestRecipe returns the newest recipe revision and the member that says so.
//
// The local store decides if it is the owner of the reference: if something was published in it
// that no upstream has. What was adopted from an upstream, or is there too, makes no owner: an
// upstream's newer revisions stay visible, and the copy here answers if they cannot.
func (v *generationReader) latestRecipe(ctx context.Context, ref conan.Ref) (conan.RevisionTime, *member, error) {
	recipe := conan.Revision{Ref: ref}
	outside := v.outside(ref)
	if v.local != nil && len(outside) == 0 {
		rt, err := v.local.Latest(ctx, recipe)
		return rt, v.local, err
	}
	own, err := v.ownRevisions(ctx, ref)
	if err != nil {
		return conan.RevisionTime{}, nil, err
	}
	if v.isOwner(ctx, outside, ref, own) {
		rt, err := v.latestOwn(ctx, ref, own)
		return rt, v.local, err
	}
	rt, from, err := latestInOrder(ctx, outside, recipe)
	if err == nil || v.local == nil || ctx.Err() != nil {
		return rt, from, err
	}
	rt, localErr := v.local.Latest(ctx, recipe)
	switch {
	case localErr == nil && from != nil:
		noteFailure(ctx, v.local, from, err)
		return rt, v.local, nil
	case localErr == nil || !absent(localErr):
		return rt, v.local, localErr
	}
	return conan.RevisionTime{}, nil, err
}

// latestInOrder asks one member after the other. A member that cannot tell ends it: it is
// returned with its error.
func latestInOrder(ctx context.Context, members []*member, recipe conan.Revision) (conan.RevisionTime, *member, error) {
	var errs []error
	for _, m := range members {
		rt, err := m.Latest(ctx, recipe)
		if err == nil {
			return rt, m, nil
		}
		if !absent(err) {
			return rt, m, fmt.Errorf("%s: %w", recipe, err)
		}
		errs = append(errs, err)
	}
	return conan.RevisionTime{}, nil, nowhere(recipe, errs)
}

// latestOwn is the newest of the local store's own revisions: what was adopted since is no
// newer publication of the owner.
func (v *generationReader) latestOwn(ctx context.Context, ref conan.Ref, own []string) (conan.RevisionTime, error) {
	list, err := v.local.Revisions(ctx, conan.Revision{Ref: ref})
	if err != nil {
		return conan.RevisionTime{}, fmt.Errorf("%s: %w", ref, err)
	}
	for _, rt := range list {
		if slices.Contains(own, rt.ID) {
			return rt, nil
		}
	}
	return conan.RevisionTime{}, fmt.Errorf("%s: %w", ref, conan.ErrNotFound)
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

// isOwner tells whether one of the store's own revisions is nowhere outside.
func (v *generationReader) isOwner(ctx context.Context, outside []*member, ref conan.Ref, own []string) bool {
	if len(own) == 0 {
		return false
	}
	lists := v.listsOutside(ctx, outside, ref)
	return slices.ContainsFunc(own, func(rrev string) bool { return len(listing(lists, rrev)) == 0 })
}

// listsOutside asks upstreams for their recipe revisions, not longer than patience. Those that
// fail are left out: on that question the local store does not depend on them.
//
// The lists are no part of what the caller gets, so the request's trace learns no more of them
// than how long they stay true.
func (v *generationReader) listsOutside(ctx context.Context, outside []*member, ref conan.Ref) []answer[[]conan.RevisionTime] {
	lists := gather(ctx, outside, hurried(revisionsOf(conan.Revision{Ref: ref})))
	var notes []conan.Origin
	failed := false
	for _, a := range lists {
		notes = append(notes, a.notes...)
		if a.err != nil && !absent(a.err) {
			failed = true
			v.log.Debug("upstream did not tell whether it has a local reference",
				zap.String("reference", ref.String()), zap.String("member", a.from.name), zap.Error(a.err))
		}
	}
	about := conan.Origin{Member: localName, State: conan.StateLocal}
	if !failed {
		about.Expires = firstExpiry(notes)
	}
	conan.Note(ctx, about)
	return slices.DeleteFunc(lists, func(a answer[[]conan.RevisionTime]) bool { return a.err != nil })
}

// listing lists the members whose lists have the revision.
func listing(lists []answer[[]conan.RevisionTime], rrev string) []*member {
	var members []*member
	for _, a := range lists {
		if slices.ContainsFunc(a.value, func(rt conan.RevisionTime) bool { return rt.ID == rrev }) {
			members = append(members, a.from)
		}
	}
	return members
}

// Revisions unites the lists of every member: recipe revisions of all that may be asked about
// the reference, package revisions of all that know the recipe revision.
func (v *generationReader) Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	rev = rev.With("")
	asked, err := v.whoKnows(ctx, rev)
	if err != nil {
		return nil, err
	}
	answers, err := askAll(ctx, rev, asked, hurried, revisionsOf(rev), isEmpty[conan.RevisionTime])
	if err != nil {
		return nil, err
	}
	return mergeRevisions(values(answers)), nil
}

// Packages unites the binaries of a recipe revision over every member that knows it.
func (v *generationReader) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	recipe = recipe.Recipe()
	asked, err := v.whoKnowsPackages(ctx, recipe)
	if err != nil {
		return nil, err
	}
	ask := func(ctx context.Context, m *member) ([]conan.Package, error) { return m.Packages(ctx, recipe, idsOnly) }
	answers, err := askAll(ctx, recipe, asked, hurried, ask, isEmpty[conan.Package])
	if err != nil {
		return nil, err
	}
	return mergePackages(values(answers)), nil
}

// latestPackage asks the local store first, and nobody else if it has the package.
func (v *generationReader) latestPackage(ctx context.Context, pkg conan.Revision) (conan.RevisionTime, error) {
	pkg.PRev = ""
	var first []answer[conan.RevisionTime]
	if v.local != nil && pkg.RRev != "" && !pkg.Mutable() {
		rt, err := v.local.Latest(ctx, pkg)
		if err == nil || !absent(err) {
			return rt, err
		}
		first = []answer[conan.RevisionTime]{{from: v.local, err: err}}
	}
	asked, err := v.whoKnowsPackages(ctx, pkg.Recipe())
	if err != nil {
		return conan.RevisionTime{}, err
	}
	if first == nil && asked.local != nil {
		return asked.local.Latest(ctx, pkg)
	}
	ask := func(ctx context.Context, m *member) (conan.RevisionTime, error) { return m.Latest(ctx, pkg) }
	answers := append(first, gather(ctx, asked.outside, ask)...)
	answers, err = settle(ctx, pkg, answers, func(conan.RevisionTime) bool { return false })
	if err != nil {
		return conan.RevisionTime{}, err
	}
	newest := answers[0]
	for _, a := range answers[1:] {
		if a.value.Time.After(newest.value.Time) {
			newest = a
		}
	}
	newest.tell(ctx) // last: it is the one that answered
	return newest.value, nil
}

// respondents are the members a question goes to.
type respondents struct {
	local   *member // nil: the local store is not asked
	outside []*member
	// own: what is asked about was published here, so that the answer of the local store, if it
	// has one, must not wait for the others.
	own bool
}

// whoKnows finds the respondents of a list of revisions.
func (v *generationReader) whoKnows(ctx context.Context, rev conan.Revision) (respondents, error) {
	if rev.IsPackage() {
		return v.whoKnowsPackages(ctx, rev.Recipe())
	}
	outside := v.outside(rev.Ref)
	if len(outside) == 0 {
		return respondents{local: v.local}, nil
	}
	own, err := v.ownRevisions(ctx, rev.Ref)
	return respondents{local: v.local, outside: outside, own: len(own) > 0}, err
}

// whoKnowsPackages finds the respondents of a question about the packages of a recipe revision.
// Equal revisions are equal recipes, so every member may have packages of it. An upstream is
// not asked for those of a recipe that was published here, unless it lists that revision too:
// it could know nothing. The mutable revision is another recipe in every member; there the one
// that has its files is asked alone.
func (v *generationReader) whoKnowsPackages(ctx context.Context, recipe conan.Revision) (respondents, error) {
	if recipe.RRev == "" {
		return respondents{}, fmt.Errorf("%w: packages of %s are asked for without a recipe revision", conan.ErrInvalid, recipe)
	}
	if recipe.Mutable() {
		m, _, err := v.home(ctx, recipe)
		if err != nil {
			return respondents{}, err
		}
		if m == v.local {
			return respondents{local: m}, nil
		}
		return respondents{outside: []*member{m}}, nil
	}
	outside := v.outside(recipe.Ref)
	if v.local == nil || len(outside) == 0 {
		return respondents{local: v.local, outside: outside}, nil
	}
	own, err := v.ownRevisions(ctx, recipe.Ref)
	if err != nil || !slices.Contains(own, recipe.RRev) {
		return respondents{local: v.local, outside: outside}, err
	}
	lists := v.listsOutside(ctx, outside, recipe.Ref)
	return respondents{local: v.local, outside: listing(lists, recipe.RRev), own: true}, nil
}

// askAll asks the local store and then, at once, the others, and settles their answers. A
// failure of the local store is the answer. hurry bounds the others if the local store has an
// answer about something of its own.
func askAll[T any](ctx context.Context, what fmt.Stringer, asked respondents, hurry func(question[T]) question[T], ask question[T], bare func(T) bool) ([]answer[T], error) {
	var answers []answer[T]
	if asked.local != nil {
		a := answer[T]{from: asked.local}
		if a.value, a.err = ask(ctx, asked.local); a.err != nil && !absent(a.err) {
			return nil, fmt.Errorf("%s: %w", what, a.err)
		}
		if asked.own && a.err == nil && !bare(a.value) {
			ask = hurry(ask)
		}
		answers = append(answers, a)
	}
	answers = append(answers, gather(ctx, asked.outside, ask)...)
	return settle(ctx, what, answers, bare)
}

func revisionsOf(rev conan.Revision) question[[]conan.RevisionTime] {
	return func(ctx context.Context, m *member) ([]conan.RevisionTime, error) { return m.Revisions(ctx, rev) }
}

func isEmpty[E any](list []E) bool { return len(list) == 0 }

// UpstreamsWith implements Reader.
func (v *generationReader) UpstreamsWith(ctx context.Context, rev conan.Revision) []string {
	has := func(ctx context.Context, m *member) (bool, error) { return memberHas(ctx, m, rev) }
	var names []string
	for _, a := range gather(ctx, v.outside(rev.Ref), hurried(has)) {
		if a.err == nil && a.value {
			names = append(names, a.from.name)
		}
	}
	return names
}

// memberHas tells whether a member has a revision, or any if none is named.
func memberHas(ctx context.Context, m *member, rev conan.Revision) (bool, error) {
	if rev.IsPackage() && rev.RRev == "" {
		rt, err := m.Latest(ctx, rev.Recipe())
		if err != nil {
			return false, err
		}
		rev.RRev = rt.ID
	}
	list, err := m.Revisions(ctx, rev.With(""))
	if err != nil {
		return false, err
	}
	return rev.ID() == "" || slices.ContainsFunc(list, func(rt conan.RevisionTime) bool { return rt.ID == rev.ID() }), nil
}
