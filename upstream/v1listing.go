package upstream

import (
	"context"
	"encoding/json"
	"time"

	"conanproxy/internal/conan"
)

const (
	listingTries = 3
	listingPause = 500 * time.Millisecond // when a folder changed while it was read
)

// list is the content of a pinned revision with its files, read so that all of it is of that
// revision. A revision that is no longer the current one is not there.
func (v v1) list(ctx context.Context, rev conan.Revision) (content, error) {
	if err := v.checkRecipe(ctx, rev); err != nil {
		return content{}, err
	}
	memory := v.folders.Load()
	c, remembered := v.remembered(rev, folderMemory)
	for range listingTries {
		var err error
		if !remembered {
			if c, err = v.read(ctx, folderOf(rev)); err != nil {
				return content{}, err
			}
		}
		if c.id != rev.ID() {
			return content{}, errNotThere
		}
		files, whole, err := v.files(ctx, rev, c)
		if err != nil {
			return content{}, err
		}
		c.listed = nil
		if whole {
			c.files = files
			memory.contents.Add(folderOf(rev), c)
			return c, nil
		}
		if !remembered { // it changes right now; a remembered content was only old
			if err := sleep(ctx, listingPause); err != nil {
				return content{}, err
			}
		}
		remembered = false
	}
	return content{}, badAnswer("changes its files while they are listed")
}

// files lists a folder. whole tells that the list belongs to c: the list names the md5 of c's
// manifest and of the file beside the archives, or, where a server tells no md5, the manifest is
// the same afterwards.
func (v v1) files(ctx context.Context, rev conan.Revision, c content) (list conan.Snapshot, whole bool, err error) {
	f := folderOf(rev)
	if list = c.listed; list == nil {
		if list, err = v.fileList(ctx, f); err != nil {
			return nil, false, err
		}
	}
	if c.id == conan.MutableRevision {
		return list, len(list) > 0, nil
	}
	manifest, ok := list.Find(conan.ManifestFile)
	direct, _ := list.Find(f.direct())
	if !ok || direct.MD5 != "" && c.direct != "" && direct.MD5 != c.direct {
		return nil, false, nil
	}
	if manifest.MD5 != "" {
		return list, manifest.MD5 == c.md5, nil
	}
	again, err := v.readOnce(ctx, f)
	return list, again.id == c.id, err
}

// fileList is the list of a folder as the server has it now, with md5 sums where it sends them.
func (v v1) fileList(ctx context.Context, f folder) (conan.Snapshot, error) {
	var sums map[string]json.RawMessage
	err := v.object(ctx, f.path(), nil, &sums)
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	if len(sums) == 0 { // some servers have no such route for recipes
		if sums, err = v.names(ctx, f); err != nil {
			return nil, err
		}
	}
	list := conan.Snapshot{}
	dropped := 0
	for name, raw := range sums {
		if conan.CheckFileName(name, f.pid != "") != nil {
			dropped++
			continue
		}
		var sum string
		json.Unmarshal(raw, &sum)
		list = append(list, conan.FileInfo{Name: name, Size: -1, MD5: hexDigest(sum, 32)})
	}
	v.countDropped("file names", dropped)
	list.Sort()
	return list, nil
}

// names are the names of the files that a folder hands out, without md5 sums.
func (v v1) names(ctx context.Context, f folder) (map[string]json.RawMessage, error) {
	urls, err := v.askURLs(ctx, f, v.now())
	if err != nil {
		return nil, err
	}
	if len(urls.byName) == 0 {
		return nil, errNotThere
	}
	names := make(map[string]json.RawMessage, len(urls.byName))
	for name := range urls.byName {
		names[name] = nil
	}
	return names, nil
}
