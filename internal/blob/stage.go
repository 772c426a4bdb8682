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

// The mode of a blob tells whether it is durable. It is changed last, so a power failure can at
// most make a durable blob look staged, which costs another reading of it.
const (
	stagedMode  fs.FileMode = 0o640
	durableMode fs.FileMode = 0o440
)

func isDurable(info fs.FileInfo) bool { return info.Mode().Perm()&0o200 == 0 }

// Sync implements Store. The blobs are synced side by side, since a disk takes little longer for
// many than for one.
func (d *Disk) Sync(ctx context.Context, digests ...Digest) error {
	errs := make([]error, len(digests))
	var wg sync.WaitGroup
	for i, digest := range digests {
		wg.Go(func() { errs[i] = d.Keep(ctx, digest, func() error { return nil }) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// makeDurable makes a stored blob durable, whose lock is held. One that is damaged is ErrNotFound.
func (d *Disk) makeDurable(ctx context.Context, digest Digest) error {
	if !digest.Valid() {
		return ErrNotFound
	}
	info, err := os.Stat(d.path(digest))
	if err != nil {
		return notFoundError(err)
	}
	if isDurable(info) {
		return d.fanoutOf(digest).ensureDurable(d.sync, filepath.Dir(d.path(digest)))
	}
	intact, err := d.intactStaged(ctx, digest)
	if err != nil {
		return err
	}
	if !intact {
		return fmt.Errorf("a power failure damaged the bytes: %w", ErrNotFound)
	}
	return d.syncStaged(digest)
}

// intactStaged tells whether a staged blob has its digest. One of an earlier process is read again.
func (d *Disk) intactStaged(ctx context.Context, digest Digest) (bool, error) {
	if _, ours := d.staged.Load(digest); ours {
		return true, nil
	}
	return fileHasDigest(ctx, d.path(digest), digest)
}

func (d *Disk) syncStaged(digest Digest) error {
	f, err := os.Open(d.path(digest))
	if err != nil {
		return notFoundError(err)
	}
	defer f.Close()
	if err := d.sync.file(f); err != nil { // a second fsync may succeed without the bytes
		d.staged.Delete(digest)
		return errors.Join(err, os.Remove(d.path(digest)))
	}
	if err := d.fanoutOf(digest).flush(d.sync, filepath.Dir(d.path(digest))); err != nil {
		return err
	}
	if err := f.Chmod(durableMode); err != nil {
		return err
	}
	d.staged.Delete(digest)
	return nil
}
