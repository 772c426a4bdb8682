package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Peek gives a process that does not own dir a look at its blobs: only Walk, Stat, and being the
// other store of Take are allowed. It changes nothing.
func Peek(dir string) *Disk { return &Disk{dir: dir, sync: osSyncer{}} }

// Take stores a blob of another store, and tells whether it is a hard link: the bytes of both are
// one file then. One that the other store lacks, or whose bytes turn out to be damaged, is
// ErrNotFound. The name is durable after SyncFolders.
func (d *Disk) Take(ctx context.Context, other *Disk, digest Digest) (linked bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if !digest.Valid() {
		return false, fmt.Errorf("take blob %.80q: %w", digest, ErrNotFound)
	}
	to := d.path(digest)
	if err := d.fanoutOf(digest).create(d.sync, filepath.Dir(to)); err != nil {
		return false, fmt.Errorf("take blob %s: %w", digest, err)
	}
	err = os.Link(other.path(digest), to)
	switch {
	case err == nil || errors.Is(err, fs.ErrExist):
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("take blob %s: %w", digest, ErrNotFound)
	}
	// Another filesystem, or one without hard links.
	if err := d.copyBlob(ctx, other, digest); err != nil {
		return false, fmt.Errorf("take blob %s: %w", digest, err)
	}
	return false, nil
}

func (d *Disk) copyBlob(ctx context.Context, other *Disk, digest Digest) error {
	from, err := other.open(ctx, digest)
	if err != nil {
		return err
	}
	defer from.Close()
	w, err := d.Create(ctx)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.Copy(w, from); err != nil {
		return err
	}
	if sums := w.Sums(); sums.SHA256 != digest {
		return fmt.Errorf("its bytes have the digest %s: %w", sums.SHA256, ErrNotFound)
	}
	return w.Commit(ctx, nil)
}

// SyncFolders makes the names of all blobs durable.
func (d *Disk) SyncFolders() error {
	for i := range d.fanout {
		dir := filepath.Join(d.root(), fmt.Sprintf("%02x", i))
		err := d.fanout[i].flush(d.sync, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sync the folders of blobs: %w", err)
		}
	}
	return nil
}
