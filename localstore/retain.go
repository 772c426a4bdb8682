package localstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/retention"
)

// Retain removes what a policy finds no longer needed, each reference in a transaction of its own,
// and returns all decisions, also those of the references before one that failed. A dry run only
// decides. It is conan.ErrConflict while another run is under way.
func (s *Store) Retain(ctx context.Context, p retention.Policy, by conan.Actor, dry bool) ([]retention.Decision, error) {
	if !dry {
		if !s.retaining.TryLock() {
			return nil, fmt.Errorf("%w: a retention run of %q is under way", conan.ErrConflict, s.name)
		}
		defer s.retaining.Unlock()
	}
	r := retain{s, p, s.now()}
	if err := s.WriteUses(ctx); err != nil {
		return nil, err
	}
	refs, err := s.index.Refs(ctx, s.member)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(refs, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	var all []retention.Decision
	for _, ref := range refs {
		if !p.Concerns(ref) {
			continue
		}
		decisions, err := r.reference(ctx, ref, by, dry)
		if err != nil {
			return all, fmt.Errorf("retention of %s: %w", ref, err)
		}
		all = append(all, decisions...)
	}
	return all, nil
}

// retain is one run.
type retain struct {
	*Store
	policy retention.Policy
	began  time.Time
}

// reference decides about a reference, and again in the transaction that removes.
func (r retain) reference(ctx context.Context, ref conan.Ref, by conan.Actor, dry bool) ([]retention.Decision, error) {
	found, err := r.index.UsesOf(ctx, r.member, ref)
	if err != nil {
		return nil, err
	}
	decisions := r.decide(found)
	if dry || len(going(decisions)) == 0 {
		return decisions, nil
	}
	o := index.RemoveOptions{
		Audit: index.Audit{By: by, Action: index.ActionRetention, Member: r.name}, Now: r.now(), Trash: r.trashFor.Load() > 0,
	}
	err = r.index.RemoveUnneeded(ctx, r.member, ref, func(now index.Uses) []conan.Revision {
		decisions = r.decide(now)
		return going(decisions)
	}, o)
	if err != nil {
		return nil, err
	}
	if gone := going(decisions); len(gone) > 0 {
		r.metrics.retired.WithLabelValues(r.name).Add(float64(len(gone)))
		r.log.Info("removed by retention", zap.String("reference", index.Targets(gone)), zap.String("user", by.Name))
	}
	return decisions, nil
}

// decide plans with the uses that the index does not know yet. Nothing of a reference goes while an
// upload of it is under way, which may be of packages for a recipe that is there.
func (r retain) decide(found index.Uses) []retention.Decision {
	policy := r.policy
	if found.Uploading {
		uploading := func(conan.Revision) (string, bool) { return "an upload is under way", true }
		policy.Keeps = append(slices.Clip(policy.Keeps), uploading)
	}
	revs := make([]retention.Revision, len(found.Revisions))
	for i, row := range found.Revisions {
		revs[i] = retention.Revision{Revision: row.Revision, Adopted: row.Adopted, LastUse: row.LastUse, PinnedBy: row.PinnedBy}
		if at := r.uses.unwritten(row.Revision); at.After(row.LastUse) {
			revs[i].LastUse = at
		}
	}
	return policy.Plan(revs, r.began)
}

// going are the revisions of which it was decided that they go.
func going(decisions []retention.Decision) []conan.Revision {
	var revs []conan.Revision
	for _, d := range decisions {
		if d.Goes {
			revs = append(revs, d.Revision)
		}
	}
	return revs
}
