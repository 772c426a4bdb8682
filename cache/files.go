package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// Snapshot implements conan.Source. Of a file that is stored it says what is stored, whatever
// upstream lists by now; the others are as upstream lists them, asked again after FreshFor.
func (c *Cache) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	list, origin, err := c.listed(ctx, rev)
	if err == nil {
		err = c.installRefused(ctx, rev, list)
	}
	a, err := answer(c, list, origin, err)
	if err == nil && origin.State != conan.StateStale && c.o.Mode != Offline {
		a.Prefetch = func() { c.prefetch(rev, list) }
	}
	return a, err
}

// installRefused returns why upstream is known not to give a file that an install needs, nil if it
// gives all. Clients show the text of a failure with the list of files, but not with a file.
func (c *Cache) installRefused(ctx context.Context, rev conan.Revision, list conan.Snapshot) error {
	stored, err := c.stored(ctx, rev)
	if err != nil {
		return err
	}
	for _, f := range list {
		if _, isStored := stored.find(f.Name); isStored || !isForInstall(f.Name) {
			continue
		}
		r, isRefused := c.refusedLately(fileID(rev, f.Name))
		if isRefused && r.isAbout(f) && errors.Is(r.err, conan.ErrUnavailable) {
			return c.refuseFile(rev, r)
		}
	}
	return nil
}

// isForInstall tells whether an install needs a file: sources are only for builds, metadata for
// neither.
func isForInstall(name string) bool {
	return !conan.IsMetadata(name) && !strings.HasPrefix(name, conan.SourcesPrefix)
}

// listed is the list of the files of a revision, with what is stored of it.
func (c *Cache) listed(ctx context.Context, rev conan.Revision) (conan.Snapshot, conan.Origin, error) {
	if !rev.Pinned() {
		return nil, conan.Origin{}, fmt.Errorf("%w: %s is not a pinned revision", conan.ErrInvalid, rev)
	}
	list, origin, err := ask(ctx, c, c.filesQuestion(rev))
	if err != nil {
		return nil, origin, err
	}
	stored, err := c.stored(ctx, rev)
	if err != nil {
		return nil, conan.Origin{}, err
	}
	return withStored(list, stored), origin, nil
}

func (c *Cache) filesQuestion(rev conan.Revision) question[conan.Snapshot] {
	return question[conan.Snapshot]{
		kind:  kindFiles,
		key:   rev.String(),
		about: rev,
		fetch: func(ctx context.Context) (conan.Snapshot, error) {
			if rev.Mutable() {
				return c.fetchMutableFiles(ctx, rev)
			}
			return c.fetchFiles(ctx, rev)
		},
		instead: func(ctx context.Context) (conan.Snapshot, error, bool) {
			stored, err := c.stored(ctx, rev)
			if err != nil || stored == nil || !c.suffices(ctx, stored) {
				return nil, nil, false
			}
			return stored.Files, nil, true
		},
	}
}

// fetchFiles asks for the list of an immutable revision. One that upstream does not have any more
// is what is stored, if an install finds all that it needs there.
func (c *Cache) fetchFiles(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	list, err := c.o.Remote.Snapshot(ctx, rev)
	if err == nil {
		return cleanFiles(list, rev.IsPackage()), nil
	}
	if errors.Is(err, conan.ErrNotFound) {
		stored, storedErr := c.stored(ctx, rev)
		if storedErr != nil {
			return nil, storedErr
		}
		if stored != nil && c.suffices(ctx, stored) {
			return stored.Files, nil
		}
	}
	return nil, err
}

// fetchMutableFiles asks for the list of a revision that may be overwritten in place. If it was,
// what is stored of it is removed, so that list and bytes change together.
func (c *Cache) fetchMutableFiles(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	got, err := c.o.Remote.Snapshot(ctx, rev)
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return nil, err
	}
	got = cleanFiles(got, rev.IsPackage())
	stored, storedErr := c.stored(ctx, rev)
	if storedErr != nil || stored == nil {
		return got, errors.Join(err, storedErr)
	}
	changed := true
	if err == nil {
		var askErr error
		if changed, askErr = c.isOverwritten(ctx, rev, got, stored); askErr != nil {
			return nil, askErr
		}
	}
	if changed {
		if err := c.o.Budget.Remove(ctx, []int64{stored.RowID}); err != nil {
			return nil, err
		}
	}
	return got, err
}

// isOverwritten compares what is stored of a mutable revision with what upstream has now: by the
// digests that it lists, else by the manifest, which names the content of every file.
func (c *Cache) isOverwritten(ctx context.Context, rev conan.Revision, now conan.Snapshot, stored *storedRevision) (bool, error) {
	allKnown := true
	for _, h := range stored.Files {
		f, ok := now.Find(h.Name)
		if !ok || !agree(f, h) {
			return true, nil
		}
		allKnown = allKnown && (f.MD5 != "" || f.SHA1 != "" || f.SHA256 != "")
	}
	if allKnown {
		return false, nil
	}
	h, ok := stored.Files.Find(conan.ManifestFile)
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

// withStored is a list of upstream with what is stored in the place of what it lists by the same
// name, or of the same archive packed otherwise: an upstream may pack the files of a revision anew.
// Files below metadata/ may change, so they are as upstream lists them.
func withStored(list conan.Snapshot, stored *storedRevision) conan.Snapshot {
	if stored == nil || len(stored.Files) == 0 {
		return list
	}
	var out conan.Snapshot
	replaced := make(map[string]bool, len(stored.Files))
	for _, f := range stored.Files {
		if !conan.IsMetadata(f.Name) {
			out = append(out, f)
			replaced[unpackedName(f.Name)] = true
		}
	}
	for _, f := range list {
		if !replaced[unpackedName(f.Name)] {
			out = append(out, f)
		}
	}
	out.Sort()
	return out
}

// unpackedName is the name of a file, of an archive without its compression.
func unpackedName(name string) string {
	if conan.IsArchive(name) {
		return strings.TrimSuffix(name, path.Ext(name))
	}
	return name
}

// agree tells whether two descriptions of a file can be of the same bytes: nothing known of both
// differs.
func agree(a, b conan.FileInfo) bool {
	differ := func(x, y string) bool { return x != "" && y != "" && x != y }
	return !(a.Size >= 0 && b.Size >= 0 && a.Size != b.Size ||
		differ(a.MD5, b.MD5) || differ(a.SHA1, b.SHA1) || differ(a.SHA256, b.SHA256))
}
