package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/memory"
)

// Latest implements conan.Source: the newest of the revisions that upstream tells of.
func (c *Cache) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, origin, err := c.list(ctx, rev)
	if err != nil {
		return answer(c, conan.RevisionTime{}, origin, err)
	}
	newest := list.Listed[0]
	a, err := answer(c, newest, origin, nil)
	if origin.State == conan.StateMiss {
		a.Prefetch = func() { c.listAhead(listParent(rev).With(newest.ID)) }
	}
	return a, err
}

// Revisions implements conan.Source: what upstream lists, and what it has dropped but the cache can
// still serve. A dropped one stands where its time puts it, but never first: that one is what
// Latest says.
func (c *Cache) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	list, origin, err := c.list(ctx, rev)
	if err != nil {
		return answer[[]conan.RevisionTime](c, nil, origin, err)
	}
	dropped, err := c.dropped(ctx, rev, list)
	merged := list.Listed
	if len(dropped) > 0 {
		merged = mergeDropped(merged, dropped)
	}
	return answer(c, merged, origin, err)
}

// list is what upstream says of the revisions of a reference or package id, newest first, never
// empty. It is one document for Latest and Revisions, so that they cannot contradict each other.
// For a package of a recipe revision that upstream has dropped it is what the cache can serve: a
// client that pinned that recipe gets its packages.
func (c *Cache) list(ctx context.Context, rev conan.Revision) (revisionList, conan.Origin, error) {
	if rev.IsPackage() && rev.RRev == "" {
		return revisionList{}, conan.Origin{}, fmt.Errorf("%w: the recipe revision of %s is not named", conan.ErrInvalid, rev)
	}
	list, origin, err := ask(ctx, c, c.listQuestion(rev))
	if !errors.Is(err, conan.ErrNotFound) || !rev.IsPackage() || !c.recipeDropped(ctx, rev) {
		return list, origin, err
	}
	dropped, droppedErr := c.dropped(ctx, rev, revisionList{})
	if droppedErr != nil {
		return revisionList{}, conan.Origin{}, droppedErr
	}
	if len(dropped) == 0 {
		return revisionList{}, origin, err
	}
	return revisionList{Listed: dropped}, origin, nil
}

func (c *Cache) listQuestion(rev conan.Revision) question[revisionList] {
	parent := listParent(rev)
	return question[revisionList]{
		kind:  kindRevisions,
		key:   parent.String(),
		about: parent,
		fetch: func(ctx context.Context) (revisionList, error) { return c.fetchRevisions(ctx, parent) },
		dated: func(ctx context.Context, list revisionList, earlier *document[revisionList], absent, now time.Time) revisionList {
			if earlier != nil {
				return list.after(earlier.Value, now)
			}
			return list.after(revisionList{Whole: c.lastWithout(ctx, parent, absent)}, now)
		},
		instead: func(ctx context.Context) (revisionList, error, bool) {
			if pinned, err := c.pinnedRevisions(ctx, parent); err != nil || len(pinned) > 0 {
				return revisionList{Listed: pinned}, err, true
			}
			if c.knownWithout(ctx, parent) {
				return revisionList{}, fmt.Errorf("%s in %s: %w", parent, c.o.Name, conan.ErrNotFound), true
			}
			return revisionList{}, nil, false
		},
	}
}

// fetchRevisions asks for the list of revisions and for the newest one at the same time: servers
// cache the two apart, or list unsorted, so the newest is the newest of both. What a client that
// asks upstream itself is told decides: without a newest one there is none.
func (c *Cache) fetchRevisions(ctx context.Context, parent conan.Revision) (revisionList, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var latest conan.RevisionTime
	latestErr := make(chan error, 1)
	go func() {
		var err error
		defer func() { latestErr <- err }()
		defer c.recovered("a question", &err)
		latest, err = c.o.Remote.Latest(ctx, parent)
	}()
	list, err := c.o.Remote.Revisions(ctx, parent)
	if err != nil && !isLasting(err) {
		cancel()
		<-latestErr
		return revisionList{}, err
	}
	var whole time.Time
	if err == nil {
		whole = c.o.Now().UTC()
	}
	switch noLatest := <-latestErr; {
	case errors.Is(noLatest, conan.ErrNotFound):
		return revisionList{}, noLatest
	case noLatest == nil:
		list = append([]conan.RevisionTime{latest}, list...)
	case err != nil:
		return revisionList{}, noLatest // without a list it cannot be told
	}
	list = newestFirst(list)
	if len(list) == 0 {
		return revisionList{}, conan.ErrNotFound
	}
	return revisionList{Listed: list, Whole: whole}, nil
}

