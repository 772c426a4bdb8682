package localstore

import (
	"context"

	"conanproxy/internal/conan"
	"conanproxy/internal/selection"
)

// TrashSource returns the trash as a Source without files. Of a revision that was removed several
// times the last removal counts.
func (s *Store) TrashSource() conan.Source {
	return selection.Inventory{
		Member: s.name, Where: "the trash of " + s.name,
		Refs: func(ctx context.Context) ([]conan.Ref, error) { return s.index.TrashRefs(ctx, s.member) },
		Of:   s.trashRows,
	}.Source()
}

// EverySource returns what is published and what is in the trash as a Source without files.
func (s *Store) EverySource() conan.Source {
	return selection.Inventory{
		Member: s.name, Where: s.name + " and its trash",
		Refs: func(ctx context.Context) ([]conan.Ref, error) {
			live, err := s.index.Refs(ctx, s.member)
			if err != nil {
				return nil, err
			}
			removed, err := s.index.TrashRefs(ctx, s.member)
			return append(live, removed...), err
		},
		Of: func(ctx context.Context, ref conan.Ref) ([]selection.Row, error) {
			live, err := s.index.RevisionsOf(ctx, s.member, ref)
			if err != nil {
				return nil, err
			}
			rows := make([]selection.Row, len(live))
			for i, l := range live {
				rows[i] = selection.Row{Revision: l.Revision, Time: l.Time, Info: l.Info}
			}
			removed, err := s.trashRows(ctx, ref)
			return append(rows, removed...), err
		},
	}.Source()
}

// trashRows lists what the trash has of a reference, the last removed first.
func (s *Store) trashRows(ctx context.Context, ref conan.Ref) ([]selection.Row, error) {
	removed, err := s.index.TrashedOf(ctx, s.member, ref)
	rows := make([]selection.Row, len(removed))
	for i, t := range removed {
		rows[i] = selection.Row{Revision: t.Revision, Time: t.Time}
		if t.Info != nil {
			rows[i].Info = *t.Info
		}
	}
	return rows, err
}
