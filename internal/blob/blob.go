// Package blob keeps content-addressed bytes: every blob is named by the sha256 of its content,
// written once, verified, and read-only afterwards. Cache and local store are two inventories over one Store.
package blob

import (
	"context"
	"errors"
	"io"
)

// Digest is a sha256 in lower-case hex, 64 characters.
type Digest string

// Sums is what one pass over the bytes tells.
type Sums struct {
	Size   int64
	SHA256 Digest
	SHA1   string // lower-case hex
	MD5    string // lower-case hex
}

// ErrNotFound is returned for a digest that the store does not hold.
var ErrNotFound = errors.New("blob not found")

// Reader reads a stored blob. The disk store's is an *os.File (or embeds one), so that sendfile works.
// It stays readable after the blob is deleted.
type Reader interface {
	io.ReadSeekCloser
	io.ReaderAt
}

// Writer takes the bytes of one new blob. One goroutine writes; ReadAt may be called by others at the same
// time, up to the number of bytes that Write has returned. It ends with Commit or Abort; Abort after Commit is
// a no-op, so that it can be deferred.
type Writer interface {
	io.Writer
	io.ReaderAt

	// Sums are those of all bytes written so far; called by the writing goroutine.
	Sums() Sums

	// Commit makes the blob durable (fsync, rename, fsync of the directory) and then calls record, which names the
	// blob in the index, while the blob cannot be deleted. If record fails the blob may stay behind as an orphan
	// and record's error is returned. Bytes that the store already holds are kept once. record may be nil.
	Commit(ctx context.Context, record func(Sums) error) error

	// Abort throws the bytes away.
	Abort()
}

// Store holds blobs. All methods may be called concurrently. Missing blobs are ErrNotFound.
type Store interface {
	// Create starts a blob; its temporary bytes are on the same filesystem as the blobs.
	Create(ctx context.Context) (Writer, error)
	// Open opens a blob for reading.
	Open(ctx context.Context, d Digest) (Reader, error)
	// Stat returns the size in bytes.
	Stat(ctx context.Context, d Digest) (int64, error)
	// Keep calls record, which names a blob that is already stored, while the blob cannot be deleted.
	Keep(ctx context.Context, d Digest, record func() error) error
	// Delete removes a blob if named, called while nobody can commit or keep the same digest, says that no row
	// names it. It returns the bytes freed, 0 if it is still named or was not there.
	Delete(ctx context.Context, d Digest, named func() (bool, error)) (int64, error)
	// Walk calls fn for every blob in no particular order until fn fails.
	Walk(ctx context.Context, fn func(d Digest, size int64) error) error
	// Free returns the bytes that can still be written to the medium.
	Free(ctx context.Context) (int64, error)
}
