package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"

	"conanproxy/internal/conan"
)

// open waits until the client of a fill can be given something: the verified file, or a large one
// as it arrives. The client has left if it fails.
func (f *fill) open(ctx context.Context) (*conan.File, error) {
	f.mu.Lock()
	for f.state == waiting || !f.large && (f.state == arriving || f.state == verified && f.small == nil) {
		if err := f.await(ctx, nil); err != nil {
			f.mu.Unlock()
			f.leave()
			return nil, err
		}
	}
	info, state, w, small := f.info, f.state, f.w, f.small
	f.mu.Unlock()
	switch {
	case state.complete() && small != nil:
		f.leave()
		return &conan.File{FileInfo: info, ReadCloser: memoryFile{bytes.NewReader(small)}}, nil
	case state.ended():
		defer f.leave()
		return f.openStored(ctx)
	}
	w.ReadAt(nil, 0) // the writer stays readable for this client, whatever becomes of the blob
	r := &follower{f: f, ctx: ctx, closed: make(chan struct{})}
	return &conan.File{FileInfo: info, ReadCloser: r, Wait: f.wait}, nil
}

// memoryFile is a small file that is verified and perhaps not stored yet.
type memoryFile struct{ *bytes.Reader }

// Close implements io.Closer.
func (memoryFile) Close() error { return nil }

// wait is File.Wait: it blocks until the fill ended. The follower that it belongs to keeps the fill
// alive.
func (f *fill) wait(ctx context.Context) (*conan.File, error) {
	var file *conan.File
	err := f.done(ctx)
	if err == nil {
		file, err = f.openStored(ctx)
	}
	if errors.Is(err, errEvicted) {
		file, _, err = f.c.fetch(ctx, f.key.rev, conan.FileInfo{Name: f.key.name, Size: -1})
	}
	return file, err
}

// done blocks until the fill ended, and returns why if it did not store the file.
func (f *fill) done(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.state.ended() {
		if err := f.await(ctx, nil); err != nil {
			return err
		}
	}
	return f.err
}

// openStored opens what an ended fill stored, or returns its error.
func (f *fill) openStored(ctx context.Context) (*conan.File, error) {
	f.mu.Lock()
	info, err := f.info, f.err
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	endUse, err := f.c.o.Budget.Use(ctx, f.c.o.Member, f.key.rev)
	if err != nil {
		return nil, err
	}
	file, err := f.c.openBytes(ctx, info, endUse)
	if err == nil && file == nil {
		err = errEvicted
	}
	return file, err
}

// await waits for the next change. It is called with f.mu held and returns so.
func (f *fill) await(ctx context.Context, closed <-chan struct{}) error {
	moved := f.moved
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-moved:
		return nil
	case <-closed:
		return fs.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// follower reads a file while it arrives, up to the tail that is held back until everything is
// verified. One goroutine reads; Close may be called by another.
type follower struct {
	f      *fill
	ctx    context.Context // of the client
	off    int64
	closed chan struct{}
}

// Read implements io.Reader. It fails short of the file's Size if the fill fails.
func (r *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	end, err := r.next()
	if err != nil {
		return 0, err
	}
	n, err := r.f.w.ReadAt(p[:min(int64(len(p)), end-r.off)], r.off)
	r.off += int64(n)
	if n > 0 {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// next waits until there is something to read, and returns up to where.
func (r *follower) next() (int64, error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.state.complete() && r.off >= f.info.Size:
			return 0, io.EOF
		case f.state.complete():
			return f.info.Size, nil
		case f.state.ended():
			return 0, f.err
		}
		if end := min(f.wrote, f.info.Size-tail); end > r.off {
			return end, nil
		}
		if err := f.await(r.ctx, r.closed); err != nil {
			return 0, err
		}
	}
}

// Close takes the client away. The fill goes on.
func (r *follower) Close() error {
	r.f.mu.Lock()
	select {
	case <-r.closed:
		r.f.mu.Unlock()
		return fs.ErrClosed
	default:
		close(r.closed)
	}
	r.f.mu.Unlock()
	r.f.leave()
	return nil
}
