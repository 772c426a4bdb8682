package localstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Put implements conan.Publisher. The body is read to its end only if it is taken.
func (s *Store) Put(ctx context.Context, up conan.Upload) error {
	return s.refusal(ctx, up, s.put(ctx, up))
}

func (s *Store) put(ctx context.Context, up conan.Upload) error {
	st, err := s.stageOf(ctx, up)
	if errors.Is(err, index.ErrNoStage) {
		return s.putAgain(ctx, up)
	}
	if err != nil {
		return err
	}
	want, err := announced(st, up)
	if err != nil {
		return err
	}
	if err := oneArchive(st, up.Name); err != nil {
		return err
	}
	if err := s.prepareMetadata(ctx, st, up.Name, up.By); err != nil {
		return err
	}
	if err := s.checkQuota(ctx, st.Revision, want); err != nil {
		return err
	}
	lease, err := s.lease(ctx, max(want, 0))
	if err != nil {
		return err
	}
	defer lease.Release()
	w, err := s.blobs.Create(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	defer w.Abort()
	members, err := s.readBody(ctx, w, lease, st, up, want)
	if err != nil {
		return err
	}
	var names []string
	store := w.Stage // what is published is made durable together, before it is published
	if conan.IsMetadata(up.Name) {
		store = w.Commit // may go to a published revision at once
	}
	err = store(ctx, func(sums blob.Sums) (err error) {
		f := index.StagedFile{FileInfo: index.FileInfo(up.Name, sums), Members: members}
		st.Touched = s.now()
		names, err = s.index.PutStaged(ctx, st, f)
		return err
	})
	if err != nil {
		return err
	}
	return s.finish(ctx, st, up.Name, names)
}

// announced is the number of bytes that the upload must have, -1 if that is not known before its
// end.
func announced(st index.Stage, up conan.Upload) (int64, error) {
	want := up.Size
	if size, ok := st.Declared[up.Name]; ok {
		if up.Size >= 0 && up.Size != size {
			return 0, fmt.Errorf("%w: %s of %s has %d bytes, but %d were announced", conan.ErrInvalid, up.Name, st.Revision, up.Size, size)
		}
		want = size
	}
	if want < 0 {
		return -1, nil
	}
	return want, checkSize(st.Revision, up.Name, want)
}

// oneArchive refuses a second archive of a kind in the stage.
func oneArchive(st index.Stage, name string) error {
	kind := archiveKind(name)
	if kind == "" {
		return nil
	}
	for _, f := range st.Files {
		if archiveKind(f.Name) == kind && f.Name != name {
			return twoArchives(st.Revision, f.Name, name)
		}
	}
	return nil
}

// readBody copies the body and validates what can be validated of one file alone. It returns the
// member list of an archive.
func (s *Store) readBody(ctx context.Context, w blob.Writer, lease Lease, st index.Stage, up conan.Upload, want int64) (members string, err error) {
	var dst io.Writer = leased{w, lease}
	var lister *conan.ArchiveLister
	if conan.IsArchive(up.Name) {
		lister = s.checks.NewLister(up.Name)
		defer lister.End()
		dst = io.MultiWriter(dst, lister)
	}
	n, err := s.copyBody(ctx, dst, lease, up, want)
	if err != nil {
		return "", err
	}
	bad := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf("%w: %s of %s "+format, append([]any{conan.ErrInvalid, up.Name, st.Revision}, args...)...)
	}
	if want >= 0 && n != want {
		return bad("is not the %d bytes that were announced", want)
	}
	if err := checkSize(st.Revision, up.Name, n); err != nil {
		return "", err
	}
	if sum := w.Sums().SHA1; up.SHA1 != "" && !strings.EqualFold(up.SHA1, sum) {
		return bad("has the sha1 %s, but X-Checksum-Sha1 says %.64q", sum, up.SHA1)
	}
	if up.Name == conan.ManifestFile {
		return "", s.checkManifest(ctx, st, io.NewSectionReader(w, 0, n))
	}
	if lister == nil {
		return "", nil
	}
	members, err = keptList(lister, s.checkTimeout)
	if err != nil {
		return "", fmt.Errorf("%s: %w", st.Revision, err)
	}
	return members, nil
}

// checkManifest refuses what is no manifest. It waits at most as long as for a check.
func (s *Store) checkManifest(ctx context.Context, st index.Stage, text *io.SectionReader) error {
	waiting, cancel := context.WithTimeoutCause(ctx, s.checkTimeout, errBusy)
	defer cancel()
	k := s.checks.Begin(waiting)
	defer k.End()
	if _, err := k.ReadManifest(text, text.Size()); err != nil {
		return fmt.Errorf("%s: %w", st.Revision, err)
	}
	return nil
}

// copyBody copies at most one byte more than is wanted, or than a file of that name may have.
func (s *Store) copyBody(ctx context.Context, dst io.Writer, lease Lease, up conan.Upload, want int64) (int64, error) {
	body := up.Body
	if body == nil {
		body = bytes.NewReader(nil)
	}
	switch {
	case want >= 0:
		n, err := io.Copy(dst, &bodyReader{ctx: ctx, r: io.LimitReader(body, want+1)})
		return n, bodyError(up, err)
	case up.Name == conan.ManifestFile:
		body = io.LimitReader(body, conan.MaxManifestSize+1)
	case up.Name == conan.InfoFile:
		body = io.LimitReader(body, maxInfoSize+1)
	}
	return copyUnknown(ctx, dst, lease, up, body)
}

// copyUnknown copies a body of unknown length.
func copyUnknown(ctx context.Context, dst io.Writer, lease Lease, up conan.Upload, body io.Reader) (total int64, err error) {
	total, err = copyGrowing(ctx, dst, lease, &bodyReader{ctx: ctx, r: body})
	return total, bodyError(up, err)
}

