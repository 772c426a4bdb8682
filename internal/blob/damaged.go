package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Verify reads a blob again and tells whether its bytes still have its digest. wait, if not nil, is called with the
// number of bytes before they are read, and may slow the reading down. A blob that is deleted meanwhile is let go of at
// once, since its bytes stay on the medium until then. Errors: ErrNotFound, or reading failed.
func (d *Disk) Verify(ctx context.Context, digest Digest, wait func(context.Context, int) error) (bool, error) {
	r, err := d.open(ctx, digest)
	if err != nil {
		return false, err
	}
	defer r.Close()
	hash := sha256.New()
	buffer := make([]byte, 256<<10)
	for {
		if wait != nil {
			if err := wait(ctx, len(buffer)); err != nil {
				return false, err
			}
		}
		if _, err := d.Stat(ctx, digest); err != nil {
			return false, err
		}
		n, err := r.Read(buffer)
		hash.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(hash.Sum(nil)) == string(digest), nil
		}
		if err != nil {
			return false, fmt.Errorf("read blob %s: %w", digest, err)
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
}

// smallBlob is the size in bytes up to which a blob is read again whenever it is opened.
const smallBlob = 64 << 10

// intactIfSmall compares a small file with its digest and rewinds it; a larger one is taken as intact.
func intactIfSmall(f *os.File, digest Digest) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() > smallBlob {
		return err == nil, err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return false, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	return hex.EncodeToString(hash.Sum(nil)) == string(digest), nil
}

// SetAside moves a damaged blob to dir/damaged, so that it is never served again and can be looked at. The same bytes
// may be committed again afterwards. A blob that is not there is ErrNotFound.
func (d *Disk) SetAside(ctx context.Context, digest Digest) error {
	held, err := d.locks.lock(ctx, digest)
	if err != nil {
		return err
	}
	defer held.unlock()
	if !digest.Valid() {
		return fmt.Errorf("set blob %.80q aside: %w", digest, ErrNotFound)
	}
	aside := filepath.Join(d.dir, "damaged")
	if err := os.MkdirAll(aside, 0o750); err != nil {
		return fmt.Errorf("set blob %s aside: %w", digest, err)
	}
	to := filepath.Join(aside, fmt.Sprintf("%s-%d", digest, time.Now().UnixNano()))
	if err := os.Rename(d.path(digest), to); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotFound
		}
		return fmt.Errorf("set blob %s aside: %w", digest, err)
	}
	return errors.Join(d.sync.dir(aside), d.sync.dir(filepath.Dir(d.path(digest))))
}
