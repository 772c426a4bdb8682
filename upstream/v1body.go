package upstream

import (
	"context"
	"encoding/hex"
	"hash"
	"io"

	"conanproxy/internal/conan"
)

// pinnedBody checks at the end of a body that it was of the pinned revision: by the md5 that was
// listed for it, or, without one, by the manifest, which must still be the same.
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
	if p.md5 == "" {
		c, err := p.v.readOnce(p.ctx, folderOf(p.rev))
		if err != nil {
			return p.r.outcome(err)
		}
		return p.unchanged(c.id == p.rev.ID())
	}
	if hex.EncodeToString(p.sum.Sum(nil)) == p.md5 {
		return nil
	}
	// Another file was sent than the list says. If upstream still lists the same, its bytes are
	// wrong, which the reader of the download finds out.
	p.v.folders.Load().invalidate(folderOf(p.rev))
	c, err := p.v.list(p.ctx, p.rev)
	if err != nil && !isNotFound(err) {
		return p.r.outcome(err)
	}
	listed, there := c.files.Find(p.name)
	return p.unchanged(err == nil && there && listed.MD5 == p.md5)
}

// unchanged is the error of a body whose folder is another one now.
func (p *pinnedBody) unchanged(same bool) error {
	if same {
		return nil
	}
	return p.r.outcome(badAnswer("replaced %s while it was read", p.name))
}
