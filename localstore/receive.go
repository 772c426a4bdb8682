package localstore

import (
	"context"
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

// receive copies a file of a member, or of another place of that name, into a stage. Its bytes are
// staged, so they are synced before they are relied on.
func (s *Store) receive(ctx context.Context, st index.Stage, name, member string, f *conan.File) (conan.FileInfo, error) {
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
	if f.Size >= 0 {
		_, err = io.Copy(leased{w, lease}, &contextReader{ctx: ctx, r: f})
	} else {
		_, err = copyGrowing(ctx, leased{w, lease}, lease, f)
	}
	if err != nil {
		return conan.FileInfo{}, fmt.Errorf("copy %s of %s: %w", name, st.Revision, err)
	}
	copied := index.FileInfo(name, w.Sums())
	if otherDigest(f.FileInfo, copied) || f.Size >= 0 && f.Size != copied.Size {
		return conan.FileInfo{}, &conan.UnavailableError{Member: member, Reason: name + " does not have the digest it should have"}
	}
	store := w.Stage
	if conan.IsMetadata(name) {
		store = w.Commit
	}
	return copied, store(ctx, func(blob.Sums) error {
		_, err := s.index.PutStaged(ctx, st, index.StagedFile{FileInfo: copied})
		return err
	})
}

// otherDigest tells whether a digest that is known of two files differs.
func otherDigest(a, b conan.FileInfo) bool {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	return differ(a.SHA256, b.SHA256) || differ(a.SHA1, b.SHA1) || differ(a.MD5, b.MD5)
}
