package localstore

import (
	"context"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// maxUses is the number of revisions whose uses are written without waiting for WriteUses.
const maxUses = 1 << 15

// uses are the last uses that the index does not know yet.
type uses struct {
	writing sync.Mutex // one write at a time

	mu     sync.Mutex
	noted  map[conan.Revision]time.Time
	leaves map[conan.Revision]time.Time // being written
}

// Used notes that the files of a pinned revision were listed or asked for.
func (s *Store) Used(rev conan.Revision) {
	now := s.now()
	s.uses.mu.Lock()
	before := len(s.uses.noted)
	s.uses.noted[rev] = now
	full := before < maxUses && len(s.uses.noted) == maxUses
	s.uses.mu.Unlock()
	if !full {
		return
	}
	if err := s.WriteUses(context.Background()); err != nil {
		s.log.Warn("uses are not written yet", zap.Error(err))
	}
}

// WriteUses writes the uses that were noted so far. After an error they are kept for the next call.
func (s *Store) WriteUses(ctx context.Context) error {
	u := &s.uses
	u.writing.Lock()
	defer u.writing.Unlock()
	u.mu.Lock()
	u.leaves, u.noted = u.noted, make(map[conan.Revision]time.Time)
	u.mu.Unlock()
	err := s.index.Used(ctx, s.member, u.leaves)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		maps.Copy(u.leaves, u.noted) // later ones win
		u.noted = u.leaves
	}
	u.leaves = nil
	return err
}

// unwritten is the last use of a revision that the index does not know yet; zero if there is none.
func (u *uses) unwritten(rev conan.Revision) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at, ok := u.noted[rev]; ok {
		return at
	}
	return u.leaves[rev]
}
