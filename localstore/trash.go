package localstore

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Restore brings removed revisions back with their times, all or nothing; see index.DB.Restore. It
// returns what came back, or would in a dry run: of a recipe also the packages that were removed
// with it.
func (s *Store) Restore(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Revision, error) {
	audit := index.Audit{By: by, Action: index.ActionRestore, Member: s.name, Target: index.Targets(revs)}
	restored, err := s.index.Restore(ctx, s.member, revs, audit, s.now(), dry)
	if err != nil || dry {
		return restored, err
	}
	s.log.Info("restored", zap.String("reference", audit.Target), zap.String("user", by.Name))
	return restored, nil
}

// RemoveRevisions removes pinned revisions, all or nothing: a recipe revision goes with its
// packages. It returns all that went, or would in a dry run.
func (s *Store) RemoveRevisions(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Revision, error) {
	o := index.RemoveOptions{
		Audit: index.Audit{By: by, Action: index.ActionRemove, Member: s.name, Target: index.Targets(revs)},
		Now:   s.now(), Trash: s.trashFor.Load() > 0, Dry: dry,
	}
	removed, err := s.index.RemovePinned(ctx, s.member, revs, o)
	if err != nil || dry {
		return removed, err
	}
	s.metrics.removed.WithLabelValues(s.name).Inc()
	s.log.Info("removed", zap.String("reference", o.Audit.Target), zap.String("user", by.Name))
	return removed, nil
}

// Erase removes revisions for good; see index.DB.Erase. Their bytes are gone when it returns,
// unless something else names them. If some could not be deleted yet it is conan.ErrUnavailable,
// although the revisions are removed. A dry run only tells what would be done.
func (s *Store) Erase(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]index.Erased, error) {
	audit := index.Audit{By: by, Action: index.ActionRemoveNow, Member: s.name, Target: index.Targets(revs)}
	erased, err := s.index.Erase(ctx, s.member, revs, audit, s.now(), dry)
	if err != nil || dry {
		return erased, err
	}
	s.metrics.removed.WithLabelValues(s.name).Inc()
	s.log.Info("removed for good", zap.String("reference", audit.Target), zap.String("user", by.Name))
	if err := s.deleteUnused(context.WithoutCancel(ctx)); err != nil {
		s.log.Error("bytes that were removed for good are not deleted yet", zap.String("reference", audit.Target), zap.Error(err))
		return erased, fmt.Errorf("%w: the revisions are removed for good, but some of their bytes are not deleted yet; "+
			"the server tries that again by itself, and its log has the reason", conan.ErrUnavailable)
	}
	return erased, nil
}

// sweepTrash empties the trash of what was removed longer ago than it is kept.
func (s *Store) sweepTrash(ctx context.Context) error {
	const atOnce = 100
	before := s.now().Add(-time.Duration(s.trashFor.Load()))
	for {
		n, err := s.index.EmptyTrash(ctx, s.member, before, atOnce)
		if err != nil || n < atOnce {
			return err
		}
	}
}

// Trash lists up to limit removed revisions, the last removed first, with an ID below before, or
// from the start if that is 0.
func (s *Store) Trash(ctx context.Context, before int64, limit int) ([]index.Trashed, error) {
	return s.index.Trash(ctx, s.member, before, limit)
}
