package localstore

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// candidate is what a stage would become.
type candidate struct {
	stage    index.Stage
	files    map[string]conan.FileInfo // what was sent, metadata left out; then also what is taken over
	rows     map[string]string         // every row of the stage but metadata: name → sha256
	takeover []string                  // names taken over from the base revision

	manifestFile conan.FileInfo
	outline      *conan.Outline // of the manifest
	rev          conan.Revision // pinned, once identify has run
	info         *string        // conaninfo.txt of a package
	existing     conan.Snapshot // of the revision if it is published already, metadata left out
	replaced     []replacement  // of the existing files
	checked      bool           // the contents are right
}

// readStage reads a stage. Of a declared one only the declared names count: other rows were taken
// over by an earlier attempt.
func (s *Store) readStage(ctx context.Context, id string) (*candidate, error) {
	st, err := s.index.Stage(ctx, id)
	if err != nil {
		return nil, err
	}
	c := &candidate{stage: st, files: make(map[string]conan.FileInfo), rows: make(map[string]string)}
	for _, f := range st.Files {
		if conan.IsMetadata(f.Name) {
			continue
		}
		c.rows[f.Name] = f.SHA256
		if _, declared := st.Declared[f.Name]; declared || st.Declared == nil {
			c.files[f.Name] = f
		}
	}
	return c, nil
}

// sent maps the names of what was sent to their sha256.
func (c *candidate) sent() map[string]string {
	out := make(map[string]string, len(c.files))
	for name, f := range c.files {
		if !c.takenOver(name) {
			out[name] = f.SHA256
		}
	}
	return out
}

func (c *candidate) takenOver(name string) bool { return slices.Contains(c.takeover, name) }

// validateCandidate completes, checks and publishes.
func (s *Store) validateCandidate(ctx context.Context, c *candidate) error {
	base, err := s.baseFiles(ctx, c)
	if err != nil {
		return err
	}
	if err := s.identify(ctx, c, base); err != nil {
		return err
	}
	if err := s.complete(ctx, c, base); err != nil {
		return err
	}
	if err := s.check(ctx, c); err != nil {
		return err
	}
	c.checked = true
	return s.publish(ctx, c)
}

// baseFiles are those of the revision that the client saw when it declared its set; none if it is
// gone.
func (s *Store) baseFiles(ctx context.Context, c *candidate) (conan.Snapshot, error) {
	if c.stage.Base.RRev == "" {
		return nil, nil
	}
	return s.index.Files(ctx, s.member, c.stage.Base)
}

// identify reads the manifest, and the conaninfo.txt of a package, and pins the revision.
func (s *Store) identify(ctx context.Context, c *candidate, base conan.Snapshot) error {
	if _, ok := c.files[conan.ManifestFile]; !ok {
		if err := s.takeOver(ctx, c, base, conan.ManifestFile); err != nil {
			return err
		}
	}
	c.manifestFile = c.files[conan.ManifestFile]
	outline, err := s.outlineOf(ctx, conan.Snapshot{c.manifestFile})
	if err != nil {
		return fmt.Errorf("%s: %w", c.stage.Revision, err)
	}
	c.outline = outline
	c.rev = c.stage.Revision
	if c.rev.IsPackage() {
		err = s.identifyPackage(ctx, c, base)
	} else {
		err = c.identifyRecipe()
	}
	if err != nil {
		return err
	}
	return s.findExisting(ctx, c)
}

func (c *candidate) identifyRecipe() error {
	sum := c.outline.Summary
	if c.rev.RRev == "" {
		c.rev.RRev = sum
	}
	if conan.IsMD5(c.rev.RRev) && c.rev.RRev != sum {
		return fmt.Errorf("%w: the manifest of %s gives the recipe revision %s", conan.ErrInvalid, c.rev, sum)
	}
	return nil
}

func (s *Store) identifyPackage(ctx context.Context, c *candidate, base conan.Snapshot) error {
	sum := c.outline.Summary
	if c.rev.PRev != "" && c.rev.PRev != sum {
		return fmt.Errorf("%w: the manifest of %s gives the package revision %s", conan.ErrInvalid, c.rev, sum)
	}
	c.rev.PRev = sum
	if err := s.readInfo(ctx, c, base); err != nil {
		return err
	}
	if c.rev.RRev != "" {
		return nil
	}
	if c.info == nil {
		return c.incomplete([]string{conan.InfoFile})
	}
	recipe, err := s.recipeOf(ctx, c.rev, conan.ParseInfo(*c.info).RecipeHash, c.by())
	c.rev.RRev = recipe
	return err
}

// readInfo reads the conaninfo.txt that was sent, or that of the base revision if the manifest
// means the same one.
func (s *Store) readInfo(ctx context.Context, c *candidate, base conan.Snapshot) error {
	info, ok := c.files[conan.InfoFile]
	if !ok {
		info, ok = base.Find(conan.InfoFile)
		if !ok || info.MD5 != c.outline.Small[conan.InfoFile] {
			return nil
		}
	}
	text, err := s.readSmall(ctx, info, maxInfoSize)
	if err != nil {
		return err
	}
	whole := string(text)
	c.info = &whole
	return nil
}

