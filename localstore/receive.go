package localstore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// keep puts a file into a stage whose bytes are stored already, else blob.ErrNotFound.
func (s *Store) keep(ctx context.Context, st index.Stage, info conan.FileInfo) error {
	return s.blobs.Keep(ctx, blob.Digest(info.SHA256), func() error {
		_, err := s.index.PutStaged(ctx, st, index.StagedFile{FileInfo: info})
		return err
	})
}

// errOtherDigest is returned by receive for bytes that are not those that were told of.
var errOtherDigest = errors.New("does not have the digest it should have")

// receive copies a file of another place into a stage. Its bytes are staged, so they are synced
// before they are relied on. lister lists an archive on the way, so that a check need not read it
// again; nil: it is not listed.
func (s *Store) receive(ctx context.Context, st index.Stage, name string, f *conan.File, lister *conan.ArchiveLister) (conan.FileInfo, error) {
	lease, err := s.lease(ctx, max(f.Size, 0))
	if err != nil {
		return conan.FileInfo{}, err
	}
	defer lease.Release()
	w, err := s.blobs.Create(ctx)
	if err != nil {
		return conan.FileInfo{}, err
	}
	defer w.Abort()
	var dst io.Writer = leased{w, lease}
	if lister != nil {
		dst = io.MultiWriter(dst, lister)
	}
	if err := copyFile(ctx, dst, lease, f); err != nil {
		return conan.FileInfo{}, fmt.Errorf("copy %s of %s: %w", name, st.Revision, err)
	}
	copied := index.FileInfo(name, w.Sums())
	if otherDigest(f.FileInfo, copied) || f.Size >= 0 && f.Size != copied.Size {
		return conan.FileInfo{}, fmt.Errorf("%s of %s %w", name, st.Revision, errOtherDigest)
	}
	staged := index.StagedFile{FileInfo: copied}
	if lister != nil {
		staged.Members, err = keptList(lister, s.checkTimeout)
		if err != nil && !errors.Is(err, conan.ErrInvalid) { // what is wrong with it is the check's to tell
			return conan.FileInfo{}, fmt.Errorf("%s of %s: %w", name, st.Revision, err)
		}
	}
	store := w.Stage
	if conan.IsMetadata(name) {
		store = w.Commit
	}
	return copied, store(ctx, func(blob.Sums) error {
		_, err := s.index.PutStaged(ctx, st, staged)
		return err
	})
}

// copyFile copies a file, whose size may not be known.
func copyFile(ctx context.Context, dst io.Writer, lease Lease, f *conan.File) (err error) {
	src := &contextReader{ctx: ctx, r: f}
	if f.Size >= 0 {
		_, err = io.Copy(dst, src)
	} else {
		_, err = copyGrowing(ctx, dst, lease, src)
	}
	return err
}

// otherDigest tells whether a digest that is known of two files differs.
func otherDigest(a, b conan.FileInfo) bool {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	return differ(a.SHA256, b.SHA256) || differ(a.SHA1, b.SHA1) || differ(a.MD5, b.MD5)
}
