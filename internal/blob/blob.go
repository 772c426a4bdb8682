// Package blob keeps content-addressed bytes: every blob is named by the sha256 of its content,
// written once, verified, and read-only afterwards. Caches and stores are inventories over one
// Store.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Digest is a sha256 in lower-case hex, 64 characters.
type Digest string

// Valid tells whether d has the shape of a digest; a store never holds any other.
func (d Digest) Valid() bool {
	const length = 64
	if len(d) != length {
		return false
	}
	for i := 0; i < len(d); i++ {
		if c := d[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Sums is what one pass over the bytes tells.
type Sums struct {
	Size   int64
	SHA256 Digest
	SHA1   string // lower-case hex
	MD5    string // lower-case hex
}

// ErrNotFound is returned for a digest that the store does not hold.
var ErrNotFound = errors.New("blob not found")

// ErrNoSpace is returned, by Create, Write and Commit, when the disk is full or a disk quota is
// used up. The writer is of no use afterwards; Abort gives its bytes back.
var ErrNoSpace = errors.New("no space left for blobs")

// Reader reads a stored blob. The disk store's is an *os.File (or embeds one), so that sendfile
// works. It stays readable after the blob is deleted.
type Reader interface {
	io.ReadSeekCloser
	io.ReaderAt
}

// Writer takes the bytes of one new blob. One goroutine calls Write, Sums, Commit, Stage and Abort;
// ReadAt may be called by others at the same time, up to the number of bytes that Write has
// returned. It ends with Commit or Stage, also one that fails, or Abort; Abort after those is a
// no-op, so that it can be deferred.
//
// Readers need not know when the writer ends: ReadAt goes on during and after Commit, and after
// Abort for a writer that was read before, until Close.
type Writer interface {
	io.Writer
	io.ReaderAt

	// Sums are those of all bytes written so far; called by the writing goroutine.
	Sums() Sums

	// Commit makes the blob durable (fsync, rename, fsync of the directory) and then calls record,
	// which names the blob in the index, while the blob cannot be deleted. If record fails the blob
	// may stay behind as an orphan and record's error is returned. Bytes that the store already
	// holds are kept once. record may be nil; it may read the store, but must not call Commit, Keep
	// or Delete for the same digest. Records of one digest may run side by side.
	Commit(ctx context.Context, record func(Sums) error) error

	// Stage is Commit without making anything durable, for bytes that Store.Sync will be called for
	// before they are relied on. A power failure before that can lose or damage the blob. The store
	// knows such a blob again, also in a later process: Commit, Keep and Sync of the same digest
	// make it durable, or find that it is damaged.
	Stage(ctx context.Context, record func(Sums) error) error

	// Abort throws the bytes away.
	Abort()

	// Close ends the reading: after the end of a writer that was read it releases what was kept for
	// readers, which may be the bytes of a blob that was deleted since. ReadAt must not be called
	// after it.
	Close()
}

// Store holds blobs. All methods may be called concurrently. Missing blobs are ErrNotFound.
type Store interface {
	// Create starts a blob; its temporary bytes are on the same filesystem as the blobs.
	Create(ctx context.Context) (Writer, error)
	// Open opens a blob for reading.
	Open(ctx context.Context, d Digest) (Reader, error)
	// Stat returns the size in bytes.
	Stat(ctx context.Context, d Digest) (int64, error)
	// Sync makes staged blobs durable, all of a set in about the time of one. A blob that a power
	// failure damaged is ErrNotFound. Durable blobs cost nothing.
	Sync(ctx context.Context, digests ...Digest) error
	// Keep calls record, which names a blob that is already stored, while the blob cannot be
	// deleted.
	Keep(ctx context.Context, d Digest, record func() error) error
	// Delete removes a blob if named, called while the same digest can be neither committed nor
	// kept, says that no row names it. It returns the bytes freed, 0 if it is still named or was
	// not there (named is asked then too, so that it can drop its record of the digest).
	Delete(ctx context.Context, d Digest, named func() (bool, error)) (int64, error)
	// Walk calls fn for every blob in no particular order until fn fails.
	Walk(ctx context.Context, fn func(d Digest, size int64) error) error
	// Free returns the bytes that can still be written to the disk.
	Free(ctx context.Context) (int64, error)
}

// sizedOpener is a store that has blobs twice, and knows by their size which one is damaged.
type sizedOpener interface {
	openSized(ctx context.Context, d Digest, size int64) (Reader, error)
}

// OpenSized opens a blob of a known size in bytes. One of another size, which a broken disk or a
// restored backup leaves behind, is as good as lost: ErrNotFound.
func OpenSized(ctx context.Context, s Store, digest Digest, size int64) (Reader, error) {
	open := s.Open
	if sized, ok := s.(sizedOpener); ok {
		open = func(ctx context.Context, d Digest) (Reader, error) { return sized.openSized(ctx, d, size) }
	}
	r, err := open(ctx, digest)
	if err != nil {
		return nil, err
	}
	end, err := r.Seek(0, io.SeekEnd)
	if err == nil && end != size {
		err = fmt.Errorf("blob %s has %d bytes instead of %d: %w", digest, end, size, ErrNotFound)
	}
	if err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}
