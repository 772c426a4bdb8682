package localstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// maxKeptList bounds the text of a list of members that waits in the index for its manifest; a
// longer one is made again from the bytes.
const maxKeptList = 4 << 20

// keptList closes the list of an archive that has arrived and returns it as text. A list that was
// given up, is not ready after the timeout, or is too long to be kept, is empty: it is made again
// from the bytes when it is needed.
func keptList(lister *conan.ArchiveLister, timeout time.Duration) (string, error) {
	if err := lister.Close(); err != nil {
		return "", err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-lister.Done():
	case <-timer.C:
		return "", nil
	}
	list, err := lister.List()
	if err != nil || list == nil || list.TextSize() > maxKeptList {
		return "", err
	}
	text, err := list.MarshalText()
	if err != nil {
		return "", fmt.Errorf("keep the list of an archive: %w", err)
	}
	return string(text), nil
}

// compareContents compares the contents of a complete candidate with its manifest, and its archives
// with those that they would replace.
func (s *Store) compareContents(ctx context.Context, c *candidate) error {
	if c.rev.IsPackage() {
		if err := c.checkPackageID(); err != nil {
			return err
		}
	}
	small := make(map[string]string)
	for _, f := range c.whole() {
		if f.Name == conan.RecipeFile || f.Name == conan.InfoFile {
			small[f.Name] = f.MD5
		}
	}
	if c.unchanged() {
		return c.checkSmall(small)
	}
	k := s.checks.Begin(ctx)
	defer k.End()
	m, err := s.readManifest(ctx, k, c.manifestFile)
	if err != nil {
		return err
	}
	archives, err := s.listArchives(ctx, k, c)
	if err != nil {
		return err
	}
	extra, err := k.CompareRevision(m, c.rev.IsPackage(), archives, small)
	if err != nil {
		return c.wrongContents(err)
	}
	if extra != "" {
		s.log.Warn("an upload has files that its manifest lacks", zap.Stringer("reference", c.rev),
			zap.String("user", c.stage.Uploader), zap.String("files", extra))
	}
	return s.findReplaced(ctx, k, c, archives)
}

// wrongContents is the error of contents that differ from the manifest.
func (c *candidate) wrongContents(err error) error {
	if len(c.takeover) > 0 && errors.Is(err, conan.ErrInvalid) {
		return fmt.Errorf("%w: %s of %s was not sent, and that of the revision before does not fit: %v",
			conan.ErrIncomplete, strings.Join(c.takeover, ", "), c.rev, err)
	}
	return fmt.Errorf("%s: %w", c.rev, err)
}

// listArchives lists every archive that the revision would have.
func (s *Store) listArchives(ctx context.Context, k *conan.Check, c *candidate) (map[string]*conan.Listing, error) {
	archives := make(map[string]*conan.Listing)
	for _, f := range c.whole() {
		if !conan.IsArchive(f.Name) {
			continue
		}
		list, err := s.stagedList(ctx, k, c.stage.ID, f)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", f.Name, c.rev, err)
		}
		archives[f.Name] = list
	}
	return archives, nil
}

// unchanged tells whether the revision is published and no archive was sent: its archives were
// checked when they came.
func (c *candidate) unchanged() bool {
	if len(c.existing) == 0 {
		return false
	}
	for name := range c.files {
		if conan.IsArchive(name) {
			return false
		}
	}
	return true
}

func (c *candidate) checkSmall(small map[string]string) error {
	for name, sum := range small {
		if c.outline.Small[name] != sum {
			return fmt.Errorf("%w: %s of %s does not have the md5 that %s says", conan.ErrInvalid, name, c.rev, conan.ManifestFile)
		}
	}
	return nil
}

// stagedList is the list of an archive: the one that was kept, else a new one from the stored
// bytes.
func (s *Store) stagedList(ctx context.Context, k *conan.Check, stage string, f conan.FileInfo) (*conan.Listing, error) {
	kept, err := s.index.StagedMembers(ctx, stage, f.Name, f.SHA256)
	if err != nil {
		return nil, err
	}
	list, err := k.ParseListing(kept)
	if errors.Is(err, conan.ErrInvalid) { // none, or of another version of this program
		return s.list(ctx, k, f)
	}
	return list, err
}

// list lists a stored archive.
func (s *Store) list(ctx context.Context, k *conan.Check, f conan.FileInfo) (*conan.Listing, error) {
	r, err := s.blobs.Open(ctx, blob.Digest(f.SHA256))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return k.List(f.Name, &contextReader{ctx: ctx, r: r})
}

// readManifest reads a stored manifest.
func (s *Store) readManifest(ctx context.Context, k *conan.Check, f conan.FileInfo) (*conan.Manifest, error) {
	r, err := s.blobs.Open(ctx, blob.Digest(f.SHA256))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name, err)
	}
	defer r.Close()
	return k.ReadManifest(r, f.Size)
}

// outlineOf reads the manifest of a set of files; nil without an error if there is none.
func (s *Store) outlineOf(ctx context.Context, files conan.Snapshot) (*conan.Outline, error) {
	f, ok := files.Find(conan.ManifestFile)
	if !ok {
		return nil, nil
	}
	k := s.checks.Begin(ctx)
	defer k.End()
	m, err := s.readManifest(ctx, k, f)
	if err != nil {
		return nil, err
	}
	o := m.Outline()
	return &o, nil
}

// contextReader stops reading when its context is over.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
