package upstream

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"hash"
	"io"
	"net/url"
	"time"

	"conanproxy/internal/conan"
)

// v1 is the dialect without revisions: there is one content per reference and per package id,
// which may be replaced at any time. A content is shown as the revision that its manifest makes; when
// it is replaced the old revision is no longer there.
type v1 struct {
	*Remote
	known *folders
}

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

// find is a file of a pinned revision, by what is remembered if that is possible.
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
	b, err := v.transfer(ctx, name, v.place(folderOf(rev), name))
	if isNotFound(err) {
		return nil, v.vanished(ctx, rev, name)
	}
	if err != nil {
		return nil, err
	}
	info.Size = b.size
	info.MD5 = firstOf(info.MD5, b.digests.MD5)
	info.SHA1, info.SHA256 = b.digests.SHA1, b.digests.SHA256
	pinned := &pinnedBody{body: b, v: v, ctx: ctx, rev: rev, sum: md5.New(), md5: info.MD5}
	return &conan.Download{FileInfo: info, ReadCloser: pinned, Validator: firstOf(b.etag, b.lastMod)}, nil
}

// vanished says why a listed file is not served: its revision was replaced, or the server is inconsistent.
func (v v1) vanished(ctx context.Context, rev conan.Revision, name string) error {
	v.known.forget(folderOf(rev))
	c, err := v.list(ctx, rev)
	if err != nil {
		return err
	}
	if _, ok := c.files.Find(name); !ok {
		return errNotThere
	}
	return nonsense("lists " + name + " but does not serve it")
}

// place is where a file is by the hints, which are asked for again when they are old, or did not work and nobody has asked
// since. One file is looked for by one goroutine.
func (v v1) place(f folder, name string) place {
	var tried time.Time // when the hints were asked for that were used last
	return func(ctx context.Context, again bool) (*url.URL, error) {
		h, ok := v.known.hints.Get(f)
		if !ok || v.now().Sub(h.askedAt) >= folderMemory || again && !h.askedAt.After(tried) {
			var err error
			if h, err = v.askHints(ctx, f); err != nil {
				return nil, err
			}
		}
		tried = h.askedAt
		u := h.urls[name]
		if u == nil {
			return nil, errNotThere
		}
		return u, nil
	}
}

func (v v1) packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	if !recipe.Ref.ValidV1() {
		return nil, errNotThere
	}
	if err := v.checkCurrent(ctx, recipe.Recipe()); err != nil {
		return nil, err
	}
	var answer binaries
	err := v.object(ctx, folderOf(recipe.Recipe()).path()+"/search", nil, &answer)
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	packages, dropped := answer.list(idsOnly)
	v.drop("package ids", dropped)
	return packages, nil
}

// pinnedBody checks at the end of a body that it was of the revision that was asked for: by the md5
// that was listed for it, or, without one, by the manifest, which must still be the same.
type pinnedBody struct {
	*body
	v   v1
	ctx context.Context
	rev conan.Revision
	sum hash.Hash
	md5 string
}

func (p *pinnedBody) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	p.sum.Write(b[:n])
	if err != io.EOF {
		return n, err
	}
	if err := p.check(); err != nil {
		p.failed = err
		return n, err
	}
	return n, io.EOF
}

func (p *pinnedBody) check() error {
	if p.md5 != "" {
		if hex.EncodeToString(p.sum.Sum(nil)) == p.md5 {
			return nil
		}
		p.v.known.forget(folderOf(p.rev))
		return p.r.outward(nonsense("replaced " + p.name + " while it was read"))
	}
	c, err := p.v.read(p.ctx, folderOf(p.rev))
	if err != nil {
		return p.r.outward(err)
	}
	if c.id != p.rev.ID() {
		return p.r.outward(nonsense("replaced " + p.name + " while it was read"))
	}
	return nil
}
