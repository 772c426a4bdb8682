package cache

import (
	"bytes"
	"context"
	"io"
	"sync"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// pass hands a file from upstream to one client without storing it, for lack of space. It is
// verified all the same: a small one before the first byte, a large one before its tail.
func (c *Cache) pass(ctx context.Context, rev conan.Revision, want conan.FileInfo) (*conan.File, error) {
	in, err := c.download(ctx, rev, want)
	if err != nil {
		return nil, c.readable(err)
	}
	p := &passage{ctx: ctx, in: in, sums: blob.NewHasher(), chunk: make([]byte, 64<<10)}
	limit := int64(followFrom)
	if want.Name == conan.ManifestFile || want.Name == conan.InfoFile {
		limit = conan.MaxManifestSize // their content is needed to verify them
	}
	if in.want.Size > limit {
		return &conan.File{FileInfo: in.want, ReadCloser: p, Wait: func(context.Context) (*conan.File, error) {
			return nil, c.unavailable("there is no space to store this file, so it can only be sent as a whole")
		}}, nil
	}
	defer p.Close()
	for !p.done && p.err == nil && int64(len(p.ready)) <= limit {
		p.next()
	}
	if p.err != nil {
		return nil, p.err
	}
	if !p.done {
		return nil, c.unavailable("there is no space to store this file, and its size is not known")
	}
	info := index.FileInfo(want.Name, p.sums.Sums())
	return &conan.File{FileInfo: info, ReadCloser: memoryFile{bytes.NewReader(p.ready)}}, nil
}

// passage reads a file from upstream and holds its tail back until everything is verified.
type passage struct {
	ctx   context.Context // of the request
	in    *incoming
	sums  *blob.Hasher
	chunk []byte
	ready []byte // read from upstream and not handed out yet
	done  bool   // all of it is verified
	err   error
	once  sync.Once
}

// Read implements io.Reader. It fails short of the file's Size if the bytes are wrong.
func (p *passage) Read(b []byte) (int, error) {
	for !p.done && p.err == nil && len(p.ready) <= tail {
		p.next()
	}
	if p.err != nil {
		return 0, p.err
	}
	end := len(p.ready)
	if !p.done {
		end -= tail
	}
	if end == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	n := copy(b, p.ready[:end])
	p.ready = p.ready[n:]
	return n, nil
}

// next reads the next bytes, and verifies all at the end.
func (p *passage) next() {
	c := p.in.c
	n, err := p.in.Read(p.chunk)
	p.sums.Write(p.chunk[:n])
	p.in.check.Write(p.chunk[:n])
	p.ready = append(p.ready, p.chunk[:n]...)
	c.o.Metrics.fillBytes.WithLabelValues(c.o.Name).Add(float64(n))
	if err == nil {
		return
	}
	if err == io.EOF {
		_, err = p.in.check.finish(p.ctx, p.sums.Sums(), p.content())
	}
	p.in.remember(err)
	if err != nil {
		p.err = c.readable(err)
		return
	}
	p.done = true
}

// content is what is needed of the file to verify it. An archive is not here as a whole.
func (p *passage) content() io.Reader {
	if conan.IsArchive(p.in.want.Name) {
		return nil
	}
	return bytes.NewReader(p.ready)
}

// Close ends the download.
func (p *passage) Close() error {
	p.once.Do(p.in.close)
	return nil
}
