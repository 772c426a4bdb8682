package localstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Remove implements conan.Publisher. What is removed goes to the trash; without one its bytes are
// freed later, when the index's garbage is deleted.
func (s *Store) Remove(ctx context.Context, r conan.Removal) error {
	if r.PackageIDs != nil && len(r.PackageIDs) == 0 && !r.AllPackages {
		return fmt.Errorf("%w: no package id of %s was named to be removed", conan.ErrInvalid, r.Revision)
	}
	if len(r.PackageIDs) > 0 || r.AllPackages {
		r.Revision = r.Recipe()
	}
	audit := index.Audit{By: r.By, Action: index.ActionRemove, Member: s.name, Target: target(r)}
	o := index.RemoveOptions{Audit: audit, Now: s.now(), Trash: s.trashFor.Load() > 0}
	if err := s.index.Remove(ctx, s.member, r, o); err != nil {
		return err
	}
	s.metrics.removed.WithLabelValues(s.name).Inc()
	s.log.Info("removed", zap.String("reference", audit.Target), zap.String("user", r.By.Name))
	return nil
}

// target names what is removed.
func target(r conan.Removal) string {
	switch {
	case r.AllPackages:
		return r.Revision.String() + ":*"
	case len(r.PackageIDs) > 0:
		return r.Revision.String() + ":" + strings.Join(r.PackageIDs, ",")
	}
	return r.Revision.String()
}

// RemoveFiles implements conan.Publisher. A revision never has what its manifest does not imply,
// but for an archive without files: such a one is taken out of the newest revision, whose content
// stays the same by this.
func (s *Store) RemoveFiles(ctx context.Context, recipe conan.Revision, by conan.Actor, names []string) error {
	for _, name := range names {
		if err := conan.CheckFileName(name, false); err != nil {
			return err
		}
	}
	newest, err := s.newest(ctx, conan.Revision{Ref: recipe.Ref})
	if err != nil {
		return err
	}
	if newest.RRev == "" {
		return s.notHere(recipe)
	}
	files, err := s.index.Files(ctx, s.member, newest)
	if err != nil {
		return err
	}
	needless, err := s.needless(ctx, newest, files, names)
	if err != nil || len(needless) == 0 {
		return err
	}
	audit := index.Audit{By: by, Action: index.ActionRemoveFiles, Member: s.name, Target: newest.String() + " " + strings.Join(needless, ",")}
	err = s.index.RemoveFiles(ctx, s.member, newest, needless, audit, s.now())
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return err
	}
	return nil
}

// needless are those of names that the revision has; one that its manifest implies is
// conan.ErrInvalid.
func (s *Store) needless(ctx context.Context, rev conan.Revision, files conan.Snapshot, names []string) ([]string, error) {
	asked := make(map[string]bool)
	for _, name := range names {
		if _, ok := files.Find(name); ok {
			asked[name] = true
		}
	}
	if len(asked) == 0 {
		return nil, nil
	}
	o, err := s.outlineOf(ctx, files)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rev, err)
	}
	if o == nil {
		return nil, s.notHere(rev)
	}
	var rest conan.Snapshot
	var needless []string
	for _, f := range files {
		if asked[f.Name] {
			needless = append(needless, f.Name)
		} else {
			rest = append(rest, f)
		}
	}
	if missing := o.Missing(rest, rev.IsPackage()); len(missing) > 0 {
		return nil, fmt.Errorf("%w: the manifest of %s needs %s", conan.ErrInvalid, rev, strings.Join(missing, ", "))
	}
	return needless, nil
}
