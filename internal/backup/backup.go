// Package backup copies a data directory while its server runs, so that the copy can be started.
package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"conanproxy/internal/blob"
	"conanproxy/internal/index"
	"conanproxy/internal/scrub"
)

// Options of Run. A data directory has its index and the folder of its blobs, with the journal, at
// the same relative paths as the copy will.
type Options struct {
	From string // data directory; it is only read
	To   string // folder of the copy; it must be empty or not exist
	// Names of the parts below both folders.
	Index, Blobs, Journal string
	// Bucket says that the blobs are in a bucket: only the index and the journal are copied.
	Bucket bool
	// Check reads every copied file again and compares it with its digest.
	Check bool
	// Found is called for every damaged or missing file of the copy; nil: they are only counted.
	Found func(scrub.Finding)
}

// Report counts what Run copied.
type Report struct {
	Blobs, Bytes int64
	Copied       int64 // blobs that were copied since they could not be hard links
	Bad          int   // files of the copy that are damaged or missing there, as in the original
}

// ErrNotEmpty is returned for a folder of the copy that has something in it.
var ErrNotEmpty = errors.New("the folder for the backup is not empty")

// Run makes the copy. Blobs are hard links where the filesystem allows, so they take no space.
//
// Blobs are copied before the index and once more after it. A blob that the copied index names
// either was there when the first round came by, or was stored after that and is taken by the
// second. Only one that was stored and deleted in between is missing; the index is copied again
// then.
func Run(ctx context.Context, o Options) (Report, error) {
	r, err := run(ctx, o)
	if err != nil {
		return r, fmt.Errorf("backup: %w", err)
	}
	return r, nil
}

func run(ctx context.Context, o Options) (r Report, err error) {
	if err := makeEmpty(o.To); err != nil {
		return r, err
	}
	if o.Bucket {
		err := indexAlone(ctx, o, &r)
		return r, err
	}
	from := blob.Peek(filepath.Join(o.From, o.Blobs))
	to, err := blob.NewDisk(filepath.Join(o.To, o.Blobs), blob.DiskOptions{})
	if err != nil {
		return r, err
	}
	take := func(d blob.Digest) error {
		linked, err := to.Take(ctx, from, d)
		if err == nil && !linked {
			r.Copied++
		}
		return err
	}
	if err := from.Walk(ctx, func(d blob.Digest, _ int64) error {
		if err := take(d); !errors.Is(err, blob.ErrNotFound) {
			return err
		}
		return nil // deleted meanwhile
	}); err != nil {
		return r, err
	}
	db, err := copyIndex(ctx, o, to, take)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := dropUnnamed(ctx, db, to); err != nil {
		return r, err
	}
	if err := to.SyncFolders(); err != nil {
		return r, err
	}
	if err := db.KeepJournal(ctx, filepath.Join(o.To, o.Journal)); err != nil {
		return r, err
	}
	return r, inspect(ctx, o, db, to, &r)
}

// indexAlone copies the index and its journal, and counts the blobs that the bucket must have.
func indexAlone(ctx context.Context, o Options, r *Report) (err error) {
	path, journal := filepath.Join(o.To, o.Index), filepath.Join(o.To, o.Journal)
	if err := os.MkdirAll(filepath.Dir(journal), 0o700); err != nil {
		return err
	}
	if err := index.Snapshot(ctx, filepath.Join(o.From, o.Index), path); err != nil {
		return err
	}
	db, err := index.OpenExisting(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.KeepJournal(ctx, journal); err != nil {
		return err
	}
	return db.EachBlob(ctx, func(row index.BlobRow) error {
		r.Blobs++
		r.Bytes += row.Size
		return nil
	})
}

// makeEmpty makes a folder or finds it empty.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s: %w", dir, ErrNotEmpty)
	}
	return err
}

// copyIndex copies the index until every blob that it names could be taken.
func copyIndex(ctx context.Context, o Options, to *blob.Disk, take func(blob.Digest) error) (*index.DB, error) {
	path := filepath.Join(o.To, o.Index)
	const attempts = 5
	for i := 1; ; i++ {
		if err := index.Snapshot(ctx, filepath.Join(o.From, o.Index), path); err != nil {
			return nil, err
		}
		db, err := index.OpenExisting(ctx, path)
		if err != nil {
			return nil, err
		}
		complete, err := takeNamed(ctx, db, to, take)
		if err == nil && (complete || i == attempts) {
			return db, nil // what is missing after all attempts is missing in the original
		}
		if err := errors.Join(err, db.Close()); err != nil {
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
}

// takeNamed takes the blobs that the index names and the copy lacks, and tells whether all were
// there.
func takeNamed(ctx context.Context, db *index.DB, to *blob.Disk, take func(blob.Digest) error) (complete bool, err error) {
	complete = true
	err = db.EachBlob(ctx, func(row index.BlobRow) error {
		d := blob.Digest(row.SHA256)
		if _, err := to.Stat(ctx, d); !errors.Is(err, blob.ErrNotFound) {
			return err
		}
		err := take(d)
		if !errors.Is(err, blob.ErrNotFound) {
			return err
		}
		named, err := db.BlobNamed(ctx, row.SHA256)
		complete = complete && !named
		return err
	})
	return complete, err
}

// dropUnnamed deletes the blobs that were deleted in the original while it was copied, and those
// that nothing named there.
func dropUnnamed(ctx context.Context, db *index.DB, to *blob.Disk) error {
	return to.Walk(ctx, func(d blob.Digest, _ int64) error {
		_, err := to.Delete(ctx, d, func() (bool, error) { return db.HasBlob(ctx, string(d)) })
		return err
	})
}

// inspect counts what is in the copy and, if that is asked for, reads it.
func inspect(ctx context.Context, o Options, db *index.DB, to *blob.Disk, r *Report) error {
	if o.Check {
		sum, err := scrub.Check(ctx, scrub.Options{Index: db, Blobs: to, Found: o.Found})
		r.Blobs, r.Bytes, r.Bad = sum.Blobs, sum.Bytes, sum.Unhealed
		return err
	}
	return to.Walk(ctx, func(_ blob.Digest, size int64) error {
		r.Blobs++
		r.Bytes += size
		return nil
	})
}