// lastWithout is the time of the last answer by which there was nothing of parent: that it is not
// found, which upstream said at the time absent, or a list of binaries without the package id. Zero
// if there was none.
func (c *Cache) lastWithout(ctx context.Context, parent conan.Revision, absent time.Time) time.Time {
	if !parent.IsPackage() {
		return absent
	}
	doc, err := load(ctx, c, c.packagesQuestion(parent.Recipe()))
	if err == nil && doc != nil && doc.Fetched.After(absent) && !hasPackage(doc.Value, parent.PackageID) {
		return doc.Fetched
	}
	return absent
}

func hasPackage(list []conan.Package, id string) bool {
	return slices.ContainsFunc(list, func(p conan.Package) bool { return p.ID == id })
}

// newestFirst sorts a list of upstream by time, and leaves out ids that are none and repeated ones.
func newestFirst(list []conan.RevisionTime) []conan.RevisionTime {
	seen := make(map[string]bool, len(list))
	out := make([]conan.RevisionTime, 0, len(list))
	for _, r := range list {
		if conan.ValidRevisionID(r.ID) && !seen[r.ID] {
			seen[r.ID] = true
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b conan.RevisionTime) int { return b.Time.Compare(a.Time) })
	return out
}

// listParent is the node whose revisions are listed: the reference, or the package id in a recipe
// revision.
func listParent(rev conan.Revision) conan.Revision {
	if rev.IsPackage() {
		rev.PRev = ""
		return rev
	}
	return conan.Revision{Ref: rev.Ref}
}

// knownWithout tells whether upstream listed the binaries of the recipe revision and this package
// id was not among them.
func (c *Cache) knownWithout(ctx context.Context, pkg conan.Revision) bool {
	if !pkg.IsPackage() {
		return false
	}
	doc, err := load(ctx, c, c.packagesQuestion(pkg.Recipe()))
	if err != nil || doc == nil || !c.isUsable(doc.Fetched) {
		return false
	}
	return !hasPackage(doc.Value, pkg.PackageID)
}

// dropped lists the revisions that are not in upstream's list but that the cache can serve, newest
// first.
func (c *Cache) dropped(ctx context.Context, rev conan.Revision, list revisionList) ([]conan.RevisionTime, error) {
	parent := listParent(rev)
	k := memory.Key{Member: c.o.Name, Kind: "dropped", Rev: parent}
	if list.Listed == nil {
		k.Text = "all" // Revisions asks with and without a list, and neither answer replaces the other
	}
	if known, ok := memory.Get[droppedList](c.o.Memory, k); ok && sameList(known.list, list.Listed) {
		return known.dropped, nil
	}
	stamp := c.o.Index.Changes().Of(rev.Ref)
	rows, err := c.o.Index.Revisions(ctx, c.o.Member, parent)
	if err != nil {
		return nil, err
	}
	isListed, since := list.isListed(), list.since()
	var out []conan.RevisionTime
	for _, row := range rows {
		id := row.ID()
		if isListed[id] || !c.isServable(ctx, row) {
			continue
		}
		out = append(out, conan.RevisionTime{ID: id, Time: row.Time, Since: since[id], Dropped: true})
	}
	c.o.Memory.Put(k, droppedList{list: list.Listed, dropped: out}, 64*len(out), stamp)
	return out, nil
}

// recipeDropped tells whether upstream answers about the reference of a package, but not with its
// recipe revision.
func (c *Cache) recipeDropped(ctx context.Context, pkg conan.Revision) bool {
	list, _, err := c.list(ctx, conan.Revision{Ref: pkg.Ref})
	if err != nil {
		return errors.Is(err, conan.ErrNotFound)
	}
	return !slices.ContainsFunc(list.Listed, func(r conan.RevisionTime) bool { return r.ID == pkg.RRev })
}

// droppedList is what is missing from one list, and which list that was.
type droppedList struct {
	list, dropped []conan.RevisionTime
}

// sameList tells whether two remembered lists are one; a list never changes after it was
// remembered.
func sameList(a, b []conan.RevisionTime) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// isServable tells whether an install of a revision would find all it needs here.
func (c *Cache) isServable(ctx context.Context, row index.Stored) bool {
	if row.Mutable() {
		return false
	}
	stored, err := c.stored(ctx, row.Revision)
	return err == nil && stored != nil && c.suffices(ctx, stored)
}

// mergeDropped puts dropped revisions into upstream's list by time, after its first.
func mergeDropped(list, dropped []conan.RevisionTime) []conan.RevisionTime {
	out := slices.Clone(list)
	for _, d := range dropped {
		i := min(1, len(list))
		for i < len(out) && !out[i].Time.Before(d.Time) {
			i++
		}
		out = slices.Insert(out, i, d)
	}
	return out
}
