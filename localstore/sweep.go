package localstore

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// abandonedAfter is how long a stage may stand without taking a file.
const abandonedAfter = 24 * time.Hour

// Sweep removes uploads that took no file for a day, packages whose recipe never came, and what
// stood in the trash long enough. Their bytes become garbage of the index.
func (s *Store) Sweep(ctx context.Context) error {
	stages, hidden, err := s.index.SweepStages(ctx, s.now().Add(-abandonedAfter))
	if err != nil {
		return fmt.Errorf("sweep abandoned uploads: %w", err)
	}
	if stages+hidden > 0 {
		s.log.Info("swept abandoned uploads", zap.Int("uploads", stages), zap.Int("hidden_packages", hidden))
	}
	return s.sweepTrash(ctx)
}
