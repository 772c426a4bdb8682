package cache

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// The bounds of what searches leave in the index, since clients can make up any number of patterns.
const (
	maxSearches    = 1000
	maxSearchBytes = 64 << 20
)

// Search implements conan.Source. A fresh answer to a wider pattern answers too. If upstream fails
// and the pattern is new, the references of which something is stored are searched.
func (c *Cache) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	p, err := normalize(p)
	if err != nil {
		return conan.Answer[[]conan.Ref]{}, err
	}
	if refs, origin, ok := c.searchWider(ctx, p); ok {
		return answer(c, refs, origin, nil)
	}
	refs, origin, err := ask(ctx, c, c.searchQuestion(p))
	if errors.Is(err, conan.ErrNotFound) {
		refs, err = []conan.Ref{}, nil // upstream knows no match, which is remembered like any other absence
	}
	return answer(c, refs, origin, err)
}

// normalize gives patterns of one meaning one text: of adjacent wildcards the ? come first, then
// one *. Sets of characters are left alone, since a wildcard in them is none.
func normalize(p conan.Pattern) (conan.Pattern, error) {
	if strings.Contains(p.String(), "[") {
		return p, nil
	}
	text := wildcards.ReplaceAllStringFunc(p.String(), func(run string) string {
		return strings.Repeat("?", strings.Count(run, "?")) + "*"
	})
	if text == "*" {
		text = ""
	}
	return conan.ParsePattern(text, p.IgnoreCase())
}

// wildcards finds adjacent wildcards of which one is a *.
var wildcards = regexp.MustCompile(`\?*\*[?*]*`)

// searchWider answers from a fresh answer to a pattern that finds all that p finds: to p, to that
// for everything, or to one for a part of the text that every match begins with.
func (c *Cache) searchWider(ctx context.Context, p conan.Pattern) ([]conan.Ref, conan.Origin, bool) {
	const most = 32 // candidates; a longer prefix is a client's own matter
	texts := []string{p.String(), ""}
	prefix := p.Prefix()
	for i := 1; i <= min(len(prefix), most); i++ {
		texts = append(texts, prefix[:i]+"*")
	}
	for _, text := range texts {
		wider, err := conan.ParsePattern(text, p.IgnoreCase())
		if err != nil {
			continue
		}
		q := c.searchQuestion(wider)
		if doc, err := load(ctx, c, q); err == nil && isCurrent(c, q, doc) {
			return matching(doc.Value, p), c.fresh(doc.Fetched, false), true
		}
	}
	return nil, conan.Origin{}, false
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
			refs = sortRefs(matching(refs, p))
			return refs, nil, len(refs) > 0
		},
		stored: c.boundSearches,
	}
}

// boundSearches drops the oldest answers to searches beyond the bounds.
func (c *Cache) boundSearches(ctx context.Context) {
	c.bounding.Lock() // so that none is dropped and counted twice
	defer c.bounding.Unlock()
	keys, err := c.o.Index.SurplusDocuments(ctx, c.o.Member, kindSearch, maxSearches, maxSearchBytes)
	if err == nil {
		err = c.drop(ctx, kindSearch, keys...)
	}
	if err != nil {
		c.o.Log.Error("old searches could not be dropped", zap.Error(err))
		return
	}
	c.o.Metrics.searchesDropped.WithLabelValues(c.o.Name).Add(float64(len(keys)))
}

// searchKey names a pattern: by its lower case if case is ignored.
func searchKey(p conan.Pattern) string {
	if p.IgnoreCase() {
		return "i:" + strings.ToLower(p.String())
	}
	return "c:" + p.String()
}

// matching are the references that a pattern finds, in a list of their own.
func matching(refs []conan.Ref, p conan.Pattern) []conan.Ref {
	return slices.DeleteFunc(slices.Clone(refs), func(r conan.Ref) bool { return !p.Match(r) })
}

func sortRefs(refs []conan.Ref) []conan.Ref {
	slices.SortFunc(refs, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(refs)
}

// searchText is a pattern in the words of an error.
type searchText string

func (s searchText) String() string { return fmt.Sprintf("pattern %q", string(s)) }