// copyGrowing copies to the end. Space is leased before the bytes arrive.
func copyGrowing(ctx context.Context, dst io.Writer, lease Lease, src io.Reader) (total int64, err error) {
	const step = 4 << 20
	for {
		if err := lease.Grow(ctx, step); err != nil {
			return total, err
		}
		n, err := io.CopyN(dst, src, step)
		total += n
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// bodyReader tells errors of reading the body from errors of storing it, and stops when the request
// is over.
type bodyReader struct {
	ctx context.Context
	r   io.Reader
}

type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

func (b *bodyReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = &cutError{err}
	}
	return n, err
}

// bodyError makes a body that ended early the client's fault.
func bodyError(up conan.Upload, err error) error {
	var cut *cutError
	if errors.As(err, &cut) {
		return fmt.Errorf("%w: the body of %s of %s was cut short", conan.ErrInvalid, up.Name, up.Revision)
	}
	return err
}

// finish publishes if the file that was just stored completes its set: the manifest of an
// undeclared one, the last name of a declared one. names is what the stage has now; nil if the file
// went to a published revision.
func (s *Store) finish(ctx context.Context, st index.Stage, name string, names []string) error {
	if names == nil {
		return nil
	}
	if st.Declared == nil {
		if name != conan.ManifestFile {
			return nil
		}
		return s.publishStage(ctx, st.ID)
	}
	there := make(map[string]bool, len(names))
	for _, n := range names {
		there[n] = true
	}
	for n := range st.Declared {
		if !there[n] {
			return nil
		}
	}
	return s.publishStage(ctx, st.ID)
}

// putAgain answers a file of a declared set that is over. Bytes that were published with it are
// welcome again, since the answer may have been lost on the way.
func (s *Store) putAgain(ctx context.Context, up conan.Upload) error {
	v, ok := s.outcomes.Get(up.Stage)
	if !ok || v.err != nil {
		return fmt.Errorf("%w: this upload of %s is over or was never announced; run conan upload again", conan.ErrNotFound, up.Revision)
	}
	hash := sha256.New()
	if up.Body != nil {
		if _, err := io.Copy(hash, &bodyReader{ctx: ctx, r: up.Body}); err != nil {
			return bodyError(up, err)
		}
	}
	if v.files[up.Name] != hex.EncodeToString(hash.Sum(nil)) {
		return fmt.Errorf("%w: this upload of %s is published already, with another %s; run conan upload again", conan.ErrConflict, up.Revision, up.Name)
	}
	return nil
}

// CheckSpace implements conan.Publisher. A negative size is an unknown one. Above the quota of the
// store it is conan.ErrDenied: clients show the text and stop, while they retry after other errors.
func (s *Store) CheckSpace(ctx context.Context, size int64) error {
	if err := s.index.CheckQuota(ctx, s.member, size); err != nil {
		return err
	}
	return s.CheckDisk(ctx, size)
}

// CheckDisk is CheckSpace without the quota of the store, for what may be there already: the
// transaction that publishes it tells which bytes are more.
func (s *Store) CheckDisk(ctx context.Context, size int64) error {
	return s.checkSpace(ctx, max(size, 0))
}

// checkQuota refuses a file early that is above the quota, unless its revision is published: then
// its bytes may be there already.
func (s *Store) checkQuota(ctx context.Context, rev conan.Revision, bytes int64) error {
	err := s.index.CheckQuota(ctx, s.member, bytes)
	if !errors.Is(err, conan.ErrDenied) {
		return err
	}
	if _, findErr := s.index.Find(ctx, s.member, rev); !errors.Is(findErr, conan.ErrNotFound) {
		return findErr
	}
	return err
}

// refusal logs and returns the failures that package conan names. Every other error is a failure of
// storing: it is logged here, and the client is told to send the file again.
func (s *Store) refusal(ctx context.Context, up conan.Upload, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return errStopping
	}
	if errors.Is(err, blob.ErrNoSpace) {
		s.log.Error("no space left for an upload", zap.Stringer("reference", up.Revision), zap.String("file", up.Name), zap.Error(err))
		return fmt.Errorf("%w: %s of %s was not stored", conan.ErrNoSpace, up.Name, up.Revision)
	}
	for _, known := range []error{
		conan.ErrNotFound, conan.ErrNotFetched, conan.ErrUnavailable, conan.ErrDenied,
		conan.ErrInvalid, conan.ErrIncomplete, conan.ErrConflict, conan.ErrNoSpace,
	} {
		if errors.Is(err, known) {
			s.logRefusal(up, err)
			return err
		}
	}
	if errors.Is(err, blob.ErrUnavailable) {
		s.logRefusal(up, err)
		return fmt.Errorf("%s of %s was not stored: %w", up.Name, up.Revision, index.Unavailable(err))
	}
	if errors.Is(err, index.ErrNoStage) {
		return fmt.Errorf("%w: %s was removed while %s was being stored; run conan upload again", conan.ErrConflict, up.Revision, up.Name)
	}
	s.log.Error("upload could not be stored", zap.Stringer("reference", up.Revision), zap.String("file", up.Name), zap.Error(err))
	return fmt.Errorf("%w: %s of %s could not be stored; send it again", conan.ErrConflict, up.Name, up.Revision)
}

// logRefusal logs a refused upload. Two refusals are part of normal uploads and left out: a
// checksum deploy of bytes that are not stored, and a check that takes long.
func (s *Store) logRefusal(up conan.Upload, err error) {
	if errors.Is(err, errNotStored) || errors.Is(err, errBusy) {
		return
	}
	s.log.Warn("an upload was refused", zap.Stringer("reference", up.Revision), zap.String("file", up.Name), zap.String("user", up.By.Name), zap.Error(err))
}
