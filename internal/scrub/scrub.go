// Package scrub re-reads what is stored and finds what is not as it was written: damaged files,
// missing files, and orphaned files. It serves the fsck command, with the server stopped, and the
// background scrub.
package scrub

import (
	"context"
	"errors"
	"fmt"

	"conanproxy/internal/blob"
	"conanproxy/internal/index"
)

// Kind says what is wrong with a blob.
type Kind string

// The kinds of findings.
const (
	Damaged Kind = "damaged"  // the bytes do not have their digest
	Missing Kind = "missing"  // the index names it, the disk lacks it
	Orphan  Kind = "orphaned" // the disk has it, the index does not know it
)

// Finding is one blob that is not as it should be.
type Finding struct {
	Kind   Kind
	Digest blob.Digest
	Size   int64           // as recorded; of an orphan, as found
	Files  []index.FileRow // that name it
	// Healed tells that every file has its bytes again, or that the orphan was set aside. It stays
	// false without Repair.
	Healed bool
	// Trouble says why it could not be healed; empty if it was not tried.
	Trouble string
}

// Blobs is a store whose blobs can be read again and set aside.
type Blobs interface {
	blob.Store
	// Verify reads a blob again and tells whether its bytes still have its digest; a missing one is
	// blob.ErrNotFound. wait, if not nil, is called with the number of bytes before they are read.
	Verify(ctx context.Context, d blob.Digest, wait func(context.Context, int) error) (bool, error)
	// SetAside ends that a blob is served; a missing one is blob.ErrNotFound. The store may have it
	// again at once, from another copy.
	SetAside(ctx context.Context, d blob.Digest, why blob.Aside) error
	// TakeBack has the store serve a blob again that was set aside and is intact, and tells whether
	// it has the blob now.
	TakeBack(ctx context.Context, d blob.Digest) (bool, error)
}

// Options of Check, Orphans and Run.
type Options struct {
	Index *index.DB
	Blobs Blobs
	// Repair sets damaged and orphaned blobs aside, takes back what was set aside and is intact,
	// drops the cached files that name a damaged or missing one, and fetches them again. It deletes
	// nothing.
	Repair bool
	// Fetch gets one file again from an upstream that has it; nil: nothing is fetched.
	Fetch func(context.Context, index.FileRow) error
	// Wait is called before that many bytes are read; nil: as fast as possible.
	Wait func(context.Context, int) error
	// Found is called for every finding, in order.
	Found func(Finding)
}

// Summary counts what one Check looked at and found.
type Summary struct {
	Blobs, Bytes             int64
	Damaged, Missing, Orphan int
	Unhealed                 int
}

// Check looks at every blob of the index and then at every blob on disk. Without Repair it changes
// nothing. The server must be stopped: what it is writing would look like orphans.
func Check(ctx context.Context, o Options) (Summary, error) {
	var s Summary
	report := func(f Finding) {
		s.count(f)
		if o.Found != nil {
			o.Found(f)
		}
	}
	err := o.Index.EachBlob(ctx, func(row index.BlobRow) error {
		s.Blobs++
		s.Bytes += row.Size
		finding, err := one(ctx, o, row)
		if finding != nil && err == nil {
			report(*finding)
		}
		return err
	})
	if err == nil {
		err = orphans(ctx, o, report)
	}
	return s, err
}

func (s *Summary) count(f Finding) {
	switch f.Kind {
	case Damaged:
		s.Damaged++
	case Missing:
		s.Missing++
	case Orphan:
		s.Orphan++
	}
	if !f.Healed {
		s.Unhealed++
	}
}

// one checks one blob; a good one is nil.
func one(ctx context.Context, o Options, row index.BlobRow) (*Finding, error) {
	digest := blob.Digest(row.SHA256)
	if o.Wait != nil {
		const looking = 4 << 10 // what a look at a file costs, also at one that is not there
		if err := o.Wait(ctx, looking); err != nil {
			return nil, err
		}
	}
	good, err := o.Blobs.Verify(ctx, digest, o.Wait)
	kind := Damaged
	switch {
	case errors.Is(err, blob.ErrNotFound):
		kind = Missing
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, blob.ErrUnavailable):
		return nil, err // it says nothing about the blob
	case err == nil && good:
		return nil, nil
	}
	files, err := o.Index.FilesOf(ctx, row.SHA256)
	if err != nil {
		return nil, err
	}
	if kind == Missing && len(files) == 0 {
		return nil, nil // garbage that is being deleted
	}
	f := &Finding{Kind: kind, Digest: digest, Size: row.Size, Files: files}
	if o.Repair {
		heal(ctx, o, f)
	}
	return f, ctx.Err()
}

// heal sets the blob aside. Unless the store has it then, heal drops the cached files that name it
// and fetches every file again.
func heal(ctx context.Context, o Options, f *Finding) {
	if err := o.Blobs.SetAside(ctx, f.Digest, blob.Damaged); err != nil && !errors.Is(err, blob.ErrNotFound) {
		f.Trouble = err.Error()
		return
	}
	back, err := o.Blobs.TakeBack(ctx, f.Digest)
	if err != nil {
		f.Trouble = err.Error()
		return
	}
	if back {
		f.Healed = true // from another copy, or what was set aside is intact
		return
	}
	if err := o.Index.DropCachedFiles(ctx, string(f.Digest)); err != nil {
		f.Trouble = err.Error()
		return
	}
	for _, file := range f.Files {
		if o.Fetch == nil {
			if file.Member.Kind == index.KindStore {
				f.Trouble = fmt.Sprintf("%s of %s was published here: upload it again", file.Name, file.Revision)
			}
			continue
		}
		err := o.Fetch(ctx, file)
		if err == nil && file.Member.Kind == index.KindStore {
			_, err = o.Blobs.Stat(ctx, f.Digest) // a published revision needs these very bytes
		}
		if err != nil {
			f.Trouble = fmt.Sprintf("%s of %s: %v", file.Name, file.Revision, err)
		}
	}
	f.Healed = f.Trouble == ""
}

// Orphans looks at every blob on disk and reports those that the index does not know; with Repair
// they are set aside. The server must be stopped.
func Orphans(ctx context.Context, o Options) error {
	found := o.Found
	if found == nil {
		found = func(Finding) {}
	}
	return orphans(ctx, o, found)
}

// orphans finds blobs on disk that the index does not know.
func orphans(ctx context.Context, o Options, report func(Finding)) error {
	return o.Blobs.Walk(ctx, func(d blob.Digest, size int64) error {
		known, err := o.Index.HasBlob(ctx, string(d))
		if err != nil || known {
			return err
		}
		f := Finding{Kind: Orphan, Digest: d, Size: size}
		if o.Repair {
			err := o.Blobs.SetAside(ctx, d, blob.Orphaned)
			f.Healed = err == nil
			if err != nil {
				f.Trouble = err.Error()
			}
		}
		report(f)
		return nil
	})
}
