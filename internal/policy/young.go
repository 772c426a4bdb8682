package policy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
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
	if err := c.learn(ctx, nodes); err != nil {
		return conan.Answer[[]conan.Package]{}, err
	}
	shown := []conan.Package{}
	for i, p := range list.Value {
		isShown, change := c.isShown(nodes[i], false)
		if isShown {
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
	asked := make(map[conan.Ref]bool)
	if fixesName(p) {
		var nodes []conan.Revision
		for _, ref := range newestVersions(found.Value) {
			if !c.passes(ref) {
				nodes = append(nodes, conan.Revision{Ref: ref})
				asked[ref] = true
			}
		}
		if err := c.learn(ctx, nodes); err != nil {
			return conan.Answer[[]conan.Ref]{}, err
		}
	}
	shown := make([]conan.Ref, 0, len(found.Value))
	for _, ref := range found.Value {
		isShown, change := true, time.Time{}
		if !c.passes(ref) {
			isShown, change = c.isShown(conan.Revision{Ref: ref}, !asked[ref])
		}
		if isShown {
			shown = append(shown, ref)
		}
		found.Origin = c.until(found.Origin, change)
	}
	found.Value = shown
	return found, nil
}

// learn asks for the times of references or package ids that are not known. One that the source
// does not have, or refuses to tell of, stays unknown; another failure is the answer.
func (c *CoolDown) learn(ctx context.Context, nodes []conan.Revision) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listsAtOnce)
	for _, node := range nodes {
		if _, known := c.known.Get(node); known {
			continue
		}
		group.Go(func() error {
			_, err := c.Revisions(ctx, node)
			var u *conan.UnavailableError
			if conan.IsAbsent(err) || errors.As(err, &u) && u.Refused {
				return nil
			}
			return err
		})
	}
	return group.Wait()
}

// isShown tells whether a reference or package id has a revision that is old enough, and when that
// changes, zero if it does not. ifUnknown is the answer if that is not known.
func (c *CoolDown) isShown(node conan.Revision, ifUnknown bool) (shown bool, change time.Time) {
	appeared, known := c.known.Peek(node)
	if !known {
		return ifUnknown, time.Time{}
	}
	if at := c.matureAt(node.Ref, appeared); !c.isMature(at) {
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
	sorted := slices.Clone(refs)
	slices.SortFunc(sorted, func(a, b conan.Ref) int { return compareVersions(b.Version, a.Version) })
	return sorted[:mostVersions]
}

// compareVersions compares versions part by part, numbers by their value: 1.9 is before 1.10.
func compareVersions(a, b string) int {
	as, bs := versionParts(a), versionParts(b)
	return slices.CompareFunc(as, bs, func(x, y string) int {
		if isNumber(x) && isNumber(y) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
		}
		return strings.Compare(x, y)
	})
}

func versionParts(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(".-+_", r) })
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }
