package resolver

import (
	"context"
	"fmt"
	"slices"

	"conanproxy/internal/conan"
	"conanproxy/internal/memory"
)

// Snapshot lists the files of a pinned revision as the member has it that is its home.
func (v *generationReader) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	_, a, err := v.home(ctx, rev)
	return a, err
}

// Open opens a file in the member that is the revision's home. If that one cannot be reached for
// it, the next one that has the whole revision becomes its home.
func (v *generationReader) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	tried, origin, err := v.hintedOrHome(ctx, rev)
	if err != nil {
		return conan.Answer[*conan.File]{Origin: origin}, err
	}
	a, err := tried.Open(ctx, rev, name)
	if err == nil {
		return a, nil
	}
	err = fmt.Errorf("%s of %s: %w", name, rev, err)
	if ctx.Err() != nil {
		return conan.Answer[*conan.File]{}, err
	}
	return v.openElsewhere(ctx, tried, rev, name, a, err)
}

// openElsewhere opens a file that the member tried could not give because of err. A member that
// knows the revision and lacks the file has the last word; one that lost the revision since it
// became its home, or cannot be reached, has not.
func (v *generationReader) openElsewhere(ctx context.Context, tried *member, rev conan.Revision, name string, failed conan.Answer[*conan.File], err error) (conan.Answer[*conan.File], error) {
	if conan.IsAbsent(err) {
		if _, snapshotErr := tried.Snapshot(ctx, rev); !conan.IsAbsent(snapshotErr) {
			return failed, err
		}
	} else if rev.Mutable() {
		return failed, err
	}
	for _, m := range v.members(rev.Ref) {
		if m == tried {
			continue
		}
		s, snapshotErr := m.Snapshot(ctx, rev)
		if snapshotErr != nil || !isComplete(s.Value, rev.IsPackage()) {
			continue
		}
		a, openErr := m.Open(ctx, rev, name)
		if openErr == nil {
			v.setHome(rev, m)
			return a, nil
		}
	}
	return failed, err
}

// hintedOrHome is home without looking at the files, if the home is known.
func (v *generationReader) hintedOrHome(ctx context.Context, rev conan.Revision) (*member, conan.Origin, error) {
	members := v.members(rev.Ref)
	if i := v.hinted(rev, members); i >= 0 {
		return members[i], conan.Origin{}, nil
	}
	m, a, err := v.home(ctx, rev)
	return m, a.Origin, err
}

// home finds the member from which all files of a pinned revision come, and lists them: the member
// where it was last found, else the first in order that has it whole, else the first that has it.
// Where it was found is remembered as a hint, so that one install gets all files from one member.
// The hint needs no stamp: without it, or if that member has the revision no longer, the order
// decides again, and every content of a revision is as good.
//
// Only of a mutable revision is the content another in every member. It has no hint: the order
// decides each time, and the first member that cannot tell is the answer.
func (v *generationReader) home(ctx context.Context, rev conan.Revision) (*member, conan.Answer[conan.Snapshot], error) {
	var none conan.Answer[conan.Snapshot]
	if !rev.Pinned() {
		return nil, none, fmt.Errorf("%w: files of %s are asked for without a revision", conan.ErrInvalid, rev)
	}
	var part *answer[conan.Snapshot]
	var errs []error
	var passed []conan.Origin // of the members before the one that answers
	for _, m := range v.hintFirst(rev) {
		a := askOne(ctx, m, func(ctx context.Context, m *member) (conan.Answer[conan.Snapshot], error) {
			return m.Snapshot(ctx, rev)
		})
		switch {
		case a.err == nil && isComplete(a.Value, rev.IsPackage()):
			v.noteHome(rev, m)
			v.setHome(rev, m)
			a.Origin = expiring(a.Origin, passed...)
			return m, a.Answer, nil
		case a.err == nil:
			if part == nil {
				part = &a
			}
		case ctx.Err() != nil:
			return nil, none, fmt.Errorf("%s: %w", rev, ctx.Err())
		case rev.Mutable() && !conan.IsAbsent(a.err):
			return nil, none, fmt.Errorf("%s: %w", rev, a.err)
		default:
			errs = append(errs, a.err)
		}
		passed = append(passed, a.Origin)
	}
	if part != nil {
		v.note(part.from, HasPart)
		part.Origin = expiring(part.Origin, passed...)
		return part.from, part.Answer, nil
	}
	none.Origin = conan.MergeOrigins(passed...)
	return nil, none, notAnywhere(rev, errs)
}

// homeKey names the hint in which member a revision was last found.
func (v *generationReader) homeKey(rev conan.Revision) memory.Key {
	return memory.Key{Member: v.scope, Kind: "home", Rev: rev, Text: v.hidden(rev.Ref)}
}

// hinted is the place, among the members of a revision, of the one where it was last found; -1 if
// that is not known or no longer one of them.
func (v *generationReader) hinted(rev conan.Revision, members []*member) int {
	hint, ok := memory.Get[string](v.memory, v.homeKey(rev))
	if !ok {
		return -1
	}
	return slices.IndexFunc(members, func(m *member) bool { return m.Name == hint })
}

func (v *generationReader) setHome(rev conan.Revision, m *member) {
	if rev.Mutable() {
		return
	}
	if hint, ok := memory.Get[string](v.memory, v.homeKey(rev)); !ok || hint != m.Name {
		v.memory.Put(v.homeKey(rev), m.Name, 0, memory.Stamp{})
	}
}

// hintFirst lists the members of a revision with its last home at the front.
func (v *generationReader) hintFirst(rev conan.Revision) []*member {
	members := v.members(rev.Ref)
	i := v.hinted(rev, members)
	if i <= 0 {
		return members
	}
	return slices.Concat(members[i:i+1], members[:i], members[i+1:])
}

// isComplete tells whether a file list has what every revision of its kind has. What else the
// manifest implies is the business of the member that filled it.
func isComplete(s conan.Snapshot, pkg bool) bool {
	if _, ok := s.Find(conan.ManifestFile); !ok {
		return false
	}
	if !pkg {
		_, ok := s.Find(conan.RecipeFile)
		return ok
	}
	_, ok := s.Find(conan.InfoFile)
	return ok && slices.ContainsFunc(s, func(f conan.FileInfo) bool { return conan.IsArchive(f.Name) })
}
