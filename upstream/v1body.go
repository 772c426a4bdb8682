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
	if p.md5 != "" {
		if hex.EncodeToString(p.sum.Sum(nil)) == p.md5 {
			return nil
		}
		p.v.folders.invalidate(folderOf(p.rev))
		return p.r.outcome(badAnswer("replaced %s while it was read", p.name))
	}
	c, err := p.v.readOnce(p.ctx, folderOf(p.rev))
	if err != nil {
		return p.r.outcome(err)
	}
	if c.id != p.rev.ID() {
		return p.r.outcome(badAnswer("replaced %s while it was read", p.name))
	}
	return nil
}
