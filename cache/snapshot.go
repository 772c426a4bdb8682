package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// Snapshot implements conan.Source. The files of an immutable revision stay what they were once the list was complete;
// only what lies below metadata/ is asked again. Digests of files that the cache holds are always known.
func (c *Cache) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	list, origin, err := c.listed(ctx, rev)
	if err != nil {
		return answer(c, conan.Snapshot(nil), origin, err)
	}
	held, err := c.held(ctx, rev)
	if err != nil {
		return conan.Answer[conan.Snapshot]{}, err
	}
	a, err := answer(c, withHeld(list, held), origin, nil)
	if origin.State != conan.StateStale && c.o.Mode != Offline {
		a.Prefetch = func() { c.prefetch(rev, list, held) }
	}
	return a, err
}

// listed is the list as upstream gave it.
func (c *Cache) listed(ctx context.Context, rev conan.Revision) (conan.Snapshot, conan.Origin, error) {
	if !rev.Pinned() {
		return nil, conan.Origin{}, fmt.Errorf("%w: %s is not a pinned revision", conan.ErrInvalid, rev)
	}
	return ask(ctx, c, c.filesQuestion(rev))
}

func (c *Cache) filesQuestion(rev conan.Revision) question[conan.Snapshot] {
	return question[conan.Snapshot]{
		kind:  kindFiles,
		key:   rev.String(),
		about: rev,
		fetch: func(ctx context.Context, old *conan.Snapshot) (conan.Snapshot, error) {
			if rev.Mutable() {
				return c.fetchMutableFiles(ctx, rev)
			}
			return c.fetchFiles(ctx, rev, old)
		},
		instead: func(ctx context.Context) (conan.Snapshot, error, bool) {
			held, err := c.held(ctx, rev)
			if err != nil || held == nil || !c.suffices(ctx, held) {
				return nil, nil, false
			}
			return held.Files, nil, true
		},
	}
}

// fetchFiles asks for the list of an immutable revision.
func (c *Cache) fetchFiles(ctx context.Context, rev conan.Revision, old *conan.Snapshot) (conan.Snapshot, error) {
	got, err := c.o.Remote.Snapshot(ctx, rev)
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return nil, err
	}
	got = cleanFiles(got, rev.IsPackage())
	if old == nil && err == nil {
		return got, nil
	}
	held, heldErr := c.held(ctx, rev)
	if heldErr != nil {
		return nil, heldErr
	}
	if err != nil {
		return c.keepDropped(ctx, old, held, err)
	}
	m, heldErr := c.heldManifest(ctx, held)
	if heldErr != nil || m == nil || len(m.Missing(*old, rev.IsPackage())) > 0 {
		return got, nil // the old list was not known to be complete
	}
	return withNewMetadata(*old, got), nil
}

// keepDropped is the list of a revision that upstream does not have any more: what it was, if all that an install needs
// is held. A file of it that is not held is then unavailable rather than not found.
func (c *Cache) keepDropped(ctx context.Context, old *conan.Snapshot, held *heldRevision, notFound error) (conan.Snapshot, error) {
	switch {
	case held == nil || !c.suffices(ctx, held):
		return nil, notFound
	case old != nil:
		return *old, nil
	}
	return held.Files, nil
}

// withNewMetadata is a complete list with the metadata part of a newer one.
func withNewMetadata(complete, newer conan.Snapshot) conan.Snapshot {
	var out conan.Snapshot
	for _, f := range complete {
		if !conan.IsMetadata(f.Name) {
			out = append(out, f)
		}
	}
	for _, f := range newer {
		if conan.IsMetadata(f.Name) {
			out = append(out, f)
		}
	}
	out.Sort()
	return out
}

// fetchMutableFiles asks for the list of a revision that may be overwritten in place. If it was, what the cache holds
// of it is dropped, so that list and bytes change together.
func (c *Cache) fetchMutableFiles(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	got, err := c.o.Remote.Snapshot(ctx, rev)
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return nil, err
	}
	got = cleanFiles(got, rev.IsPackage())
	held, heldErr := c.held(ctx, rev)
	if heldErr != nil || held == nil {
		return got, errors.Join(err, heldErr)
	}
	changed := true
	if err == nil {
		var askErr error
		if changed, askErr = c.isOverwritten(ctx, rev, got, held); askErr != nil {
			return nil, askErr
		}
	}
	if changed {
		if err := c.o.Budget.Remove(ctx, []int64{held.RowID}); err != nil {
			return nil, err
		}
	}
	return got, err
}

// isOverwritten compares what is held of a mutable revision with what upstream has now: by the digests that it lists,
// else by the manifest, which names the content of every file.
func (c *Cache) isOverwritten(ctx context.Context, rev conan.Revision, now conan.Snapshot, held *heldRevision) (bool, error) {
	allKnown := true
	for _, h := range held.Files {
		f, ok := now.Find(h.Name)
		if !ok || !agree(f, h) {
			return true, nil
		}
		allKnown = allKnown && (f.MD5 != "" || f.SHA1 != "" || f.SHA256 != "")
	}
	if allKnown {
		return false, nil
	}
	h, ok := held.Files.Find(conan.ManifestFile)
	if !ok {
		return true, nil
	}
	f, err := c.o.Remote.Open(ctx, rev, conan.ManifestFile)
	if err != nil {
		return false, err
	}
	defer f.Close()
	sums := blob.NewHasher()
	n, err := io.Copy(sums, io.LimitReader(f, conan.MaxManifestSize+1))
	if err != nil {
		return false, err
	}
	if f.Size >= 0 && n != f.Size {
		return false, c.unavailable("it ended a manifest early")
	}
	return string(sums.Sums().SHA256) != h.SHA256, nil
}

// cleanFiles leaves out names that no client asks for, sorts, and keeps the first of equal names.
func cleanFiles(list conan.Snapshot, pkg bool) conan.Snapshot {
	out := make(conan.Snapshot, 0, len(list))
	for _, f := range list {
		if conan.CheckFileName(f.Name, pkg) == nil {
			out = append(out, f)
		}
	}
	out.Sort()
	return slices.CompactFunc(out, func(a, b conan.FileInfo) bool { return a.Name == b.Name })
}

// withHeld fills in what the cache knows of the files it holds, but for those that may have changed meanwhile.
func withHeld(list conan.Snapshot, held *heldRevision) conan.Snapshot {
	if held == nil || len(held.Files) == 0 {
		return list
	}
	out := slices.Clone(list)
	for i, f := range out {
		if h, ok := held.Files.Find(f.Name); ok && !conan.IsMetadata(f.Name) {
			out[i] = h
		}
	}
	return out
}

// agree tells whether two descriptions of a file can be of the same bytes: nothing known of both differs.
func agree(a, b conan.FileInfo) bool {
	differ := func(x, y string) bool { return x != "" && y != "" && x != y }
	return !(a.Size >= 0 && b.Size >= 0 && a.Size != b.Size ||
		differ(a.MD5, b.MD5) || differ(a.SHA1, b.SHA1) || differ(a.SHA256, b.SHA256))
}
