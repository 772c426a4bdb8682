package main

import (
	"context"
	"time"

	"conanproxy/cache"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/selection"
)

// pins are those of a store, or of an upstream if it has a cache, for the operators' API.
type pins struct {
	index *index.DB
	name  string
	id    index.MemberID
	cache *cache.Cache
}

// Pin implements api.Member.
func (p pins) Pin(ctx context.Context, revs []conan.Revision, owner string, by conan.Actor, dry bool) ([]conan.Moved, error) {
	target := index.Targets(revs)
	if p.cache != nil {
		return p.cache.Pin(ctx, revs, cache.PinOptions{Owner: owner, By: by, Target: target, Dry: dry})
	}
	return p.index.Pin(ctx, p.id, conan.WithRecipes(revs), owner, p.audit(index.ActionPin, by, target), time.Now(), dry, nil)
}

// Unpin implements api.Member.
func (p pins) Unpin(ctx context.Context, revs []conan.Revision, owner string, by conan.Actor, dry bool) ([]conan.Moved, error) {
	return p.index.Unpin(ctx, p.id, revs, owner, p.audit(index.ActionUnpin, by, index.Targets(revs)), time.Now(), dry)
}

func (p pins) audit(action index.Action, by conan.Actor, target string) index.Audit {
	return index.Audit{By: by, Action: action, Member: p.name, Target: target}
}

// Pins implements api.Member.
func (p pins) Pins(ctx context.Context, before int64, limit int) ([]index.Pin, error) {
	return p.index.Pins(ctx, p.id, before, limit)
}

// PinSource implements api.Member.
func (p pins) PinSource(owner string) conan.Source {
	return selection.Inventory{
		Member: p.name, Where: "the pins in " + p.name,
		Refs: func(ctx context.Context) ([]conan.Ref, error) { return p.index.PinRefs(ctx, p.id, owner) },
		Of: func(ctx context.Context, ref conan.Ref) ([]selection.Row, error) {
			all, err := p.index.PinsOf(ctx, p.id, ref)
			var rows []selection.Row
			for _, pin := range all {
				if owner == "" || pin.Owner == owner {
					rows = append(rows, selection.Row{Revision: pin.Revision, Time: pin.Time})
				}
			}
			return rows, err
		},
	}.Source()
}
