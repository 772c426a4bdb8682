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

// adopt makes a copy of an upstream's recipe revision, so that a package published here has its
// recipe here. What the uploader may not read upstream is not there. Bytes that a cache holds are
// shared. It does not make the store the owner of the reference: upstream's time is kept.
func (s *Store) adopt(ctx context.Context, recipe conan.Revision, by conan.Actor) error {
	if s.upstream == nil || recipe.Mutable() {
		return recipeNotFound(recipe)
	}
	_, err, _ := s.adoptions.Do(s.derivedID("adopt", recipe, by.Name), func() (any, error) {
		return nil, s.adoptOnce(ctx, recipe, by)
	})
	return err
}

// adoptWatched adopts for a request, which does not wait longer than for a check. The adoption goes
// on without it.
func (s *Store) adoptWatched(ctx context.Context, recipe conan.Revision, by conan.Actor) error {
	var err error
	done := make(chan struct{})
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errStopping
	}
	s.busy.Go(func() {
		defer close(done)
		err = s.adopt(s.ctx, recipe, by)
	})
	s.mu.Unlock()
	if err := s.wait(ctx, done); err != nil {
		return err
	}
	return err
}

func (s *Store) adoptOnce(ctx context.Context, recipe conan.Revision, by conan.Actor) error {
	upstream := s.upstream(by)
	list, err := upstream.Snapshot(ctx, recipe)
	if err != nil {
		return recipeError(recipe, err)
	}
	published, err := s.upstreamTime(ctx, upstream, recipe)
	if err != nil {
		return err
	}
	st := index.Stage{Member: s.member, ID: s.derivedID("adopt", recipe, by.Name), Revision: recipe, Touched: s.now()}
	var got conan.Snapshot
	for _, f := range list.Value {
		if conan.CheckFileName(f.Name, false) != nil {
			continue
		}
		info, err := s.fetch(ctx, upstream, st, f.Name)
		if errors.Is(err, conan.ErrNotFound) && conan.IsMetadata(f.Name) {
			continue
		}
		if err != nil {
			return fmt.Errorf("fetch %s of %s from upstream: %w", f.Name, recipe, err)
		}
		got = append(got, info)
	}
	got.Sort()
	if err := s.checkAdopted(ctx, recipe, got); err != nil {
		return err
	}
	if err := s.blobs.Sync(ctx, digests(got)...); err != nil {
		return fmt.Errorf("adopt %s: %w", recipe, err)
	}
	if err := s.index.Adopt(ctx, s.member, st.ID, recipe, published, sums(got)); err != nil {
		return fmt.Errorf("adopt %s: %w", recipe, err)
	}
	s.metrics.adopted.WithLabelValues(s.name).Inc()
	s.log.Info("adopted a recipe of upstream", zap.Stringer("reference", recipe))
	return nil
}

// upstreamTime is when upstream published the revision; a revision that upstream does not list gets
// the present time.
func (s *Store) upstreamTime(ctx context.Context, upstream conan.Source, recipe conan.Revision) (time.Time, error) {
	list, err := upstream.Revisions(ctx, conan.Revision{Ref: recipe.Ref})
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return time.Time{}, err
	}
	for _, r := range list.Value {
		if r.ID == recipe.RRev {
			return r.Time, nil
		}
	}
	return s.now(), nil
}

// fetch puts one file of upstream into a stage: by its digest if the blob store has the bytes
// already, as a cache over the same store will have seen to, else by a copy.
func (s *Store) fetch(ctx context.Context, upstream conan.Source, st index.Stage, name string) (conan.FileInfo, error) {
	f, err := openVerified(ctx, upstream, st.Revision, name)
	if err != nil {
		return conan.FileInfo{}, err
	}
	defer f.Close()
	info := f.FileInfo
	info.Name = name
	if info.SHA256 != "" && info.SHA1 != "" && info.MD5 != "" && info.Size >= 0 {
		err := s.keep(ctx, st, info)
		if !errors.Is(err, blob.ErrNotFound) {
			return info, err
		}
	}
	info, err = s.receive(ctx, st, name, f, nil)
	if errors.Is(err, errOtherDigest) {
		return info, &conan.UnavailableError{Member: "upstream", Reason: err.Error()}
	}
	return info, err
}

func openVerified(ctx context.Context, upstream conan.Source, rev conan.Revision, name string) (*conan.File, error) {
	a, err := upstream.Open(ctx, rev, name)
	if err != nil || a.Value.Verified() {
		return a.Value, err
	}
	defer a.Value.Close()
	return a.Value.Wait(ctx)
}

// checkAdopted refuses a recipe that upstream itself does not have whole, or whose manifest is that
// of another revision.
func (s *Store) checkAdopted(ctx context.Context, recipe conan.Revision, files conan.Snapshot) error {
	o, err := s.outlineOf(ctx, files)
	if errors.Is(err, conan.ErrInvalid) {
		return fmt.Errorf("%w: upstream's manifest of %s is damaged: %v", conan.ErrConflict, recipe, err)
	}
	if err != nil {
		return err
	}
	if o == nil {
		return recipeNotFound(recipe)
	}
	if conan.IsMD5(recipe.RRev) && o.Summary != recipe.RRev {
		return fmt.Errorf("%w: upstream's manifest of %s gives the revision %s", conan.ErrConflict, recipe, o.Summary)
	}
	if missing := o.Missing(files, false); len(missing) > 0 {
		return fmt.Errorf("%w: upstream's recipe %s lacks %v", conan.ErrIncomplete, recipe, missing)
	}
	return nil
}
