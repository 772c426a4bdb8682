package transfer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// From is the part of a conan.Source that revisions are copied from.
type From interface {
	Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error)
	Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error)
	Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error)
}

// Incoming is what comes from outside into a store.
type Incoming struct {
	From From   // may be read in the order of InOrder only, each file once, unless Ahead says more
	Name string // of it, in errors and the audit

	// Ahead is how many revisions may be read at a time; 0 and 1: one after the other.
	Ahead int

	// Verified means that who vouches for the digests of From is trusted: archives are not compared
	// with their manifests.
	Verified bool

	// Complete reads what is left of From and tells whether all of it was sound. If it is set, all
	// revisions are made in one transaction after it returned nil; else each by itself.
	Complete func() error
}

// Item is a revision to be copied and its time at the source, in microseconds.
type Item struct {
	conan.Revision
	Time time.Time
}

// InOrder sorts pinned revisions and the recipe revisions of their packages: by reference, the
// recipe revisions of one oldest first, each before its packages, and the revisions of a package
// oldest first. Where times are equal, the order of the source's list decides. A revision that the
// source does not list is conan.ErrNotFound.
func InOrder(ctx context.Context, from From, revs []conan.Revision) ([]Item, error) {
	o := ordering{ctx: ctx, from: from, nodes: make(map[conan.Revision]map[string]place)}
	seen := make(map[conan.Revision]bool)
	var list []ordered
	for _, rev := range revs {
		for _, rev := range []conan.Revision{rev.Recipe(), rev} {
			if seen[rev] {
				continue
			}
			seen[rev] = true
			next, err := o.of(rev)
			if err != nil {
				return nil, err
			}
			list = append(list, next)
		}
	}
	slices.SortFunc(list, ordered.compare)
	items := make([]Item, len(list))
	for i, next := range list {
		items[i] = next.Item
	}
	return items, nil
}

// ordering knows the places of revisions among their siblings.
type ordering struct {
	ctx   context.Context
	from  From
	nodes map[conan.Revision]map[string]place // by id
}

// place is where a revision stands among its siblings, the oldest at 0.
type place struct {
	rank int
	time time.Time
}

type ordered struct {
	Item
	recipe, own int // ranks
}

func (o *ordering) of(rev conan.Revision) (ordered, error) {
	recipe, err := o.place(rev.Recipe())
	if err != nil {
		return ordered{}, err
	}
	own := recipe
	if rev.IsPackage() {
		if own, err = o.place(rev); err != nil {
			return ordered{}, err
		}
	}
	return ordered{Item{rev, own.time}, recipe.rank, own.rank}, nil
}

func (o *ordering) place(rev conan.Revision) (place, error) {
	node := rev.With("")
	places, ok := o.nodes[node]
	if !ok {
		answer, err := o.from.Revisions(o.ctx, node)
		if err != nil {
			return place{}, err
		}
		list := slices.Clone(answer.Value)
		slices.Reverse(list)
		slices.SortStableFunc(list, func(a, b conan.RevisionTime) int { return a.Time.Compare(b.Time) })
		places = make(map[string]place, len(list))
		for i, r := range list {
			places[r.ID] = place{i, r.Time.Truncate(time.Microsecond).UTC()}
		}
		o.nodes[node] = places
	}
	p, ok := places[rev.ID()]
	if !ok {
		return place{}, fmt.Errorf("%s in the list of revisions: %w", rev, conan.ErrNotFound)
	}
	return p, nil
}

func (a ordered) compare(b ordered) int {
	return cmp.Or(
		strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version),
		strings.Compare(a.User, b.User), strings.Compare(a.Channel, b.Channel),
		cmp.Compare(a.recipe, b.recipe), strings.Compare(a.PackageID, b.PackageID), cmp.Compare(a.own, b.own))
}
