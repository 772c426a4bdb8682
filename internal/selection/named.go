package selection

import (
	"cmp"
	"time"

	"conanproxy/internal/conan"
)

// named adds one revision that a file names. A package brings its recipe along, but not AsRemove.
func (r *resolver) named(n named) error {
	recipe, at, err := r.one(n.from, n.Recipe())
	if err != nil || recipe.RRev == "" {
		return err
	}
	removesRecipe := !n.IsPackage() && n.extent != exact
	if r.purpose != AsRemove || removesRecipe {
		if err := r.add(recipe, at); err != nil {
			return err
		}
	}
	switch {
	case r.recipesOnly:
		return nil
	case n.IsPackage():
		pkg := n.Revision
		pkg.RRev = recipe.RRev
		pkg, at, err := r.one(n.from, pkg)
		if err != nil || pkg.PRev == "" {
			return err
		}
		return r.add(pkg, at)
	case n.extent == whole || r.purpose == AsRemove && n.extent == bare:
		return r.allPackages(n.from, recipe)
	}
	return nil
}

// allPackages adds the packages of a recipe that a file names as a whole.
func (r *resolver) allPackages(from string, recipe conan.Revision) error {
	p, err := conan.ParseListPattern(recipe.String() + ":*")
	if err != nil {
		return err
	}
	p = p.Or(conan.ListDefaults{PRev: cmp.Or(r.purpose.defaults().PRev, conan.LatestRevision)})
	return search{resolver: r, ListPattern: p, from: from}.recipe(recipe, time.Time{})
}

// one finds a revision by its id, or the newest if it has none. If it is not there, the revision
// that comes back has no id.
func (r *resolver) one(from string, rev conan.Revision) (conan.Revision, time.Time, error) {
	if at, ok := r.found[rev]; ok && rev.ID() != "" {
		return rev, at, nil
	}
	what := "recipe"
	if rev.IsPackage() {
		what = "package"
	}
	if rev.ID() == "" {
		answer, err := r.source.Latest(r.ctx, rev)
		if conan.IsAbsent(err) {
			return rev, time.Time{}, r.miss(from, what, rev)
		}
		return rev.With(answer.Value.ID), answer.Value.Time, err
	}
	answer, err := r.source.Revisions(r.ctx, rev.With(""))
	if err != nil && !conan.IsAbsent(err) {
		return rev, time.Time{}, err
	}
	if err := r.whyHidden(rev, answer.Value, rev.ID()); err != nil {
		return rev, time.Time{}, err
	}
	for _, rt := range answer.Value {
		if rt.ID == rev.ID() {
			return rev, rt.Time, nil
		}
	}
	return rev.With(""), time.Time{}, r.miss(from, what, rev)
}
