package resolver

import (
	"context"
	"fmt"
	"slices"

	"conanproxy/internal/conan"
)

// respondents are the members that a question goes to.
type respondents struct {
	members []*member // in order
	// own: what is asked about was published in a store, so that the answer of the stores, if they
	// have one, must not wait for the upstreams.
	own bool
	// origin tells how long the choice of members holds; with an error, how long that may be
	// remembered.
	origin conan.Origin
}

// forever is the origin of what does not limit how long an answer may be remembered.
var forever = conan.Origin{Expires: conan.Forever}

// respondents finds the members for a list of revisions.
func (v *generationReader) respondents(ctx context.Context, rev conan.Revision) (respondents, error) {
	if rev.IsPackage() {
		return v.packageRespondents(ctx, rev.Recipe())
	}
	members := v.members(rev.Ref)
	stores, upstreams := split(members)
	asked := respondents{members: members, origin: forever}
	if len(upstreams) == 0 {
		return asked, nil
	}
	ownership := v.newOwnership(upstreams, rev.Ref)
	for _, m := range stores {
		own, err := ownership.revisions(ctx, m)
		if err != nil {
			return asked, err
		}
		asked.own = asked.own || len(own) > 0
	}
	return asked, nil
}

// packageRespondents finds the members for a question about the packages of a recipe revision.
// Equal revisions are equal recipes, so every member may have packages of it. An upstream is not
// asked for those of a recipe that was published in a store, unless it lists that revision too: it
// could know nothing. The mutable revision is another recipe in every member; there the one that
// has its files is asked alone.
func (v *generationReader) packageRespondents(ctx context.Context, recipe conan.Revision) (respondents, error) {
	if recipe.RRev == "" {
		return respondents{origin: forever}, fmt.Errorf("%w: packages of %s are asked for without a recipe revision", conan.ErrInvalid, recipe)
	}
	if recipe.Mutable() {
		m, a, err := v.home(ctx, recipe)
		return respondents{members: []*member{m}, origin: a.Origin}, err
	}
	asked := respondents{members: v.members(recipe.Ref), origin: forever}
	stores, upstreams := split(asked.members)
	if len(stores) == 0 || len(upstreams) == 0 {
		return asked, nil
	}
	ownership := v.newOwnership(upstreams, recipe.Ref)
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
	asked.origin = ownership.origin
	return asked, nil
}

// askAll asks the stores and then, at once, the upstreams, and chooses among their answers in the
// members' order. A failure of a store is the answer. bound limits the upstreams if a store has an
// answer about something of its own.
func askAll[T any](ctx context.Context, what fmt.Stringer, asked respondents, bound func(question[T]) question[T], ask question[T], isEmpty func(T) bool) ([]answer[T], conan.Origin, error) {
	stores, upstreams := split(asked.members)
	byMember := make(map[*member]answer[T], len(asked.members))
	answered := false
	for _, a := range gather(ctx, stores, ask) {
		if a.err != nil && !conan.IsAbsent(a.err) {
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
	return chosen, expiring(origin, asked.origin), err
}

func revisionsOf(rev conan.Revision) question[[]conan.RevisionTime] {
	return func(ctx context.Context, m *member) (conan.Answer[[]conan.RevisionTime], error) {
		return m.Revisions(ctx, rev)
	}
}

func isEmpty[E any](list []E) bool { return len(list) == 0 }
