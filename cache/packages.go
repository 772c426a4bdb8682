package cache

import (
	"context"
	"fmt"

	"conanproxy/internal/conan"
)

// Packages implements conan.Source. One document answers with and without texts. If upstream fails
// and said nothing before, the binaries that are stored are listed.
func (c *Cache) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	if recipe.RRev == "" || recipe.IsPackage() {
		return conan.Answer[[]conan.Package]{}, fmt.Errorf("%w: %s is not a pinned recipe revision", conan.ErrInvalid, recipe)
	}
	list, origin, err := ask(ctx, c, c.packagesQuestion(recipe))
	return answer(c, list, origin, err)
}

func (c *Cache) packagesQuestion(recipe conan.Revision) question[[]conan.Package] {
	return question[[]conan.Package]{
		kind:  kindPackages,
		key:   recipe.String(),
		about: recipe,
		fetch: func(ctx context.Context) ([]conan.Package, error) {
			return c.o.Remote.Packages(ctx, recipe, false)
		},
		instead: func(ctx context.Context) ([]conan.Package, error, bool) {
			stored, err := c.o.Index.Packages(ctx, c.o.Member, recipe, false)
			return stored, nil, err == nil && len(stored) > 0
		},
	}
}
