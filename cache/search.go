package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// maxSearches bounds how many answers to different patterns stay in the index, since clients can make up any number.
const maxSearches = 1000

// Search implements conan.Source. If upstream fails and the pattern is new, the references that the cache holds
// something of are searched.
func (c *Cache) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	refs, origin, err := ask(ctx, c, c.searchQuestion(p))
	if errors.Is(err, conan.ErrNotFound) {
		refs, err = []conan.Ref{}, nil // upstream knows no match, which is remembered like any other absence
	}
	return answer(c, refs, origin, err)
}

func (c *Cache) searchQuestion(p conan.Pattern) question[[]conan.Ref] {
	return question[[]conan.Ref]{
		kind:  kindSearch,
		key:   searchKey(p),
		about: searchText(p.String()),
		fetch: func(ctx context.Context) ([]conan.Ref, error) {
			refs, err := c.o.Remote.Search(ctx, p)
			if err == nil && len(refs) == 0 {
				return nil, conan.ErrNotFound
			}
			return sortRefs(slices.Clone(refs)), err
		},
		instead: func(ctx context.Context) ([]conan.Ref, error, bool) {
			refs, err := c.o.Index.Refs(ctx, c.o.Member)
			if err != nil {
				return nil, nil, false
			}
			refs = slices.DeleteFunc(refs, func(r conan.Ref) bool { return !p.Match(r) })
			return sortRefs(refs), nil, len(refs) > 0
		},
	}
}

func searchKey(p conan.Pattern) string {
	if p.IgnoreCase() {
		return "i:" + p.String()
	}
	return "c:" + p.String()
}

func sortRefs(refs []conan.Ref) []conan.Ref {
	slices.SortFunc(refs, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(refs)
}

// searchText is a pattern in the words of an error.
type searchText string

func (s searchText) String() string { return fmt.Sprintf("pattern %q", string(s)) }
