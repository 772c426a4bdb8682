package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// Verify reads a blob again and tells whether its bytes still have its digest. wait, if not nil, is
// called with the number of bytes before they are read, and may slow the reading down. Reading ends
// as soon as the blob is deleted, since an open file keeps its bytes on the disk. Errors:
// ErrNotFound, or reading failed.
func (d *Disk) Verify(ctx context.Context, digest Digest, wait func(context.Context, int) error) (bool, error) {
	r, err := d.open(ctx, digest)
	if err != nil {
		return false, err
	}
	defer r.Close()
	good, err := hasDigest(r, digest, func(n int) error {
		if wait != nil {
			if err := wait(ctx, n); err != nil {
				return err
			}
		}
		_, err := d.Stat(ctx, digest) // also asks ctx
		return err
	})
	if err != nil {
		return false, fmt.Errorf("read blob %s: %w", digest, err)
	}
	return good, nil
}

// hasDigest reads r to its end; before is called with the number of bytes before they are read.
func hasDigest(r io.Reader, digest Digest, before func(int) error) (bool, error) {
	hash := sha256.New()
	buffer := make([]byte, 256<<10)
	for {
		if err := before(len(buffer)); err != nil {
			return false, err
		}
		n, err := r.Read(buffer)
		hash.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(hash.Sum(nil)) == string(digest), nil
		}
		if err != nil {
			return false, err
		}
	}
}

// smallBlob is the size in bytes up to which a blob is read again whenever it is opened.
const smallBlob = 64 << 10

// intactIfSmall compares a small file with its digest and rewinds it; a larger one is taken as
// intact.
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
