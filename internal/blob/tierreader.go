package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// fillReader reads a blob while it arrives, up to what is held back until all of it is verified.
type fillReader struct {
	f      *fill
	off    int64
	closed bool // guarded by f.mu
}

// Read implements io.Reader.
func (r *fillReader) Read(p []byte) (int, error) {
	n, err := r.f.readSome(p, r.off)
	r.off += int64(n)
	return n, err
}

// ReadAt implements io.ReaderAt.
func (r *fillReader) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.f.readSome(p[n:], off+int64(n))
		n += m
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *fillReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.f.object.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek: %w", fs.ErrInvalid)
	}
	r.off = offset
	return offset, nil
}

// Close implements io.Closer. The fill goes on.
func (r *fillReader) Close() error {
	r.f.mu.Lock()
	if r.closed {
		r.f.mu.Unlock()
		return fs.ErrClosed
	}
	r.closed = true
	r.f.mu.Unlock()
	r.f.leave()
	return nil
}

// readSome reads what is there at an offset, or waits for it.
func (f *fill) readSome(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	end, err := f.readable(off)
	if err != nil {
		return 0, err
	}
	n, err := f.w.ReadAt(p[:min(int64(len(p)), end-off)], off)
	if n > 0 || errors.Is(err, io.EOF) {
		err = nil
	}
	if n == 0 && err == nil {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// readable waits until there is a byte at off that may be read, and returns up to where they go.
func (f *fill) readable(off int64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		size := f.object.Size
		switch {
		case off >= size:
			return 0, io.EOF
		case f.verified:
			return size, nil
		case f.ended:
			return 0, f.err
		}
		if end := min(f.wrote, size-heldBack); end > off {
			return end, nil
		}
		if err := f.await(context.Background()); err != nil { // a fill always ends
			return 0, err
		}
	}
}

// Arriving is a Reader whose blob is not verified yet: what it has read may be wrong, but its last
// bytes come only after all were verified.
type Arriving interface {
	Reader
	// Wait blocks until the blob is verified and returns another Reader of it. The first one stays
	// to be closed.
	Wait(ctx context.Context) (Reader, error)
}

var _ Arriving = (*fillReader)(nil)

// Wait implements Arriving.
func (r *fillReader) Wait(ctx context.Context) (Reader, error) {
	if err := r.f.wait(ctx, func() bool { return r.f.verified }); err != nil {
		return nil, err
	}
	r.f.mu.Lock()
	r.f.users++
	r.f.mu.Unlock()
	return verifiedReader(r.f), nil
}

// verifiedReader reads a blob that is verified, so it is not Arriving.
func verifiedReader(f *fill) Reader { return struct{ Reader }{&fillReader{f: f}} }
