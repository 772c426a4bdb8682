package selection

import (
	"fmt"

	"conanproxy/internal/conan"
)

// References tells which references a selection names. What chooses among the revisions or packages
// of a reference by a pattern, a query or an option is conan.ErrInvalid: the whole reference is
// meant.
func (s Selection) References() (func(conan.Ref) bool, error) {
	if !s.query.IsZero() || s.latest != 0 || s.recipesOnly || s.packagesOnly {
		return nil, fmt.Errorf("%w: whole references are meant, so a query, latest, recipes only and packages only have no effect", conan.ErrInvalid)
	}
	refs := make(map[conan.Ref]bool)
	for _, n := range s.named {
		refs[n.Ref] = true
	}
	searches := make([]conan.Pattern, len(s.patterns))
	for i, p := range s.patterns {
		if p.RRev != "" || p.PackageID != "" {
			return nil, fmt.Errorf("%w: pattern %q names revisions or packages, and whole references are meant", conan.ErrInvalid, p)
		}
		var err error
		if searches[i], err = p.Search(); err != nil {
			return nil, err
		}
	}
	return func(ref conan.Ref) bool {
		if refs[ref] {
			return true
		}
		for i, p := range s.patterns {
			if searches[i].Match(ref) && p.Keeps(ref) {
				return true
			}
		}
		return false
	}, nil
}
