package localstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Promotion copies revisions from one store into another as rows of the index: no byte is copied.
type Promotion struct{ From, To *Store }

// Take copies pinned revisions, all or nothing, with their times; recipes of packages come along. A
// revision that the target has with the same contents is skipped; other bytes are conan.ErrConflict
// with both digests, also where the store overwrites. A dry run only tells what would be done.
func (p Promotion) Take(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Moved, error) {
	const attempts = 5 // another publication may come between the look and the transaction
	for attempt := 1; ; attempt++ {
		moved, err := p.takeOnce(ctx, revs, by, dry)
		if !errors.Is(err, index.ErrStageChanged) {
			return moved, err
		}
		if attempt == attempts {
			return nil, fmt.Errorf("%w: the stores %q and %q change all the time; try again", conan.ErrConflict, p.From.name, p.To.name)
		}
	}
}

func (p Promotion) takeOnce(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Moved, error) {
	items, err := p.items(ctx, revs)
	if err != nil {
		return nil, err
	}
	o := index.Promotion{
		From: p.From.member, To: p.To.member, Items: items, Now: p.To.now(), Dry: dry,
		Audit: index.Audit{By: by, Action: index.ActionPromote, Member: p.To.name, Target: "from " + p.From.name + ": " + index.Targets(revs)},
	}
	moved, err := p.To.index.Promote(ctx, o)
	if err != nil || dry {
		return moved, err
	}
	p.To.log.Info("promoted", zap.String("from", p.From.name), zap.Int("revisions", len(moved)), zap.String("user", by.Name))
	return moved, nil
}

// items are the revisions with their recipes, in the order in which the target gets them: the
// oldest first, a recipe before its packages.
func (p Promotion) items(ctx context.Context, revs []conan.Revision) ([]index.PromotionItem, error) {
	type timed struct {
		index.PromotionItem
		at time.Time
	}
	seen := make(map[conan.Revision]bool)
	var recipes, packages []timed
	add := func(rev conan.Revision) error {
		if seen[rev] {
			return nil
		}
		seen[rev] = true
		item, at, err := p.item(ctx, rev)
		if rev.IsPackage() {
			packages = append(packages, timed{item, at})
		} else {
			recipes = append(recipes, timed{item, at})
		}
		return err
	}
	for _, rev := range revs {
		if err := add(rev.Recipe()); err != nil {
			return nil, err
		}
		if err := add(rev); err != nil {
			return nil, err
		}
	}
	var items []index.PromotionItem
	for _, list := range [][]timed{recipes, packages} {
		slices.SortStableFunc(list, func(a, b timed) int { return a.at.Compare(b.at) })
		for _, t := range list {
			items = append(items, t.PromotionItem)
		}
	}
	return items, nil
}

// item looks at a revision in both stores. Archives that differ in order, times, owners or
// compression only are the same contents.
func (p Promotion) item(ctx context.Context, rev conan.Revision) (index.PromotionItem, time.Time, error) {
	item := index.PromotionItem{Revision: rev}
	source, err := p.From.index.Held(ctx, p.From.member, rev)
	if err != nil {
		return item, time.Time{}, fmt.Errorf("store %s: %w", p.From.name, err)
	}
	item.Source = sums(withoutMetadata(source.Files))
	target, err := p.To.index.Held(ctx, p.To.member, rev)
	if errors.Is(err, conan.ErrNotFound) {
		return item, source.Time, nil
	}
	if err != nil {
		return item, time.Time{}, err
	}
	item.Target = sums(withoutMetadata(target.Files))
	return item, source.Time, p.compare(ctx, rev, withoutMetadata(source.Files), withoutMetadata(target.Files))
}

// compare is conan.ErrConflict if the target has a revision with other bytes.
func (p Promotion) compare(ctx context.Context, rev conan.Revision, source, target conan.Snapshot) error {
	return p.To.compare(ctx, comparison{rev: rev, stored: target, offered: source, from: p.From.name,
		open: func(f conan.FileInfo) (io.ReadCloser, error) { return p.From.blobs.Open(ctx, blob.Digest(f.SHA256)) }})
}

func withoutMetadata(files conan.Snapshot) conan.Snapshot {
	return slices.DeleteFunc(slices.Clone(files), func(f conan.FileInfo) bool { return conan.IsMetadata(f.Name) })
}
