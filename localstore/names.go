package localstore

import (
	"context"
	"slices"
	"strings"
	"sync"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// names is the list of published references in memory, so that a search reads no rows. It is read
// from the index at the first search. The index tells which references may have appeared or
// disappeared since; those are looked at again before the next search.
type names struct {
	index  *index.DB
	member index.MemberID

	mu      sync.RWMutex
	loaded  bool
	sorted  []name // by folded, then by text
	changed map[conan.Ref]bool
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

// note takes a reference that may have appeared or disappeared.
func (n *names) note(ref conan.Ref) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed == nil {
		n.changed = make(map[conan.Ref]bool)
	}
	n.changed[ref] = true
}

// search lists the references that match, sorted by their text.
func (n *names) search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	found, err := n.matches(ctx, p)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b name) int { return strings.Compare(a.text, b.text) })
	refs := make([]conan.Ref, len(found))
	for i, f := range found {
		refs[i] = f.Ref
	}
	return refs, nil
}

func (n *names) matches(ctx context.Context, p conan.Pattern) ([]name, error) {
	n.mu.RLock()
	if n.loaded && len(n.changed) == 0 {
		defer n.mu.RUnlock()
		return n.matching(p), nil
	}
	n.mu.RUnlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.refresh(ctx); err != nil {
		return nil, err
	}
	return n.matching(p), nil
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

// refresh brings the list up to date. It is called with n.mu held.
func (n *names) refresh(ctx context.Context) error {
	if !n.loaded {
		return n.load(ctx)
	}
	for ref := range n.changed {
		rows, err := n.index.Revisions(ctx, n.member, conan.Revision{Ref: ref})
		if err != nil {
			return err
		}
		n.set(newName(ref), len(rows) > 0)
		delete(n.changed, ref)
	}
	return nil
}

// load reads the whole list. It is called with n.mu held, so that what changes meanwhile is noted
// after it.
func (n *names) load(ctx context.Context) error {
	refs, err := n.index.RecipeRefs(ctx, n.member)
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

// set adds or removes one name.
func (n *names) set(entry name, published bool) {
	at, listed := slices.BinarySearchFunc(n.sorted, entry, compareNames)
	switch {
	case published && !listed:
		n.sorted = slices.Insert(n.sorted, at, entry)
	case !published && listed:
		n.sorted = slices.Delete(n.sorted, at, at+1)
	}
}
