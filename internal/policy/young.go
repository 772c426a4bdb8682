package policy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"conanproxy/internal/conan"
)

const (
	listsAtOnce  = 4   // lists of revisions that one answer asks for at a time
	mostVersions = 200 // whose times one search asks for
)

// Packages implements conan.Source: those that have a revision which is old enough.
func (c *CoolDown) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	list, err := c.source.Packages(ctx, recipe, idsOnly)
	if err != nil || c.passes(recipe.Ref) {
		return list, err
	}
	nodes := make([]conan.Revision, len(list.Value))
	for i, p := range list.Value {
		nodes[i] = conan.Revision{Ref: recipe.Ref, RRev: recipe.RRev, PackageID: p.ID}
	}
	appeared, err := c.learn(ctx, nodes)
	if err != nil {
		return conan.Answer[[]conan.Package]{}, err
	}
	shown := []conan.Package{}
	for i, p := range list.Value {
		isMature, change := c.maturity(recipe.Ref, appeared[nodes[i]])
		if isMature {
			shown = append(shown, p)
		}
		list.Origin = c.until(list.Origin, change)
	}
	list.Value = shown
	return list, nil
}

// Search implements conan.Source. If the pattern fixes the name, the times of the versions are
// asked for; a wider search shows what is not known to be too young.
func (c *CoolDown) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	found, err := c.source.Search(ctx, p)
	if err != nil {
		return found, err
	}
	var asked []conan.Revision
	if fixesName(p) {
		for _, ref := range newestVersions(found.Value) {
			if !c.passes(ref) {
				asked = append(asked, conan.Revision{Ref: ref})
			}
		}
	}
	appeared, err := c.learn(ctx, asked)
	if err != nil {
		return conan.Answer[[]conan.Ref]{}, err
	}
	shown := make([]conan.Ref, 0, len(found.Value))
	for _, ref := range found.Value {
		isMature, change := true, time.Time{}
		node := conan.Revision{Ref: ref}
		first, known := appeared[node]
		if !known {
			first, known = c.known.Peek(node)
		}
		if known && !c.passes(ref) {
			isMature, change = c.maturity(ref, first)
		}
		if isMature {
			shown = append(shown, ref)
		}
		found.Origin = c.until(found.Origin, change)
	}
	found.Value = shown
	return found, nil
}

// learn tells when the first revision of each of some references or package ids appeared. One that
// the source does not have, or refuses to tell of, appears never (conan.Forever); another failure
// is the answer.
func (c *CoolDown) learn(ctx context.Context, nodes []conan.Revision) (map[conan.Revision]time.Time, error) {
	var mu sync.Mutex
	appeared := make(map[conan.Revision]time.Time, len(nodes))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listsAtOnce)
	for _, node := range nodes {
		group.Go(func() error {
			first, err := c.first(ctx, node)
			mu.Lock()
			defer mu.Unlock()
			appeared[node] = first
			return err
		})
	}
	return appeared, group.Wait()
}

// first is when the first revision of a reference or package id appeared, as learn tells it.
func (c *CoolDown) first(ctx context.Context, node conan.Revision) (time.Time, error) {
	if first, known := c.known.Get(node); known {
		return first, nil
	}
	_, first, err := c.revisionsAndFirst(ctx, node)
	var u *conan.UnavailableError
	if conan.IsAbsent(err) || errors.As(err, &u) && u.Refused {
		return conan.Forever, nil
	}
	return first, err
}

// maturity tells whether what appeared at a time is old enough, and when that changes, zero if it
// does not.
func (c *CoolDown) maturity(ref conan.Ref, appeared time.Time) (isMature bool, change time.Time) {
	if at := c.matureAt(ref, appeared); !c.isMature(at) {
		return false, at
	}
	return true, time.Time{}
}

// fixesName tells whether all that a search can find has one name: its text has no wildcard before
// the first slash.
func fixesName(p conan.Pattern) bool {
	name, _, _ := strings.Cut(p.String(), "/")
	return name != "" && !strings.ContainsAny(name, "*?[")
}

// newestVersions are the references of the newest versions, at most mostVersions.
func newestVersions(refs []conan.Ref) []conan.Ref {
	if len(refs) <= mostVersions {
		return refs
	}
	versions := make(map[conan.Ref]conan.Version, len(refs))
	for _, ref := range refs {
		versions[ref] = conan.ParseVersion(ref.Version)
	}
	sorted := slices.Clone(refs)
	slices.SortFunc(sorted, func(a, b conan.Ref) int { return versions[b].Compare(versions[a]) })
	return sorted[:mostVersions]
}
