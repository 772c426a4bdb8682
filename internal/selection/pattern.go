package selection

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"conanproxy/internal/conan"
)

// search is one pattern while it is resolved, with all its parts.
type search struct {
	*resolver
	conan.ListPattern
	from    string
	recipes bool // the recipes are meant, and not only their packages
}

// pattern adds what a pattern finds, as the client's command of the purpose would.
func (r *resolver) pattern(p conan.ListPattern) error {
	s := search{resolver: r, ListPattern: p.Or(r.defaults()), from: "pattern " + strconv.Quote(p.String()), recipes: true}
	if s.PackageID == "" && (!r.query.IsZero() || r.packagesOnly && (r.purpose == AsList || r.purpose == AsHide)) {
		return fmt.Errorf("%w: it names no packages to choose from; write %s:*", conan.ErrInvalid, p)
	}
	if s.PackageID != "" && (r.purpose == AsRemove || r.purpose == AsHide) {
		s.recipes = false
	}
	if r.purpose == AsRemove && s.PackageID == "" {
		s.PackageID, s.PRev = "*", "*"
	}
	if r.recipesOnly {
		s.PackageID = ""
	}
	refs, err := s.refs()
	if err != nil {
		return err
	}
	if len(refs) == 0 && s.OneRef() {
		return r.miss(s.from, "recipe", p)
	}
	for _, ref := range refs {
		if err := s.reference(ref); err != nil {
			return err
		}
	}
	return nil
}

// defaults are those of the purpose; if a number of newest revisions is asked for, it is these.
func (r *resolver) defaults() conan.ListDefaults {
	d := r.purpose.defaults()
	if r.latest > 0 {
		d.RRev, d.PRev = conan.LatestRevision, conan.LatestRevision
	}
	return d
}

func (s search) refs() ([]conan.Ref, error) {
	ref, ok, err := s.Exact()
	if err != nil || ok {
		return []conan.Ref{ref}, err
	}
	question, err := s.Search()
	if err != nil {
		return nil, err
	}
	answer, err := s.source.Search(s.ctx, question)
	if err != nil {
		return nil, err
	}
	var refs []conan.Ref
	for _, ref := range answer.Value {
		if s.Keeps(ref) {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// reference adds the recipe revisions of a reference that the pattern selects, and their packages.
func (s search) reference(ref conan.Ref) error {
	node := conan.Revision{Ref: ref}
	if s.RRev == "" && s.PackageID == "" {
		return s.add(node, time.Time{})
	}
	list, known, err := s.revisions(node, cmp.Or(s.RRev, conan.LatestRevision))
	if err != nil {
		return err
	}
	if !known {
		return s.miss(s.from, "recipe", ref)
	}
	if len(list) == 0 && s.OneRRev() && s.RRev != conan.NotLatestRevision {
		return s.miss(s.from, "recipe revision", node.With(s.RRev))
	}
	for _, rt := range list {
		if err := s.recipe(node.With(rt.ID), rt.Time); err != nil {
			return err
		}
	}
	return nil
}

// recipe adds one recipe revision and those of its packages that the pattern selects.
func (s search) recipe(recipe conan.Revision, at time.Time) error {
	if s.recipes {
		if err := s.add(recipe, at); err != nil {
			return err
		}
	}
	if s.PackageID == "" {
		return nil
	}
	ids, err := s.packageIDs(recipe)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.packageRevisions(recipe, id); err != nil {
			return err
		}
	}
	return nil
}

// packageIDs lists the packages of a recipe revision that the pattern and the query select. One id
// with a revision is taken as it stands.
func (s search) packageIDs(recipe conan.Revision) ([]string, error) {
	if !isOpen(s.PackageID) && s.PRev != "" {
		return []string{s.PackageID}, nil
	}
	answer, err := s.source.Packages(s.ctx, recipe, s.query.IsZero())
	if conan.IsAbsent(err) {
		return nil, s.miss(s.from, "recipe", recipe)
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, pkg := range answer.Value {
		if !conan.Wildcard(s.PackageID).Match(pkg.ID) {
			continue
		}
		if s.query.IsZero() || s.query.Match(conan.ParseInfo(pkg.Info)) {
			ids = append(ids, pkg.ID)
		}
	}
	if len(ids) == 0 && s.OnePackage() {
		return nil, s.miss(s.from, "package", recipe.String()+":"+s.PackageID)
	}
	return ids, nil
}

// packageRevisions adds the revisions of one package that the pattern selects.
func (s search) packageRevisions(recipe conan.Revision, id string) error {
	node, err := conan.NewRevision(recipe.Ref, recipe.RRev, id, "")
	if err != nil {
		return err
	}
	if s.PRev == "" {
		return s.add(node, time.Time{})
	}
	list, known, err := s.revisions(node, s.PRev)
	if err != nil {
		return err
	}
	if !known {
		return s.miss(s.from, "package", node)
	}
	if len(list) == 0 && s.OnePRev() && s.PRev != conan.NotLatestRevision {
		return s.miss(s.from, "package revision", node.With(s.PRev))
	}
	for _, rt := range list {
		if err := s.add(node.With(rt.ID), rt.Time); err != nil {
			return err
		}
	}
	return nil
}