// findExisting looks whether the revision is published. Its manifest must then mean the same files:
// that is so for hashes, and must be looked at for revisions that come from a source control
// system.
func (s *Store) findExisting(ctx context.Context, c *candidate) error {
	files, err := s.index.Files(ctx, s.member, c.rev)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !conan.IsMetadata(f.Name) {
			c.existing = append(c.existing, f)
		}
	}
	if len(files) == 0 || c.rev.IsPackage() || conan.IsMD5(c.rev.RRev) {
		return nil
	}
	published, err := s.outlineOf(ctx, files)
	if err != nil {
		return err
	}
	if published == nil || published.Summary != c.outline.Summary {
		return fmt.Errorf("%w: %s is published with another manifest, and a revision keeps its own", conan.ErrConflict, c.rev)
	}
	return nil
}

// complete drops and adds until the set is what the manifest implies, or says what is missing.
func (s *Store) complete(ctx context.Context, c *candidate, base conan.Snapshot) error {
	if c.stage.Declared == nil && c.stage.RRev == "" {
		c.dropLeftovers()
	}
	for _, missing := range c.outline.Missing(c.whole(), c.rev.IsPackage()) {
		if err := s.takeOver(ctx, c, base, missing); err != nil && !errors.Is(err, conan.ErrIncomplete) {
			return err
		}
	}
	if missing := c.outline.Missing(c.whole(), c.rev.IsPackage()); len(missing) > 0 {
		return c.incomplete(missing)
	}
	kinds := make(map[string]string)
	for _, f := range c.whole() {
		kind := archiveKind(f.Name)
		if other := kinds[kind]; kind != "" && other != "" {
			return twoArchives(c.rev, other, f.Name)
		}
		kinds[kind] = f.Name
	}
	return nil
}

// dropLeftovers forgets archives that the manifest does not imply: a set that is not bound to a
// revision may hold what an earlier upload of another content left behind.
func (c *candidate) dropLeftovers() {
	if c.rev.IsPackage() {
		return
	}
	for name := range c.files {
		if archiveKind(name) == conan.ExportPrefix && !c.outline.Export || archiveKind(name) == conan.SourcesPrefix && !c.outline.Sources {
			delete(c.files, name)
		}
	}
}

// whole is what the revision would have: what was sent or taken over, and what it has already.
func (c *candidate) whole() conan.Snapshot {
	var out conan.Snapshot
	for _, f := range c.files {
		out = append(out, f)
	}
	for _, f := range c.existing {
		if _, sent := findFile(out, f.Name); !sent {
			out = append(out, f)
		}
	}
	out.Sort()
	return out
}

func (c *candidate) incomplete(missing []string) error {
	return fmt.Errorf("%w: the upload of %s lacks %s", conan.ErrIncomplete, c.stage.Revision, strings.Join(missing, ", "))
}

// takeOver adds a file of the base revision to the stage, so that its bytes are held: an archive of
// any compression, or another file if its md5 is the manifest's.
func (s *Store) takeOver(ctx context.Context, c *candidate, base conan.Snapshot, name string) error {
	info, ok := findFile(base, name)
	if !ok {
		return c.incomplete([]string{name})
	}
	if c.outline != nil && !conan.IsArchive(info.Name) && c.outline.Small[info.Name] != info.MD5 {
		return c.incomplete([]string{name})
	}
	st := c.stage
	st.Touched = s.now()
	err := s.blobs.Keep(ctx, blob.Digest(info.SHA256), func() error {
		_, err := s.index.PutStaged(ctx, st, index.StagedFile{FileInfo: info})
		return err
	})
	if errors.Is(err, blob.ErrNotFound) {
		return c.incomplete([]string{name})
	}
	if err != nil {
		return err
	}
	c.files[info.Name] = info
	c.rows[info.Name] = info.SHA256
	c.takeover = append(c.takeover, info.Name)
	return nil
}

// findFile finds a file by name, an archive by its kind.
func findFile(files conan.Snapshot, name string) (conan.FileInfo, bool) {
	for _, f := range files {
		if f.Name == name || archiveKind(name) != "" && archiveKind(f.Name) == archiveKind(name) {
			return f, true
		}
	}
	return conan.FileInfo{}, false
}

// readSmall reads a stored file of at most limit bytes.
func (s *Store) readSmall(ctx context.Context, info conan.FileInfo, limit int64) ([]byte, error) {
	if info.Size > limit {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", conan.ErrInvalid, info.Name, limit)
	}
	r, err := s.blobs.Open(ctx, blob.Digest(info.SHA256))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", info.Name, err)
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", info.Name, err)
	}
	return text, nil
}

// checkPackageID compares the id of a Conan 2 package with its conaninfo.txt, of which it is the
// sha1. The ids of Conan 1, which leaves its marks in the file, follow from more than the file and
// are not looked at.
func (c *candidate) checkPackageID() error {
	if c.info == nil || conan.IsConan1Info(*c.info) {
		return nil
	}
	sum := sha1.Sum([]byte(*c.info))
	if id := hex.EncodeToString(sum[:]); id != c.rev.PackageID {
		return fmt.Errorf("%w: the %s of %s gives the package id %s", conan.ErrInvalid, conan.InfoFile, c.rev, id)
	}
	return nil
}
