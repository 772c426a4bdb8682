package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// diskWriter is the Writer of Disk: one temporary file, hashed as it is written.
//
// The file stays open after the end while somebody may still read from it: if it was ever read,
// until Close.
type diskWriter struct {
	disk *Disk
	hash *hasher
	size int64
	sent int64 // bytes whose writing to the disk was begun
	err  error // the first failure; the bytes and the sums may differ after it
	done bool
	kept bool // the bytes were stored; false if the store had them already

	mu     sync.Mutex
	file   *os.File // nil once closed
	ended  bool     // no more bytes are written
	read   bool     // ReadAt was called
	closed bool     // Close was called
	stored string   // where the blob lies after Commit
}

// Write implements Writer. After a failure every Write fails.
func (w *diskWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, fmt.Errorf("write blob: %w", fs.ErrClosed)
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.file.Write(p)
	w.size += int64(n)
	w.disk.temp.Add(int64(n))
	w.hash.write(p[:n])
	if err != nil {
		w.err = fmt.Errorf("write blob: %w", spaceError(err))
		return n, w.err
	}
	w.writeBack()
	return n, nil
}

// writeBack has the kernel begin with what was written, so that the fsync of a large blob finds
// little left to do.
func (w *diskWriter) writeBack() {
	const step = 8 << 20
	if w.size-w.sent < step {
		return
	}
	startWriteBack(w.file, w.sent, w.size-w.sent)
	w.sent = w.size
}

// ReadAt implements Writer.
func (w *diskWriter) ReadAt(p []byte, off int64) (int, error) {
	f, err := w.handle()
	if err != nil {
		return 0, fmt.Errorf("read blob: %w", err)
	}
	return f.ReadAt(p, off)
}

// handle returns the open file; it stays open from then on.
func (w *diskWriter) handle() (*os.File, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read = true
	if w.file != nil {
		return w.file, nil
	}
	if w.stored == "" || w.closed {
		return nil, fs.ErrClosed
	}
	f, err := os.Open(w.stored)
	if err != nil {
		return nil, notFoundError(err)
	}
	w.file = f
	return f, nil
}

// Sums implements Writer.
func (w *diskWriter) Sums() Sums { return w.hash.sums() }

// Commit implements Writer.
func (w *diskWriter) Commit(ctx context.Context, record func(Sums) error) error {
	return w.commit(ctx, durableMode, record)
}

// Stage implements Writer.
func (w *diskWriter) Stage(ctx context.Context, record func(Sums) error) error {
	return w.commit(ctx, stagedMode, record)
}

func (w *diskWriter) commit(ctx context.Context, mode fs.FileMode, record func(Sums) error) error {
	if w.done {
		return fmt.Errorf("commit blob: %w", fs.ErrClosed)
	}
	defer w.Abort()
	if w.err != nil {
		return w.err
	}
	sums := w.Sums()
	lock, err := w.place(ctx, sums, mode)
	if err != nil {
		return fmt.Errorf("commit blob %s: %w", sums.SHA256, spaceError(err))
	}
	defer lock.unlock()
	w.finish(w.disk.path(sums.SHA256))
	if record == nil {
		return nil
	}
	return record(sums)
}

// place puts the bytes in their place, durably or staged, and returns a shared lock: the same bytes
// may be recorded under many names at a time. The lock is exclusive only while bytes are stored
// that were not there.
func (w *diskWriter) place(ctx context.Context, sums Sums, mode fs.FileMode) (*hold, error) {
	lock, err := w.disk.locks.shared(ctx, sums.SHA256)
	if err != nil {
		return nil, err
	}
	there, err := w.found(ctx, sums, mode)
	if err == nil && there {
		return lock, nil
	}
	lock.unlock()
	if err != nil {
		return nil, err
	}
	if lock, err = w.disk.locks.lock(ctx, sums.SHA256); err != nil {
		return nil, err
	}
	if there, err = w.found(ctx, sums, mode); err == nil && !there {
		err = w.store(sums, mode)
		w.kept = err == nil
	}
	if err != nil {
		lock.unlock()
		return nil, err
	}
	lock.share()
	return lock, nil
}

// found tells whether the bytes are there already, and makes them durable unless they are to be
// staged. The digest is locked. A durable file of the right size is complete; one of another size
// was damaged and is replaced, and so is a staged one that lost its bytes.
func (w *diskWriter) found(ctx context.Context, sums Sums, mode fs.FileMode) (bool, error) {
	info, err := os.Stat(w.disk.path(sums.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || info.Size() != sums.Size {
		return false, err
	}
	if mode == stagedMode && !isDurable(info) {
		return w.disk.intactStaged(ctx, sums.SHA256)
	}
	err = w.disk.makeDurable(ctx, sums.SHA256)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// store puts the bytes under their digest, whose lock is exclusive.
func (w *diskWriter) store(sums Sums, mode fs.FileMode) error {
	d := w.disk
	path := d.path(sums.SHA256)
	dir, folder := filepath.Dir(path), d.fanoutOf(sums.SHA256)
	if err := folder.create(d.sync, dir); err != nil {
		return err
	}
	if err := w.file.Chmod(mode); err != nil {
		return err
	}
	if mode == stagedMode {
		err := os.Rename(w.file.Name(), path)
		if err == nil {
			d.staged.Store(sums.SHA256, nil)
		}
		return err
	}
	if err := d.sync.file(w.file); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), path); err != nil {
		return err
	}
	return folder.flush(d.sync, dir)
}

// Abort implements Writer.
func (w *diskWriter) Abort() {
	if !w.done {
		w.finish("")
	}
}

// finish ends the writing: the temporary file goes, its bytes count no more. stored is empty if
// nothing was committed.
func (w *diskWriter) finish(stored string) {
	w.done = true
	w.hash.stop()
	os.Remove(w.file.Name()) // not there any more if it was renamed; else NewDisk removes what stays
	w.disk.temp.Add(-w.size)

	w.mu.Lock()
	defer w.mu.Unlock()
	w.stored, w.ended = stored, true
	if !w.read || w.closed {
		w.closeFile()
	}
}

// Close implements Writer.
func (w *diskWriter) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.ended {
		w.closeFile()
	}
}

// closeFile is called with w.mu held.
func (w *diskWriter) closeFile() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}
