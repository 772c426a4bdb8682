package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"io"

	"conanproxy/internal/conan"
)

// v1 is the dialect without revisions: there is one content per reference and per package id, which
// may be replaced at any time. A content is shown as the revision that its manifest makes; when it
// is replaced the old revision is not there any more.
type v1 struct{ *Remote }

func (v1) searchPath() string { return "/v1/conans/search" }

func (v v1) revisions(ctx context.Context, rev conan.Revision, _ bool) ([]conan.RevisionTime, error) {
	if !rev.Ref.ValidV1() {
		return nil, errNotThere
	}
	if err := v.checkRecipe(ctx, rev); err != nil {
		return nil, err
	}
	c, err := v.read(ctx, folderOf(rev))
	if err != nil {
		return nil, err
	}
	return []conan.RevisionTime{{ID: c.id, Time: c.time}}, nil
}

func (v v1) snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	if !rev.Ref.ValidV1() {
		return nil, errNotThere
	}
	c, err := v.list(ctx, rev)
	return c.files, err
}

// find is a file of a pinned revision, from memory if that is possible.
func (v v1) find(ctx context.Context, rev conan.Revision, name string) (content, conan.FileInfo, error) {
	if !rev.Ref.ValidV1() {
		return content{}, conan.FileInfo{}, errNotThere
	}
	c, ok := v.remembered(rev, folderMemory)
	if ok && rev.IsPackage() {
		_, ok = v.remembered(rev.Recipe(), folderMemory)
	}
	if !ok || c.files == nil {
		var err error
		if c, err = v.list(ctx, rev); err != nil {
			return content{}, conan.FileInfo{}, err
		}
	}
	info, ok := c.files.Find(name)
	if !ok {
		return content{}, conan.FileInfo{}, errNotThere
	}
	return c, info, nil
}

func (v v1) open(ctx context.Context, rev conan.Revision, name string) (*conan.Download, error) {
	c, info, err := v.find(ctx, rev, name)
	if err != nil {
		return nil, err
	}
	if name == conan.ManifestFile && c.manifest != nil {
		info.Size = int64(len(c.manifest))
		return &conan.Download{FileInfo: info, ReadCloser: io.NopCloser(bytes.NewReader(c.manifest))}, nil
	}
	b, err := v.transfer(ctx, name, v.locate(folderOf(rev), name))
	if isNotFound(err) {
		v.folders.Load().invalidate(folderOf(rev)) // its list or its URLs were old
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	info.Size = b.size
	digests := b.version.digests
	info.MD5, info.SHA1, info.SHA256 = cmp.Or(info.MD5, digests.MD5), digests.SHA1, digests.SHA256
	pinned := &pinnedBody{body: b, v: v, ctx: ctx, rev: rev, sum: md5.New(), md5: info.MD5}
	return &conan.Download{FileInfo: info, ReadCloser: pinned, Validator: b.version.validator()}, nil
}

func (v v1) packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	if !recipe.Ref.ValidV1() {
		return nil, errNotThere
	}
	if err := v.checkCurrent(ctx, recipe); err != nil {
		return nil, err
	}
	var answer binaries
	err := v.object(ctx, folderOf(recipe).path()+"/search", nil, &answer)
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	packages, dropped := answer.list(idsOnly)
	v.countDropped("package ids", dropped)
	return packages, nil
}
