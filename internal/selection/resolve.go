package selection

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// Result is what a selection means in one source.
type Result struct {
	// Revisions are sorted by reference, recipe revision, package id and package revision, a recipe
	// before its packages; each stands once. All are pinned, but AsList they may be references or
	// package ids without a revision.
	Revisions []Found
	// Missing is what the selection names and the source does not have, sorted. Where the client's
	// command fails for this reason, Missing is not empty.
	Missing []Missing
}

// Found is one revision of a result.
type Found struct {
	conan.Revision
	Time time.Time // of the revision; zero if it is not pinned
}

// Missing is one thing that was not found.
type Missing struct {
	From string // a part of the selection: `pattern "zlib/1.3"`, "list", "graph", "lockfile"
	What string // "recipe zlib/1.3", "package zlib/1.3#RREV:ID"
}

// String is a sentence.
func (m Missing) String() string { return m.From + ": " + m.What + " was not found" }

// Resolve finds a selection in a source. A selection that does not suit the purpose, or finds more
// than 250 000 revisions, is conan.ErrInvalid; other errors are failures of the source.
func Resolve(ctx context.Context, source conan.Source, selection Selection, purpose Purpose) (Result, error) {
	r := &resolver{
		ctx: ctx, source: source, Selection: selection, purpose: purpose,
		found: make(map[conan.Revision]time.Time), missing: make(map[Missing]bool),
	}
	if purpose == AsRemove && selection.recipesOnly {
		return Result{}, fmt.Errorf("%w: recipes only cannot be removed: a recipe goes with its packages", conan.ErrInvalid)
	}
	for _, p := range selection.patterns {
		if err := r.pattern(p); err != nil {
			return Result{}, fmt.Errorf("pattern %q: %w", p, err)
		}
	}
	for _, n := range selection.named {
		if err := r.named(n); err != nil {
			return Result{}, fmt.Errorf("%s: %s: %w", n.from, n.Revision, err)
		}
	}
	return r.result(), nil
}

// resolver collects what one selection finds.
type resolver struct {
	ctx    context.Context
	source conan.Source
	Selection
	purpose Purpose
	found   map[conan.Revision]time.Time
	missing map[Missing]bool
}

func (r *resolver) result() Result {
	var result Result
	for rev, at := range r.found {
		result.Revisions = append(result.Revisions, Found{rev, at})
	}
	slices.SortFunc(result.Revisions, func(a, b Found) int { return a.Compare(b.Revision) })
	result.Missing = slices.SortedFunc(maps.Keys(r.missing), func(a, b Missing) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.What, b.What))
	})
	return result
}

// add notes what was found, unless the selection leaves its kind out.
func (r *resolver) add(rev conan.Revision, at time.Time) error {
	if rev.IsPackage() && r.recipesOnly || !rev.IsPackage() && r.packagesOnly {
		return nil
	}
	r.found[rev] = at
	return r.bound()
}

// miss notes what was not found.
func (r *resolver) miss(from string, what string, of any) error {
	r.missing[Missing{From: from, What: fmt.Sprintf("%s %s", what, of)}] = true
	return r.bound()
}

func (r *resolver) bound() error {
	if len(r.found)+len(r.missing) > maxRevisions {
		return fmt.Errorf("%w: it selects more than %d revisions; select fewer at a time", conan.ErrInvalid, maxRevisions)
	}
	return nil
}

// revisions lists those of a node's revisions that a part of a pattern selects, newest first,
// without hidden ones. None match is an empty list. That the node is not there is false.
func (r *resolver) revisions(node conan.Revision, part string) ([]conan.RevisionTime, bool, error) {
	if part == conan.LatestRevision && r.latest <= 1 {
		answer, err := r.source.Latest(r.ctx, node)
		if conan.IsAbsent(err) {
			return nil, false, nil
		}
		return []conan.RevisionTime{answer.Value}, err == nil, err
	}
	answer, err := r.source.Revisions(r.ctx, node)
	if conan.IsAbsent(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if err := r.whyHidden(node, answer.Value, part); err != nil {
		return nil, false, err
	}
	list := slices.DeleteFunc(slices.Clone(answer.Value), func(rt conan.RevisionTime) bool { return rt.Hidden })
	switch part {
	case conan.LatestRevision:
		return list[:min(r.latest, len(list))], true, nil
	case conan.NotLatestRevision:
		return list[min(1, len(list)):], true, nil
	}
	return slices.DeleteFunc(list, func(rt conan.RevisionTime) bool { return !conan.Wildcard(part).Match(rt.ID) }), true, nil
}

// whyHidden is the reason why the revision of a list that is named by its id is hidden; nil if it
// is not.
func (r *resolver) whyHidden(node conan.Revision, list []conan.RevisionTime, id string) error {
	if !slices.ContainsFunc(list, func(rt conan.RevisionTime) bool { return rt.Hidden && rt.ID == id }) {
		return nil
	}
	_, err := r.source.Snapshot(r.ctx, node.With(id))
	return err
}
