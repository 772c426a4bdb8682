package localstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// publish makes a checked candidate a revision. The recipe of a package is adopted from upstream
// first if need be.
func (s *Store) publish(ctx context.Context, c *candidate) error {
	p := index.Publication{
		Member:  s.member,
		StageID: c.stage.ID, Revision: c.rev, Files: c.added(),
		Staged: c.rows, Existing: sums(c.existing), Info: c.info, Now: s.now(), KeepTime: c.keepTime(),
		Uploader: c.stage.Uploader,
		Audit:    []index.Audit{{By: c.by(), Action: index.ActionPublish, Member: s.name, Target: c.rev.String()}},
	}
	c.overwrite(&p, s.name)
	if c.rev.IsPackage() {
		staged, err := s.requireRecipe(ctx, c)
		if err != nil {
			return err
		}
		p.RecipeStage = staged
	}
	if err := s.blobs.Sync(ctx, digests(p.Files)...); err != nil {
		return fmt.Errorf("store %s: %w", c.rev, err)
	}
	changed, err := s.index.Publish(ctx, p)
	if errors.Is(err, conan.ErrNotFound) {
		return recipeNotFound(c.rev.Recipe())
	}
	if err != nil {
		return err
	}
	if changed {
		s.metrics.published.WithLabelValues(s.name).Inc()
		s.metrics.overwritten.WithLabelValues(s.name).Add(float64(len(c.replaced)))
	}
	s.log.Info("published", zap.Stringer("reference", c.rev), zap.String("user", c.stage.Uploader), zap.Bool("changed", changed))
	return nil
}

// by is who uploads.
func (c *candidate) by() conan.Actor {
	return conan.Actor{Name: c.stage.Uploader, Address: c.stage.Address}
}

// keepTime is how long a known revision keeps its time: jobs that publish at the same time do not
// reorder each other's work. Conan 1 does not know revisions: the client sends what shall be the
// newest.
func (c *candidate) keepTime() time.Duration {
	if c.stage.Pinned() {
		return time.Minute
	}
	return 0
}

// added are the files that the revision gets: all of a new one. One that is published keeps its
// bytes, since archives of the same content may be packed differently.
func (c *candidate) added() []conan.FileInfo {
	var out []conan.FileInfo
	complete := len(c.outline.Missing(c.existing, c.rev.IsPackage())) == 0
	if complete && len(c.existing) > 0 {
		return nil
	}
	for name, f := range c.files {
		if _, there := c.existing.Find(name); !there {
			out = append(out, f)
		}
	}
	return out
}

func digests(files []conan.FileInfo) []blob.Digest {
	var out []blob.Digest
	for _, f := range files {
		out = append(out, blob.Digest(f.SHA256))
	}
	return out
}

func sums(files conan.Snapshot) map[string]string {
	out := make(map[string]string, len(files))
	for _, f := range files {
		out[f.Name] = f.SHA256
	}
	return out
}

// requireRecipe sees to it that the recipe revision of a package is here. While its uploader is
// still uploading it, the id of that stage is returned: the package is published and stays hidden
// until the recipe is.
func (s *Store) requireRecipe(ctx context.Context, c *candidate) (stage string, err error) {
	recipe := c.rev.Recipe()
	_, err = s.index.Find(ctx, s.member, recipe)
	if !errors.Is(err, conan.ErrNotFound) {
		return "", err
	}
	stage = s.setID(recipe, c.stage.Uploader)
	coming, err := s.index.StageExists(ctx, stage)
	if err != nil {
		return "", err
	}
	if coming {
		return stage, nil
	}
	return "", s.adopt(ctx, recipe, c.by())
}

// recipeOf finds the recipe revision that a package without one belongs to: the one whose summary
// hash is recipeHash, here or upstream, else the newest one here, else upstream's newest.
func (s *Store) recipeOf(ctx context.Context, pkg conan.Revision, recipeHash string, by conan.Actor) (rrev string, err error) {
	recipe := conan.Revision{Ref: pkg.Ref}
	stored, err := s.index.Revisions(ctx, s.member, recipe)
	if err != nil {
		return "", err
	}
	for _, r := range stored {
		if same, err := s.hasSummary(ctx, r.Revision, recipeHash); err != nil || same {
			return r.RRev, err
		}
	}
	if conan.IsMD5(recipeHash) && s.upstream != nil {
		recipe.RRev = recipeHash
		_, err := s.upstream(by).Snapshot(ctx, recipe)
		if err == nil {
			return recipeHash, nil
		}
		if !errors.Is(err, conan.ErrNotFound) && len(stored) == 0 {
			return "", err
		}
		recipe.RRev = ""
	}
	if len(stored) > 0 {
		return stored[0].RRev, nil
	}
	if s.upstream == nil {
		return "", recipeNotFound(recipe)
	}
	newest, err := s.upstream(by).Latest(ctx, recipe)
	if err != nil {
		return "", recipeError(recipe, err)
	}
	return newest.Value.ID, nil
}

// hasSummary tells whether the manifest of a recipe revision sums up to hash. The id is the answer,
// unless it comes from a source control system.
func (s *Store) hasSummary(ctx context.Context, recipe conan.Revision, hash string) (bool, error) {
	if hash == "" || conan.IsMD5(recipe.RRev) {
		return recipe.RRev == hash, nil
	}
	files, err := s.index.Files(ctx, s.member, recipe)
	if err != nil {
		return false, err
	}
	o, err := s.outlineOf(ctx, files)
	return o != nil && o.Summary == hash, err
}
