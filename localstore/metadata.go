package localstore

import (
	"context"
	"errors"
	"fmt"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// prepareMetadata looks where a metadata file of a pinned revision can go that is neither published
// here nor being uploaded. A client that sees the revision through this server sends nothing but
// the metadata: a recipe of upstream is adopted first; that of a package would stay in a stage that
// nothing ever publishes, and is refused.
func (s *Store) prepareMetadata(ctx context.Context, st index.Stage, name string, by conan.Actor) error {
	if !conan.IsMetadata(name) || !st.Pinned() || len(st.Files) > 0 || s.upstream == nil {
		return nil
	}
	_, err := s.index.Find(ctx, s.member, st.Revision)
	if !errors.Is(err, conan.ErrNotFound) {
		return err
	}
	_, err = s.upstream(by).Snapshot(ctx, st.Revision)
	if conan.IsAbsent(err) {
		return nil // no upstream may be asked, so it is no upstream's
	}
	if err != nil {
		return err
	}
	if st.IsPackage() {
		return fmt.Errorf("%w: %s is only upstream, and metadata cannot be added to it there", conan.ErrNotFound, st.Revision)
	}
	return s.adoptWatched(ctx, st.Revision, by)
}
