package localstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Past is a store as it was at a moment, as a Source. The files of what was removed since come from
// the trash. What was removed for good is conan.ErrNotFound at any moment, and files that were
// replaced since are the new ones.
type Past struct {
	s  *Store
	at time.Time
}

var _ conan.Source = (*Past)(nil)

// At gives the store as it was at a moment.
func (s *Store) At(at time.Time) *Past { return &Past{s, at} }

// pastFor is how long answers about the past hold: the trash may be emptied.
const pastFor = time.Minute

func pastAnswer[T any](p *Past, value T, err error) (conan.Answer[T], error) {
	a, err := answer(p.s, value, err)
	if !a.Origin.Expires.IsZero() {
		a.Origin.Expires = p.s.now().Add(pastFor)
	}
	return a, err
}

// Latest implements conan.Source.
func (p *Past) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, err := p.revisions(ctx, rev)
	if err != nil {
		return pastAnswer(p, conan.RevisionTime{}, err)
	}
	return pastAnswer(p, list[0], nil)
}

// Revisions implements conan.Source.
func (p *Past) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	list, err := p.revisions(ctx, rev)
	return pastAnswer(p, list, err)
}

func (p *Past) revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	if rev.IsPackage() {
		if err := p.wasVisible(ctx, rev.Recipe()); err != nil {
			return nil, err
		}
	}
	rows, err := p.s.index.RevisionsAt(ctx, p.s.member, rev, p.at)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, p.wasNotHere(rev)
	}
	return revisionTimes(rows), nil
}

// OwnRevisions lists the recipe revisions of ref that were published here and not adopted, newest
// first. None is an empty list.
func (p *Past) OwnRevisions(ctx context.Context, ref conan.Ref) ([]string, error) {
	rows, err := p.s.index.RevisionsAt(ctx, p.s.member, conan.Revision{Ref: ref}, p.at)
	return ownRevisions(rows), err
}

// Snapshot implements conan.Source.
func (p *Past) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	h, err := p.visible(ctx, rev)
	return pastAnswer(p, h.Files, err)
}

// Open implements conan.Source.
func (p *Past) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	h, err := p.visible(ctx, rev)
	if err != nil {
		return pastAnswer[*conan.File](p, nil, err)
	}
	f, err := p.s.openStored(ctx, rev, h, name, func() error {
		_, err := p.visible(ctx, rev)
		return err
	})
	return pastAnswer(p, f, err)
}

// visible is a revision that was visible then, with its files: published or from the trash.
func (p *Past) visible(ctx context.Context, rev conan.Revision) (index.Held, error) {
	if err := p.wasVisible(ctx, rev); err != nil {
		return index.Held{}, err
	}
	if rev.IsPackage() {
		if err := p.wasVisible(ctx, rev.Recipe()); err != nil {
			return index.Held{}, err
		}
	}
	h, err := p.s.index.Held(ctx, p.s.member, rev)
	if !conan.IsAbsent(err) {
		return h, err
	}
	h.Files, err = p.s.index.TrashedFiles(ctx, p.s.member, rev)
	if conan.IsAbsent(err) {
		return h, p.wasNotHere(rev)
	}
	return h, err
}

// Packages implements conan.Source.
func (p *Past) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	recipe = recipe.Recipe()
	if err := p.wasVisible(ctx, recipe); err != nil {
		return pastAnswer[[]conan.Package](p, nil, err)
	}
	list, err := p.s.index.PackagesAt(ctx, p.s.member, recipe, p.at, idsOnly)
	return pastAnswer(p, list, err)
}

// Search implements conan.Source.
func (p *Past) Search(ctx context.Context, pattern conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	name, _, _ := strings.Cut(strings.ToLower(pattern.Prefix()), "/")
	all, err := p.s.index.RefsAt(ctx, p.s.member, name, p.at)
	found := slices.DeleteFunc(all, func(ref conan.Ref) bool { return !pattern.Match(ref) })
	slices.SortFunc(found, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return pastAnswer(p, found, err)
}

// wasVisible is conan.ErrNotFound for a pinned revision that was not visible.
func (p *Past) wasVisible(ctx context.Context, rev conan.Revision) error {
	was, err := p.s.index.WasVisible(ctx, p.s.member, rev, p.at)
	if err == nil && !was {
		return p.wasNotHere(rev)
	}
	return err
}

// wasNotHere does not tell the two apart, since no history is kept of what was removed for good.
func (p *Past) wasNotHere(rev conan.Revision) error {
	return fmt.Errorf("%s in %s at %s: %w: it was not there, or was removed for good since", rev, p.s.name, p.at.UTC().Format(time.RFC3339), conan.ErrNotFound)
}
