package transfer

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"conanproxy/internal/conan"
)

// computed is a Source over one with revisions "0".
type computed struct {
	conan.Source

	mu    sync.Mutex
	ids   map[conan.Revision]string         // of revisions "0", by what the Source calls them
	names map[conan.Revision]conan.Revision // what the Source calls the packages that Revisions listed
}

// Computed gives what a Source has under the revision "0", as servers do with uploads of clients
// without revisions, the revisions that clients with revisions compute from the same manifests. If
// the Source has a recipe under both, it is one with the packages of both. It is for one copy.
func Computed(source conan.Source) conan.Source {
	return &computed{Source: source, ids: make(map[conan.Revision]string), names: make(map[conan.Revision]conan.Revision)}
}

// Latest implements conan.Source.
func (c *computed) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, err := c.Revisions(ctx, rev)
	if err != nil {
		return conan.Answer[conan.RevisionTime]{Origin: list.Origin}, err
	}
	return conan.Answer[conan.RevisionTime]{Value: list.Value[0], Origin: list.Origin}, nil
}

// Revisions implements conan.Source.
func (c *computed) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	if !rev.IsPackage() {
		answer, err := c.Source.Revisions(ctx, rev)
		if err != nil {
			return answer, err
		}
		answer.Value, err = c.named(ctx, rev, rev, answer.Value)
		return answer, err
	}
	recipes, err := c.recipes(ctx, rev.Recipe())
	if err != nil {
		return conan.Answer[[]conan.RevisionTime]{}, err
	}
	var merged conan.Answer[[]conan.RevisionTime]
	for _, recipe := range recipes {
		node := conan.Revision{Ref: rev.Ref, RRev: recipe.RRev, PackageID: rev.PackageID}
		answer, err := c.Source.Revisions(ctx, node)
		if conan.IsAbsent(err) {
			continue
		}
		if err != nil {
			return answer, err
		}
		list, err := c.named(ctx, node, rev, answer.Value)
		if err != nil {
			return answer, err
		}
		merged.Origin, merged.Value = answer.Origin, append(merged.Value, list...)
	}
	if len(merged.Value) == 0 {
		return merged, fmt.Errorf("%s: %w", rev, conan.ErrNotFound)
	}
	slices.SortStableFunc(merged.Value, func(a, b conan.RevisionTime) int { return b.Time.Compare(a.Time) })
	merged.Value = firstOfEach(merged.Value)
	return merged, nil
}

// named computes the ids of revisions "0" in a list of node, which is shown as a list of shown.
func (c *computed) named(ctx context.Context, node, shown conan.Revision, list []conan.RevisionTime) ([]conan.RevisionTime, error) {
	out := slices.Clone(list)
	for i := range out {
		real := node.With(out[i].ID)
		if out[i].ID == conan.MutableRevision {
			id, err := c.id(ctx, real)
			if err != nil {
				return nil, err
			}
			out[i].ID = id
		}
		if node.IsPackage() {
			c.mu.Lock()
			c.names[shown.With(out[i].ID)] = real
			c.mu.Unlock()
		}
	}
	return firstOfEach(out), nil
}

// firstOfEach leaves out repeated ids.
func firstOfEach(list []conan.RevisionTime) []conan.RevisionTime {
	seen := make(map[string]bool, len(list))
	return slices.DeleteFunc(list, func(r conan.RevisionTime) bool {
		twice := seen[r.ID]
		seen[r.ID] = true
		return twice
	})
}

// id computes the id of a revision "0" from its manifest.
func (c *computed) id(ctx context.Context, real conan.Revision) (string, error) {
	c.mu.Lock()
	id, ok := c.ids[real]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	answer, err := c.Source.Open(ctx, real, conan.ManifestFile)
	if err != nil {
		return "", fmt.Errorf("read the manifest of %s: %w", real, err)
	}
	defer answer.Value.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Value, conan.MaxManifestSize+1))
	if err != nil {
		return "", fmt.Errorf("read the manifest of %s: %w", real, err)
	}
	m, err := conan.ParseManifest(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", real, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids[real] = m.Summary()
	return c.ids[real], nil
}

// recipes are what the Source calls a recipe revision: its id, or "0", or both.
func (c *computed) recipes(ctx context.Context, recipe conan.Revision) ([]conan.Revision, error) {
	answer, err := c.Source.Revisions(ctx, conan.Revision{Ref: recipe.Ref})
	if err != nil {
		return nil, err
	}
	var out []conan.Revision
	for _, r := range answer.Value {
		real, id := recipe.With(r.ID), r.ID
		if id == conan.MutableRevision {
			if id, err = c.id(ctx, real); err != nil {
				return nil, err
			}
		}
		if id == recipe.RRev {
			out = append(out, real)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: %w", recipe, conan.ErrNotFound)
	}
	return out, nil
}

// real is what the Source calls a pinned revision.
func (c *computed) real(ctx context.Context, rev conan.Revision) (conan.Revision, error) {
	if !rev.IsPackage() {
		recipes, err := c.recipes(ctx, rev)
		if err != nil {
			return rev, err
		}
		return recipes[0], nil
	}
	if real, ok := c.name(rev); ok {
		return real, nil
	}
	if _, err := c.Revisions(ctx, rev.With("")); err != nil {
		return rev, err
	}
	real, ok := c.name(rev)
	if !ok {
		return rev, fmt.Errorf("%s: %w", rev, conan.ErrNotFound)
	}
	return real, nil
}

// name is what the Source calls a package that Revisions listed.
func (c *computed) name(rev conan.Revision) (real conan.Revision, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	real, ok = c.names[rev]
	return real, ok
}

// Snapshot implements conan.Source.
func (c *computed) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	real, err := c.real(ctx, rev)
	if err != nil {
		return conan.Answer[conan.Snapshot]{}, err
	}
	return c.Source.Snapshot(ctx, real)
}

// Open implements conan.Source.
func (c *computed) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	real, err := c.real(ctx, rev)
	if err != nil {
		return conan.Answer[*conan.File]{}, err
	}
	return c.Source.Open(ctx, real, name)
}

// Packages implements conan.Source.
func (c *computed) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	recipes, err := c.recipes(ctx, recipe)
	if err != nil {
		return conan.Answer[[]conan.Package]{}, err
	}
	var merged conan.Answer[[]conan.Package]
	for _, recipe := range recipes {
		answer, err := c.Source.Packages(ctx, recipe, idsOnly)
		if err != nil {
			return answer, err
		}
		merged.Origin, merged.Value = answer.Origin, append(merged.Value, answer.Value...)
	}
	slices.SortStableFunc(merged.Value, func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
	merged.Value = slices.CompactFunc(merged.Value, func(a, b conan.Package) bool { return a.ID == b.ID })
	return merged, nil
}
