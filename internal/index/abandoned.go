package index

import (
	"context"
	"fmt"
	"time"
)

// Abandoned counts what SweepStages would remove.
func (db *DB) Abandoned(ctx context.Context, before time.Time) (stages, orphans int, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM stages WHERE created < $1),
		(SELECT COUNT(*) FROM revisions p JOIN refs f ON f.id = p.ref_id
		 WHERE f.member = $2 AND p.package_id <> '' AND p.time < $1 AND NOT EXISTS
		 (SELECT 1 FROM revisions r WHERE r.ref_id = p.ref_id AND r.rrev = p.rrev AND r.package_id = ''))`,
		before.UnixMicro(), LocalMember).Scan(&stages, &orphans)
	if err != nil {
		return 0, 0, fmt.Errorf("count abandoned uploads: %w", err)
	}
	return stages, orphans, nil
}
