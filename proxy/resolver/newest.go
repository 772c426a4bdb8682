package resolver

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"conanproxy/internal/conan"
)

// Newest implements Reader.
func (v *generationReader) Newest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Revision], error) {
	switch {
	case rev.Pinned():
		return conan.Answer[conan.Revision]{Value: rev, Origin: conan.Origin{Expires: conan.Forever}}, nil
	case rev.RRev != "":
		return v.newestPackage(ctx, rev)
	}
	recipe, from, err := v.latestRecipe(ctx, rev.Ref)
	if err != nil {
		return conan.Answer[conan.Revision]{Origin: recipe.Origin}, err
	}
	rev.RRev = recipe.Value.ID
	if !rev.IsPackage() {
		return conan.Answer[conan.Revision]{Value: rev, Origin: recipe.Origin}, nil
	}
	pinned, err := v.newestPackage(ctx, rev)
	pinned.Origin = expiring(pinned.Origin, recipe.Origin)
	if err == nil || !conan.IsAbsent(err) {
		return pinned, err
	}
	older, origin, listErr := olderRevisions(ctx, from, rev.Recipe())
	if listErr != nil {
		return conan.Answer[conan.Revision]{}, listErr
	}
	return v.newestPackageIn(ctx, rev, older, conan.MergeOrigins(pinned.Origin, origin), err)
}

// newestPackage pins a package in its recipe revision.
func (v *generationReader) newestPackage(ctx context.Context, pkg conan.Revision) (conan.Answer[conan.Revision], error) {
	a, err := v.latestPackage(ctx, pkg)
	if err != nil {
		return conan.Answer[conan.Revision]{Origin: a.Origin}, err
	}
	return conan.Answer[conan.Revision]{Value: pkg.With(a.Value.ID), Origin: a.Origin}, nil
}

// newestPackageIn pins a package in the first of the recipe revisions that has it. newestErr is
// what the newest one said, and origin that of all answers so far.
func (v *generationReader) newestPackageIn(ctx context.Context, pkg conan.Revision, rrevs []string, origin conan.Origin, newestErr error) (conan.Answer[conan.Revision], error) {
	errs := []error{newestErr}
	for _, rrev := range rrevs {
		pkg.RRev = rrev
		pinned, err := v.newestPackage(ctx, pkg)
		if err == nil || !conan.IsAbsent(err) {
			pinned.Origin = expiring(pinned.Origin, origin)
			return pinned, err
		}
		errs = append(errs, err)
		origin = conan.MergeOrigins(origin, pinned.Origin)
	}
	pkg.RRev = ""
	return conan.Answer[conan.Revision]{Origin: origin}, notAnywhere(pkg, errs)
}

// olderRevisions lists the member's other recipe revisions, newest first.
func olderRevisions(ctx context.Context, from *member, newest conan.Revision) ([]string, conan.Origin, error) {
	list, err := from.Revisions(ctx, newest.With(""))
	if errors.Is(err, conan.ErrNotFound) {
		return nil, list.Origin, nil
	}
	if err != nil {
		return nil, conan.Origin{}, fmt.Errorf("%s: %w", newest.Ref, err)
	}
	var older []string
	for _, rt := range list.Value {
		if rt.ID != newest.RRev && !rt.Hidden {
			older = append(older, rt.ID)
		}
	}
	return older, list.Origin, nil
}

// packageListsAtOnce bounds the recipe revisions of which packages are asked for at a time.
const packageListsAtOnce = 4

// AllPackages implements Reader.
func (v *generationReader) AllPackages(ctx context.Context, ref conan.Ref) (conan.Answer[[]conan.Package], error) {
	recipe, from, err := v.latestRecipe(ctx, ref)
	if err != nil {
		return conan.Answer[[]conan.Package]{Origin: recipe.Origin}, err
	}
	newest := conan.Revision{Ref: ref, RRev: recipe.Value.ID}
	older, olderOrigin, err := olderRevisions(ctx, from, newest)
	if err != nil {
		return conan.Answer[[]conan.Package]{}, err
	}
	rrevs := append([]string{newest.RRev}, older...)
	lists := make([][]conan.Package, len(rrevs))
	origins := make([]conan.Origin, len(rrevs), len(rrevs)+2)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(packageListsAtOnce)
	for i, rrev := range rrevs {
		group.Go(func() error {
			list, err := v.Packages(ctx, newest.With(rrev), false)
			if err != nil && !conan.IsAbsent(err) {
				return err
			}
			lists[i], origins[i] = list.Value, list.Origin
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return conan.Answer[[]conan.Package]{}, err
	}
	origins = append(origins, recipe.Origin, olderOrigin)
	return conan.Answer[[]conan.Package]{Value: mergePackages(lists), Origin: conan.MergeOrigins(origins...)}, nil
}
