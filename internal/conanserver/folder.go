// Package conanserver reads what a conan_server left on the disk: its data folder, of the versions
// 1.x and 2.x, and the rules of its server.conf.
package conanserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// Folder is the data folder of a conan_server, as a conan.Source:
//
//	NAME/VERSION/USER/CHANNEL/revisions.txt                         "_" for no user, no channel
//	NAME/VERSION/USER/CHANNEL/RREV/export/...                       the files of the recipe
//	NAME/VERSION/USER/CHANNEL/RREV/package/ID/revisions.txt
//	NAME/VERSION/USER/CHANNEL/RREV/package/ID/PREV/...
//
// Uploads of clients without revisions are under the revision "0". Revisions without a manifest,
// which are uploads that were cut off, are left out. Files are not verified. Links do not lead out
// of the folder. The server may run meanwhile.
type Folder struct {
	root *os.Root
}

var _ conan.Source = (*Folder)(nil)

// OpenFolder opens a data folder. The caller calls Close.
func OpenFolder(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Folder{root: root}, nil
}

// Close closes the folder.
func (f *Folder) Close() error { return f.root.Close() }

// origin is that of every answer.
var origin = conan.Origin{Member: "conan_server", State: conan.StateLocal}

func answer[T any](value T, err error) (conan.Answer[T], error) {
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("in the folder: %w", conan.ErrNotFound)
	}
	if err != nil {
		return conan.Answer[T]{Origin: origin}, err
	}
	return conan.Answer[T]{Value: value, Origin: origin}, nil
}

// pathOf is the folder of a reference.
func pathOf(ref conan.Ref) string {
	return path.Join(ref.Name, ref.Version, cmp.Or(ref.User, "_"), cmp.Or(ref.Channel, "_"))
}

// listFolder has the list of a node's revisions, and the folders of the revisions.
func listFolder(rev conan.Revision) string {
	if rev.IsPackage() {
		return path.Join(pathOf(rev.Ref), rev.RRev, "package", rev.PackageID)
	}
	return pathOf(rev.Ref)
}

// filesFolder has the files of a pinned revision.
func filesFolder(rev conan.Revision) string {
	if rev.IsPackage() {
		return path.Join(listFolder(rev), rev.PRev)
	}
	return path.Join(pathOf(rev.Ref), rev.RRev, "export")
}

// Latest implements conan.Source.
func (f *Folder) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, err := f.revisions(ctx, rev)
	if err != nil {
		return answer(conan.RevisionTime{}, err)
	}
	return answer(list[0], nil)
}

// Revisions implements conan.Source.
func (f *Folder) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	list, err := f.revisions(ctx, rev)
	return answer(list, err)
}

// revisions lists those that have a manifest.
func (f *Folder) revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	list, err := f.readList(listFolder(rev))
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(r conan.RevisionTime) bool {
		_, err := f.root.Stat(path.Join(filesFolder(rev.With(r.ID)), conan.ManifestFile))
		return err != nil
	})
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: %w", rev, fs.ErrNotExist)
	}
	return list, nil
}

// Snapshot implements conan.Source. Digests are not known.
func (f *Folder) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	files, err := f.snapshot(ctx, rev)
	return answer(files, err)
}

func (f *Folder) snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	var files conan.Snapshot
	folder := filesFolder(rev)
	err := fs.WalkDir(f.root.FS(), folder, func(name string, d fs.DirEntry, err error) error {
		if err = cmp.Or(err, ctx.Err()); err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files = append(files, conan.FileInfo{Name: strings.TrimPrefix(name, folder+"/"), Size: info.Size()})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	files.Sort()
	if _, whole := files.Find(conan.ManifestFile); !whole {
		return nil, fmt.Errorf("the manifest of %s: %w", rev, fs.ErrNotExist)
	}
	return files, nil
}

// Open implements conan.Source.
func (f *Folder) Open(_ context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	file, err := f.root.Open(path.Join(filesFolder(rev), name))
	if err != nil {
		return answer[*conan.File](nil, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		file.Close()
		return answer[*conan.File](nil, err)
	}
	return answer(&conan.File{FileInfo: conan.FileInfo{Name: name, Size: info.Size()}, ReadCloser: file, Wait: notVerified}, nil)
}

func notVerified(context.Context) (*conan.File, error) {
	return nil, errors.New("a file of a folder can only be read")
}

// Packages implements conan.Source.
func (f *Folder) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	list, err := f.packages(ctx, recipe.Recipe(), idsOnly)
	return answer(list, err)
}

func (f *Folder) packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	if _, err := f.snapshot(ctx, recipe); err != nil {
		return nil, err
	}
	ids, err := f.folders(path.Join(pathOf(recipe.Ref), recipe.RRev, "package"))
	if err != nil {
		return nil, err
	}
	list := []conan.Package{}
	for _, id := range ids {
		pkg, err := conan.NewRevision(recipe.Ref, recipe.RRev, id, "")
		if err != nil || id == "" {
			continue // not made by the server
		}
		revs, err := f.revisions(ctx, pkg)
		if errors.Is(err, fs.ErrNotExist) {
			continue // an upload that was cut off
		}
		if err != nil {
			return nil, err
		}
		p := conan.Package{ID: id}
		if !idsOnly {
			text, err := f.root.ReadFile(path.Join(filesFolder(pkg.With(revs[0].ID)), conan.InfoFile))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			p.Info = string(text)
		}
		list = append(list, p)
	}
	return list, nil
}

// Search implements conan.Source.
func (f *Folder) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	refs, err := f.search(ctx, p)
	return answer(refs, err)
}

func (f *Folder) search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	const depth = 4
	places := []string{"."}
	for range depth {
		var below []string
		for _, place := range places {
			names, err := f.folders(place)
			if err = cmp.Or(err, ctx.Err()); err != nil {
				return nil, err
			}
			for _, name := range names {
				below = append(below, path.Join(place, name))
			}
		}
		places = below
	}
	refs := []conan.Ref{}
	for _, place := range places {
		parts := strings.Split(place, "/")
		ref, err := conan.NewRef(parts[0], parts[1], parts[2], parts[3])
		if err != nil || pathOf(ref) != place || !p.Match(ref) {
			continue
		}
		_, err = f.revisions(ctx, conan.Revision{Ref: ref})
		if err == nil {
			refs = append(refs, ref)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	slices.SortFunc(refs, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return refs, nil
}

// folders lists the folders in one, sorted; none if it is not there.
func (f *Folder) folders(in string) ([]string, error) {
	entries, err := fs.ReadDir(f.root.FS(), in)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}
