// Package rebuild makes a lost index again, from the journal of the stores and the blobs. What
// upstreams said and what was cached is not part of it: that is fetched again.
package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/journal"
)

// Blobs is a store that may have set blobs aside.
type Blobs interface {
	blob.Store
	// TakeBack has the store serve an orphaned blob again, and tells whether it has the blob now.
	TakeBack(ctx context.Context, d blob.Digest) (bool, error)
}

// Options of Run.
type Options struct {
	Index   string                                          // path of the index to be made; there must be none
	Journal string                                          // path of the journal, which is not changed
	Blobs   func(context.Context, *index.DB) (Blobs, error) // the store of the index that is being made
	// Missing is called for every file of a published revision whose bytes are not there; nil: they
	// are only counted. The revision is back nevertheless.
	Missing func(index.FileRow)
}

// Report counts what Run did and found.
type Report struct {
	Changes int64 // lines of the journal
	Stores  []index.Usage
	Missing int64 // files without bytes
}

// ErrIndexThere is returned if there is an index already.
var ErrIndexThere = errors.New("there is an index already; move it away to rebuild it")

// Run makes the index. The server must be stopped. An index that was not finished is of no effect.
func Run(ctx context.Context, o Options) (Report, error) {
	if _, err := os.Lstat(o.Index); !errors.Is(err, fs.ErrNotExist) {
		return Report{}, errors.Join(fmt.Errorf("%s: %w", o.Index, ErrIndexThere), err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(o.Index), "rebuild-*")
	if err != nil {
		return Report{}, fmt.Errorf("rebuild the index: %w", err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, filepath.Base(o.Index))
	r, err := makeIndex(ctx, o, made)
	if err != nil {
		return r, fmt.Errorf("rebuild the index: %w", err)
	}
	if err := os.Rename(made, o.Index); err != nil {
		return r, fmt.Errorf("rebuild the index: %w", err)
	}
	return r, blob.SyncDir(filepath.Dir(o.Index))
}

func makeIndex(ctx context.Context, o Options, path string) (r Report, err error) {
	db, err := index.Open(ctx, path)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	blobs, err := o.Blobs(ctx, db)
	if err != nil {
		return r, err
	}
	if r.Changes, err = replay(ctx, o, db, blobs); err != nil {
		return r, err
	}
	if r.Missing, err = findBytes(ctx, o, db, blobs); err != nil {
		return r, err
	}
	r.Stores, err = db.Usage(ctx)
	return r, err
}

// replay makes the changes that the journal tells.
func replay(ctx context.Context, o Options, db *index.DB, blobs Blobs) (n int64, err error) {
	const batch = 500
	var changes []index.Change
	for line, err := range journal.Read(o.Journal) {
		if err != nil {
			return n, err
		}
		c := index.Change{Line: line}
		if c.Info, err = info(ctx, blobs, line); err != nil {
			return n, err
		}
		n++
		if changes = append(changes, c); len(changes) < batch {
			continue
		}
		if err := db.Replay(ctx, changes); err != nil {
			return n, err
		}
		changes = changes[:0]
	}
	return n, db.Replay(ctx, changes)
}

// info reads the conaninfo.txt of a package, which the index has as text. It is nil for a recipe
// and for bytes that are not there, for example of a package that was removed later.
func info(ctx context.Context, blobs Blobs, line journal.Line) (*string, error) {
	for _, f := range line.Files {
		if f.Name != conan.InfoFile || line.PackageID == "" {
			continue
		}
		if _, err := blobs.TakeBack(ctx, blob.Digest(f.SHA256)); err != nil {
			return nil, err
		}
		r, err := blob.OpenSized(ctx, blobs, blob.Digest(f.SHA256), f.Size)
		if errors.Is(err, blob.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		defer r.Close()
		text, err := io.ReadAll(r)
		s := string(text)
		return &s, err
	}
	return nil, nil
}

// findBytes takes back orphaned blobs that the index names and counts the files without bytes.
func findBytes(ctx context.Context, o Options, db *index.DB, blobs Blobs) (missing int64, err error) {
	err = db.EachBlob(ctx, func(row index.BlobRow) error {
		there, err := blobs.TakeBack(ctx, blob.Digest(row.SHA256))
		if err != nil || there {
			return err
		}
		files, err := db.FilesOf(ctx, row.SHA256)
		missing += int64(len(files))
		for _, f := range files {
			if o.Missing != nil {
				o.Missing(f)
			}
		}
		return err
	})
	return missing, err
}
