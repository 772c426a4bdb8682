package localstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// trashSource is what a store's trash has, as a Source against which selections are resolved. Of a
// revision that was removed several times the last removal counts. A recipe revision is in it too
// if only packages of it were removed. It has no files, and reads each reference once.
type trashSource struct {
	s *Store

	mu   sync.Mutex
	read map[conan.Ref][]index.Trashed // each revision once, the last published first
}

// TrashSource returns the trash, as it is when it is first asked, as a Source without files.
func (s *Store) TrashSource() conan.Source {
	return &trashSource{s: s, read: make(map[conan.Ref][]index.Trashed)}
}

func (t *trashSource) of(ctx context.Context, ref conan.Ref) ([]index.Trashed, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rows, ok := t.read[ref]; ok {
		return rows, nil
	}
	all, err := t.s.index.TrashedOf(ctx, t.s.member, ref)
	if err != nil {
		return nil, err
	}
	seen := make(map[conan.Revision]bool)
	rows := slices.DeleteFunc(all, func(row index.Trashed) bool {
		again := seen[row.Revision]
		seen[row.Revision] = true
		return again
	})
	slices.SortStableFunc(rows, func(a, b index.Trashed) int { return b.Time.Compare(a.Time) })
	t.read[ref] = rows
	return rows, nil
}

// Revisions implements conan.Source.
func (t *trashSource) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	rows, err := t.of(ctx, rev.Ref)
	list := []conan.RevisionTime{}
	listed := make(map[string]bool)
	for _, row := range rows {
		id := row.RRev
		if rev.IsPackage() {
			if row.PackageID != rev.PackageID || row.RRev != rev.RRev {
				continue
			}
			id = row.PRev
		}
		if !listed[id] {
			listed[id] = true
			list = append(list, conan.RevisionTime{ID: id, Time: row.Time})
		}
	}
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s in the trash of %s: %w", rev, t.s.name, conan.ErrNotFound)
	}
	return answer(t.s, list, err)
}

// Latest implements conan.Source.
func (t *trashSource) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, err := t.Revisions(ctx, rev)
	if err != nil {
		return answer(t.s, conan.RevisionTime{}, err)
	}
	return answer(t.s, list.Value[0], nil)
}

// Packages implements conan.Source.
func (t *trashSource) Packages(ctx context.Context, recipe conan.Revision, _ bool) (conan.Answer[[]conan.Package], error) {
	rows, err := t.of(ctx, recipe.Ref)
	list := []conan.Package{}
	for _, row := range rows {
		if !row.IsPackage() || row.RRev != recipe.RRev {
			continue
		}
		p := conan.Package{ID: row.PackageID}
		if row.Info != nil {
			p.Info = *row.Info
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
	list = slices.CompactFunc(list, func(a, b conan.Package) bool { return a.ID == b.ID })
	return answer(t.s, list, err)
}

// Search implements conan.Source.
func (t *trashSource) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	refs, err := t.s.index.TrashRefs(ctx, t.s.member)
	refs = slices.DeleteFunc(refs, func(ref conan.Ref) bool { return !p.Match(ref) })
	slices.SortFunc(refs, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return answer(t.s, refs, err)
}

// Snapshot implements conan.Source.
func (t *trashSource) Snapshot(_ context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	return answer[conan.Snapshot](t.s, nil, t.noFiles(rev))
}

// Open implements conan.Source.
func (t *trashSource) Open(_ context.Context, rev conan.Revision, _ string) (conan.Answer[*conan.File], error) {
	return answer[*conan.File](t.s, nil, t.noFiles(rev))
}

func (t *trashSource) noFiles(rev conan.Revision) error {
	return fmt.Errorf("%s: files in the trash are not served: %w", rev, conan.ErrNotFound)
}
