package localstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// trashSource is what a store's trash has, as a Source against which selections are resolved. Of a
// revision that was removed several times the last removal counts. It has no files.
type trashSource struct{ s *Store }

// TrashSource returns the trash as a Source without files.
func (s *Store) TrashSource() conan.Source { return trashSource{s} }

// rows are the removed revisions that pick chooses, each once, the last published first.
func (t trashSource) rows(ctx context.Context, ref conan.Ref, pick func(index.Trashed) bool) ([]index.Trashed, error) {
	all, err := t.s.index.TrashedOf(ctx, t.s.member, ref)
	if err != nil {
		return nil, err
	}
	seen := make(map[conan.Revision]bool)
	all = slices.DeleteFunc(all, func(row index.Trashed) bool {
		out := seen[row.Revision] || !pick(row)
		seen[row.Revision] = seen[row.Revision] || !out
		return out
	})
	slices.SortStableFunc(all, func(a, b index.Trashed) int { return b.Time.Compare(a.Time) })
	return all, nil
}

// Revisions implements conan.Source.
func (t trashSource) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	rows, err := t.rows(ctx, rev.Ref, func(row index.Trashed) bool {
		return row.PackageID == rev.PackageID && (!rev.IsPackage() || row.RRev == rev.RRev)
	})
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("%s in the trash of %s: %w", rev, t.s.name, conan.ErrNotFound)
	}
	list := make([]conan.RevisionTime, len(rows))
	for i, row := range rows {
		list[i] = conan.RevisionTime{ID: row.Revision.ID(), Time: row.Time}
	}
	return answer(t.s, list, err)
}

// Latest implements conan.Source.
func (t trashSource) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, err := t.Revisions(ctx, rev)
	if err != nil {
		return answer(t.s, conan.RevisionTime{}, err)
	}
	return answer(t.s, list.Value[0], nil)
}

// Packages implements conan.Source. Packages are in the trash without their recipe if they were
// removed alone.
func (t trashSource) Packages(ctx context.Context, recipe conan.Revision, _ bool) (conan.Answer[[]conan.Package], error) {
	rows, err := t.rows(ctx, recipe.Ref, func(row index.Trashed) bool { return row.IsPackage() && row.RRev == recipe.RRev })
	list := []conan.Package{}
	for _, row := range rows {
		if slices.ContainsFunc(list, func(p conan.Package) bool { return p.ID == row.PackageID }) {
			continue
		}
		p := conan.Package{ID: row.PackageID}
		if row.Info != nil {
			p.Info = *row.Info
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
	return answer(t.s, list, err)
}

// Search implements conan.Source.
func (t trashSource) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	refs, err := t.s.index.TrashRefs(ctx, t.s.member)
	refs = slices.DeleteFunc(refs, func(ref conan.Ref) bool { return !p.Match(ref) })
	slices.SortFunc(refs, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return answer(t.s, refs, err)
}

// Snapshot implements conan.Source.
func (t trashSource) Snapshot(_ context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	return answer[conan.Snapshot](t.s, nil, t.noFiles(rev))
}

// Open implements conan.Source.
func (t trashSource) Open(_ context.Context, rev conan.Revision, _ string) (conan.Answer[*conan.File], error) {
	return answer[*conan.File](t.s, nil, t.noFiles(rev))
}

func (t trashSource) noFiles(rev conan.Revision) error {
	return fmt.Errorf("%s: files in the trash are not served: %w", rev, conan.ErrNotFound)
}
