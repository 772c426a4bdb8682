package proxy

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"conanproxy/internal/conan"
)

// Newest implements Reader.
func (v *generationReader) Newest(ctx context.Context, rev conan.Revision) (conan.Revision, error) {
	switch {
	case rev.Pinned():
		return rev, nil
	case rev.RRev != "":
		return v.newestPackage(ctx, rev)
	}
	rt, from, err := v.latestRecipe(ctx, rev.Ref)
	if err != nil {
		return conan.Revision{}, err
	}
	rev.RRev = rt.ID
	if !rev.IsPackage() {
		return rev, nil
	}
	pinned, err := v.newestPackage(ctx, rev)
	if err == nil || !absent(err) {
		return pinned, err
	}
	older, listErr := olderRevisions(ctx, from, rev.Recipe())
	if listErr != nil {
		return conan.Revision{}, listErr
	}
	return v.newestPackageIn(ctx, rev, older, err)
}

// newestPackage pins a package in its recipe revision.
func (v *generationReader) newestPackage(ctx context.Context, pkg conan.Revision) (conan.Revision, error) {
	rt, err := v.latestPackage(ctx, pkg)
	if err != nil {
		return conan.Revision{}, err
	}
	return pkg.With(rt.ID), nil
}

// newestPackageIn pins a package in the first of the recipe revisions that has it. newestErr
// is what the newest one said.
func (v *generationReader) newestPackageIn(ctx context.Context, pkg conan.Revision, rrevs []string, newestErr error) (conan.Revision, error) {
	errs := []error{newestErr}
	for _, rrev := range rrevs {
		pkg.RRev = rrev
		pinned, err := v.newestPackage(ctx, pkg)
		if err == nil || !absent(err) {
			return pinned, err
		}
		errs = append(errs, err)
	}
	pkg.RRev = ""
	return conan.Revision{}, nowhere(pkg, errs)
}

// olderRevisions lists the member's other recipe revisions, newest first.
func olderRevisions(ctx context.Context, from *member, newest conan.Revision) ([]string, error) {
	list, err := from.Revisions(ctx, newest.With(""))
	if errors.Is(err, conan.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", newest.Ref, err)
	}
	var older []string
	for _, rt := range list {
		if rt.ID != newest.RRev {
			older = append(older, rt.ID)
		}
	}
	return older, nil
}

// packageListsAtOnce bounds the recipe revisions of which packages are asked for at a time.
const packageListsAtOnce = 4

// AllPackages implements Reader.
func (v *generationReader) AllPackages(ctx context.Context, ref conan.Ref) ([]conan.Package, error) {
	rt, from, err := v.latestRecipe(ctx, ref)
	if err != nil {
		return nil, err
	}
	newest := conan.Revision{Ref: ref, RRev: rt.ID}
	older, err := olderRevisions(ctx, from, newest)
	if err != nil {
		return nil, err
	}
	rrevs := append([]string{rt.ID}, older...)
	lists := make([][]conan.Package, len(rrevs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(packageListsAtOnce)
	for i, rrev := range rrevs {
		group.Go(func() error {
			list, err := v.Packages(ctx, newest.With(rrev), false)
			if err != nil && !absent(err) {
				return err
			}
			lists[i] = list
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return mergePackages(lists), nil
}
