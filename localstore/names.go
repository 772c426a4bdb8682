package localstore

import (
	"context"
	"slices"
	"strings"
	"sync"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// names is the list of published references in memory, so that a search reads no rows. It is read from the index
// at the first search and kept in step with it from then on. The zero value with an index is ready.
type names struct {
	index *index.DB

	mu     sync.RWMutex
	loaded bool
	sorted []name // by folded, then by text
}

// name is a reference with the texts that searches go by.
type name struct {
	conan.Ref
	text   string // of the reference
	folded string // the same in lower case
}

func newName(ref conan.Ref) name {
	text := ref.String()
	return name{Ref: ref, text: text, folded: strings.ToLower(text)}
}

func compareNames(a, b name) int {
	if c := strings.Compare(a.folded, b.folded); c != 0 {
		return c
	}
	return strings.Compare(a.text, b.text)
}

// search lists the references that match, sorted by their text.
func (n *names) search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	if err := n.load(ctx); err != nil {
		return nil, err
	}
	n.mu.RLock()
	found := n.matching(p)
	n.mu.RUnlock()
	slices.SortFunc(found, func(a, b name) int { return strings.Compare(a.text, b.text) })
	refs := make([]conan.Ref, len(found))
	for i, f := range found {
		refs[i] = f.Ref
	}
	return refs, nil
}

// matching looks only at names that begin as the pattern does.
func (n *names) matching(p conan.Pattern) []name {
	prefix := strings.ToLower(p.Prefix())
	first, _ := slices.BinarySearchFunc(n.sorted, prefix, func(a name, prefix string) int { return strings.Compare(a.folded, prefix) })
	var found []name
	for _, candidate := range n.sorted[first:] {
		if !strings.HasPrefix(candidate.folded, prefix) {
			break
		}
		if p.Match(candidate.Ref) {
			found = append(found, candidate)
		}
	}
	return found
}

func (n *names) load(ctx context.Context) error {
	n.mu.RLock()
	loaded := n.loaded
	n.mu.RUnlock()
	if loaded {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.loaded {
		return nil
	}
	refs, err := n.index.RecipeRefs(ctx, index.LocalMember)
	if err != nil {
		return err
	}
	n.sorted = make([]name, len(refs))
	for i, r := range refs {
		n.sorted[i] = newName(r)
	}
	slices.SortFunc(n.sorted, compareNames)
	n.loaded = true
	return nil
}

// update looks at the rows of one reference again, after they changed. A failure drops the list; the next search reads it anew.
func (n *names) update(ctx context.Context, ref conan.Ref) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.loaded {
		return
	}
	rows, err := n.index.Revisions(ctx, index.LocalMember, conan.Revision{Ref: ref})
	if err != nil {
		n.loaded, n.sorted = false, nil
		return
	}
	entry := newName(ref)
	at, listed := slices.BinarySearchFunc(n.sorted, entry, compareNames)
	switch {
	case len(rows) > 0 && !listed:
		n.sorted = slices.Insert(n.sorted, at, entry)
	case len(rows) == 0 && listed:
		n.sorted = slices.Delete(n.sorted, at, at+1)
	}
}
