package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// ownership finds out which stores own a reference. Upstreams are asked only if a store may, and
// once.
type ownership struct {
	v         *generationReader
	upstreams []*member
	ref       conan.Ref
	own       map[*member][]string // what was published in a store and not adopted

	asked  bool
	lists  []answer[[]conan.RevisionTime]
	origin conan.Origin // how long what upstreams said holds
}

func (v *generationReader) newOwnership(upstreams []*member, ref conan.Ref) *ownership {
	return &ownership{v: v, upstreams: upstreams, ref: ref, own: make(map[*member][]string), origin: forever}
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

// ask asks upstreams for their recipe revisions, with a short timeout. Those that fail are left
// out: on that question a store does not depend on them. The lists are no part of what the caller
// gets, so they tell only how long it may be remembered.
func (o *ownership) ask(ctx context.Context) {
	if o.asked {
		return
	}
	o.asked = true
	lists := gather(ctx, o.upstreams, adding(revisionsOf(conan.Revision{Ref: o.ref})))
	for _, a := range lists {
		o.origin = expiring(o.origin, a.Origin)
		if a.err != nil && !conan.IsAbsent(a.err) {
			o.v.log.Debug("upstream did not tell whether it has a reference of a store",
				zap.String("reference", o.ref.String()), zap.String("member", a.from.Name), zap.Error(a.err))
		}
	}
	o.lists = slices.DeleteFunc(lists, func(a answer[[]conan.RevisionTime]) bool { return a.err != nil })
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
