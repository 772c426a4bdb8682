package blob

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Aside is why a blob was set aside, and the folder beside dir/sha256 that it goes to.
type Aside string

// The reasons. A damaged blob does not have its digest; an orphaned one is not in the index.
const (
	Damaged  Aside = "damaged"
	Orphaned Aside = "orphaned"
)

// SetAside moves a blob to the folder of its reason, so that it is never served again and can be
// looked at. The same bytes may be committed again afterwards. A blob that is not there is
// ErrNotFound.
func (d *Disk) SetAside(ctx context.Context, digest Digest, why Aside) error {
	lock, err := d.locks.lock(ctx, digest)
	if err != nil {
		return err
	}
	defer lock.unlock()
	if !digest.Valid() {
		return fmt.Errorf("set blob %.80q aside: %w", digest, ErrNotFound)
	}
	aside := filepath.Join(d.dir, string(why))
	if err := os.MkdirAll(aside, dirMode); err != nil {
		return fmt.Errorf("set blob %s aside: %w", digest, err)
	}
	to := filepath.Join(aside, fmt.Sprintf("%s-%d", digest, time.Now().UnixNano()))
	d.staged.Delete(digest)
	if err := os.Rename(d.path(digest), to); err != nil {
		return fmt.Errorf("set blob %s aside: %w", digest, notFoundError(err))
	}
	return errors.Join(d.sync.dir(aside), d.sync.dir(filepath.Dir(d.path(digest))))
}

// TakeBack moves an orphaned blob that was set aside back to its place. It tells whether the blob
// is in its place now; one that is damaged stays aside.
func (d *Disk) TakeBack(ctx context.Context, digest Digest) (bool, error) {
	if _, err := d.Stat(ctx, digest); !errors.Is(err, ErrNotFound) {
		return err == nil, err
	}
	if !digest.Valid() {
		return false, nil
	}
	aside, err := filepath.Glob(filepath.Join(d.dir, string(Orphaned), string(digest)+"-*"))
	if err != nil || len(aside) == 0 {
		return false, err
	}
	good, err := fileHasDigest(ctx, aside[0], digest)
	if err == nil && good {
		err = d.putInPlace(ctx, aside[0], digest)
	}
	if err != nil {
		return false, fmt.Errorf("take blob %s back: %w", digest, err)
	}
	return good, nil
}

func (d *Disk) putInPlace(ctx context.Context, path string, digest Digest) error {
	lock, err := d.locks.lock(ctx, digest)
	if err != nil {
		return err
	}
	defer lock.unlock()
	to, folder := d.path(digest), d.fanoutOf(digest)
	if err := folder.create(d.sync, filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Rename(path, to); err != nil {
		return err
	}
	return folder.flush(d.sync, filepath.Dir(to))
}

func fileHasDigest(ctx context.Context, path string, digest Digest) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return hasDigest(f, digest, func(int) error { return ctx.Err() })
}
