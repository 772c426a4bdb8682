package policy

import (
	"context"
	"fmt"
	"sync/atomic"

	"conanproxy/internal/conan"
)

// Hide is a revision that is out of sight; a recipe revision hides its packages.
type Hide struct {
	Member string // of which it is hidden; empty: of all
	View   string // in which it is hidden; empty: in all
	conan.Revision
	Reason string // that clients are shown
}

// Hides are those in force. All decorators share them. The zero value hides nothing.
type Hides struct {
	byRef atomic.Pointer[map[conan.Ref][]Hide]
}

// Set replaces the hides. What was answered before must be forgotten by the caller: it raises the
// counters of the references.
func (h *Hides) Set(list []Hide) {
	byRef := make(map[conan.Ref][]Hide)
	for _, hide := range list {
		byRef[hide.Ref] = append(byRef[hide.Ref], hide)
	}
	h.byRef.Store(&byRef)
}

// of lists the hides of a reference.
func (h *Hides) of(ref conan.Ref) []Hide {
	byRef := h.byRef.Load()
	if byRef == nil {
		return nil
	}
	return (*byRef)[ref]
}

// none tells whether nothing is hidden.
func (h *Hides) none() bool {
	byRef := h.byRef.Load()
	return byRef == nil || len(*byRef) == 0
}

// covers tells whether a hide hides a pinned revision of a member in a view.
func (h Hide) covers(member, view string, rev conan.Revision) bool {
	return (h.Member == "" || h.Member == member) && (h.View == "" || h.View == view) && h.RRev == rev.RRev &&
		(!h.IsPackage() || h.PackageID == rev.PackageID && h.PRev == rev.PRev)
}

// In tells why a pinned revision of a member is hidden, in whatever view.
func (h *Hides) In(member string, rev conan.Revision) (reason string, hidden bool) {
	for _, hide := range h.of(rev.Ref) {
		if hide.covers(member, hide.View, rev) {
			return hide.Reason, true
		}
	}
	return "", false
}

// Hiding is a Source without what is hidden. Hidden revisions are absent from answers about the
// newest, from searches and lists of packages. In lists of revisions they stand after the others,
// marked as hidden, and their files are a conan.HiddenError with the reason.
type Hiding struct {
	source       conan.Source
	hides        *Hides
	member, view string
}

var _ conan.Source = (*Hiding)(nil)

// NewHiding hides revisions of a member in a view.
func NewHiding(source conan.Source, hides *Hides, member, view string) *Hiding {
	return &Hiding{source, hides, member, view}
}

// reason tells why a pinned revision is hidden.
func (h *Hiding) reason(rev conan.Revision) (reason string, hidden bool) {
	for _, hide := range h.hides.of(rev.Ref) {
		if hide.covers(h.member, h.view, rev) {
			return hide.Reason, true
		}
	}
	return "", false
}

// refused is a conan.HiddenError for a hidden revision.
func (h *Hiding) refused(rev conan.Revision) error {
	if reason, hidden := h.reason(rev); hidden {
		return &conan.HiddenError{Member: h.member, Reason: reason}
	}
	return nil
}

// Latest implements conan.Source: the newest revision that is not hidden.
func (h *Hiding) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	newest, err := h.source.Latest(ctx, rev)
	if err != nil {
		return newest, err
	}
	if _, hidden := h.reason(rev.With(newest.Value.ID)); !hidden {
		return newest, nil
	}
	list, err := h.Revisions(ctx, rev)
	a := conan.Answer[conan.RevisionTime]{Origin: list.Origin}
	if err != nil {
		return a, err
	}
	if r, ok := newestVisible(list.Value, newest.Value.Dropped); ok {
		a.Value = r
		return a, nil
	}
	return a, fmt.Errorf("%s: %w: no revision of it is visible in %q", rev, conan.ErrNotFound, h.member)
}

// Revisions implements conan.Source. Hidden revisions stand at the end.
func (h *Hiding) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	list, err := h.source.Revisions(ctx, rev)
	if err != nil || len(h.hides.of(rev.Ref)) == 0 {
		return list, err
	}
	var visible, hidden []conan.RevisionTime
	for _, r := range list.Value {
		if _, is := h.reason(rev.With(r.ID)); is || r.Hidden {
			r.Hidden = true
			hidden = append(hidden, r)
			continue
		}
		visible = append(visible, r)
	}
	list.Value = append(visible, hidden...)
	return list, nil
}

// Snapshot implements conan.Source.
func (h *Hiding) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	if err := h.refused(rev); err != nil {
		return conan.Answer[conan.Snapshot]{}, err
	}
	return h.source.Snapshot(ctx, rev)
}

// Open implements conan.Source.
func (h *Hiding) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	if err := h.refused(rev); err != nil {
		return conan.Answer[*conan.File]{}, err
	}
	return h.source.Open(ctx, rev, name)
}

// Packages implements conan.Source: those with a revision that is not hidden.
func (h *Hiding) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	if err := h.refused(recipe.Recipe()); err != nil {
		return conan.Answer[[]conan.Package]{}, err
	}
	list, err := h.source.Packages(ctx, recipe, idsOnly)
	if err != nil || len(h.hides.of(recipe.Ref)) == 0 {
		return list, err
	}
	shown := make([]conan.Package, 0, len(list.Value))
	for _, p := range list.Value {
		visible, err := h.anyVisible(ctx, conan.Revision{Ref: recipe.Ref, RRev: recipe.RRev, PackageID: p.ID})
		if err != nil {
			return conan.Answer[[]conan.Package]{}, err
		}
		if visible {
			shown = append(shown, p)
		}
	}
	list.Value = shown
	return list, nil
}

// Search implements conan.Source: the references with a recipe revision that is not hidden.
func (h *Hiding) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	found, err := h.source.Search(ctx, p)
	if err != nil || h.hides.none() {
		return found, err
	}
	shown := make([]conan.Ref, 0, len(found.Value))
	for _, ref := range found.Value {
		visible, err := h.anyVisible(ctx, conan.Revision{Ref: ref})
		if err != nil {
			return conan.Answer[[]conan.Ref]{}, err
		}
		if visible {
			shown = append(shown, ref)
		}
	}
	found.Value = shown
	return found, nil
}

// anyVisible tells whether a reference, or a package id, has a revision that is not hidden. Without
// a hide that concerns it nothing is asked.
func (h *Hiding) anyVisible(ctx context.Context, node conan.Revision) (bool, error) {
	concerned := false
	for _, hide := range h.hides.of(node.Ref) {
		concerned = concerned || hide.PackageID == node.PackageID && (!node.IsPackage() || hide.RRev == node.RRev)
	}
	if !concerned {
		return true, nil
	}
	list, err := h.Revisions(ctx, node)
	if conan.IsAbsent(err) {
		return true, nil // the source shows it and lists no revision: nothing of it is hidden
	}
	return len(list.Value) > 0 && !list.Value[0].Hidden, err
}
