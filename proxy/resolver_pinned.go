package proxy

import (
	"context"
	"fmt"
	"slices"

	"conanproxy/internal/conan"
)

// Snapshot lists the files of a pinned revision as the member has it that is its home.
func (v *generationReader) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	_, s, err := v.home(ctx, rev)
	return s, err
}

// Open opens a file in the member that is the revision's home. If that one cannot be reached
// for it, the next one that has the whole revision becomes its home.
func (v *generationReader) Open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	tried, _, err := v.hintedOrHome(ctx, rev)
	if err != nil {
		return nil, err
	}
	f, err := tried.Open(ctx, rev, name)
	if err == nil {
		return f, nil
	}
	err = fmt.Errorf("%s of %s: %w", name, rev, err)
	if ctx.Err() != nil {
		return nil, err
	}
	return v.openElsewhere(ctx, tried, rev, name, err)
}

// openElsewhere opens a file that the member tried could not give because of err. A member
// that knows the revision and lacks the file has the last word; one that lost the revision
// since it became its home, or cannot be reached, has not.
func (v *generationReader) openElsewhere(ctx context.Context, tried *member, rev conan.Revision, name string, err error) (*conan.File, error) {
	if absent(err) {
		if _, snapshotErr := tried.Snapshot(ctx, rev); !absent(snapshotErr) {
			return nil, err
		}
	} else if rev.Mutable() {
		return nil, err
	}
	for _, m := range v.members(rev.Ref) {
		if m == tried {
			continue
		}
		s, snapshotErr := m.Snapshot(ctx, rev)
		if snapshotErr != nil || !isComplete(s, rev.IsPackage()) {
			continue
		}
		f, openErr := m.Open(ctx, rev, name)
		if openErr == nil {
			v.homes.Add(rev, m)
			return f, nil
		}
	}
	return nil, err
}

// hintedOrHome is home without looking at the files, if the home is known.
func (v *generationReader) hintedOrHome(ctx context.Context, rev conan.Revision) (*member, conan.Snapshot, error) {
	members := v.members(rev.Ref)
	if hint, ok := v.homes.Get(rev); ok && slices.Contains(members, hint) {
		return hint, nil, nil
	}
	return v.home(ctx, rev)
}

// home finds the member from which all files of a pinned revision come, and lists them: the
// member where it was last found, else the first in order that has it whole, else the first
// that has it. Where it was found is remembered as a hint: without it, or if that member has
// it no longer, the order decides again, and every content of a revision is as good.
//
// Only of a mutable revision is the content another in every member: there the first one that
// cannot tell is the answer.
func (v *generationReader) home(ctx context.Context, rev conan.Revision) (*member, conan.Snapshot, error) {
	if !rev.Pinned() {
		return nil, nil, fmt.Errorf("%w: files of %s are asked for without a revision", conan.ErrInvalid, rev)
	}
	var part *member
	var partFiles conan.Snapshot
	var errs []error
	for _, m := range v.hintFirst(rev) {
		s, err := m.Snapshot(ctx, rev)
		switch {
		case err == nil && isComplete(s, rev.IsPackage()):
			v.homes.Add(rev, m)
			return m, s, nil
		case err == nil && part == nil:
			part, partFiles = m, s
		case err == nil:
		case ctx.Err() != nil:
			return nil, nil, fmt.Errorf("%s: %w", rev, ctx.Err())
		case rev.Mutable() && !absent(err):
			return nil, nil, fmt.Errorf("%s: %w", rev, err)
		default:
			errs = append(errs, err)
		}
	}
	if part != nil {
		return part, partFiles, nil
	}
	return nil, nil, nowhere(rev, errs)
}

// hintFirst lists the members of a revision with its last home at the front.
func (v *generationReader) hintFirst(rev conan.Revision) []*member {
	members := v.members(rev.Ref)
	hint, ok := v.homes.Get(rev)
	i := slices.Index(members, hint)
	if !ok || i <= 0 {
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
