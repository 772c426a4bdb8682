package localstore

import "context"

// Abandoned counts what Sweep would remove: uploads that took no file for a day, and packages whose
// recipe never came.
func (s *Store) Abandoned(ctx context.Context) (uploads, packages int, err error) {
	return s.index.Abandoned(ctx, s.now().Add(-abandonedAfter))
}
