package index

import (
	"context"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// Hide is a revision that is out of sight.
type Hide struct {
	ID     int64
	Member string // of which it is hidden; empty: of all
	View   string // in which it is hidden; empty: in all
	conan.Revision
	Reason string // that clients are shown
	By     string
	Time   time.Time
}

// Hides lists every hide, the oldest first.
func (db *DB) Hides(ctx context.Context) ([]Hide, error) {
	return collect(ctx, db.read, "list hides", func(r scanner) (h Hide, err error) {
		var ref string
		var micros int64
		if err := r.Scan(&h.ID, &h.Member, &h.View, &ref, &h.RRev, &h.PackageID, &h.PRev, &h.Reason, &h.By, &micros); err != nil {
			return h, err
		}
		h.Time = time.UnixMicro(micros).UTC()
		h.Ref, err = conan.ParseRef(ref)
		return h, err
	}, `SELECT id, member, view, ref, rrev, package_id, prev, reason, usr, time FROM hides ORDER BY id`)
}

// Hide records hides, all or nothing, with the audit line; one that is there already gets the new
// reason.
func (db *DB) Hide(ctx context.Context, hides []Hide, audit Audit, now time.Time) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		for _, h := range hides {
			_, err := tx.ExecContext(ctx, `INSERT INTO hides (member, view, ref, rrev, package_id, prev, reason, usr, time)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (member, view, ref, rrev, package_id, prev)
				DO UPDATE SET reason = excluded.reason, usr = excluded.usr, time = excluded.time`,
				h.Member, h.View, h.Ref.String(), h.RRev, h.PackageID, h.PRev, h.Reason, audit.By.Name, now.UnixMicro())
			if err != nil {
				return fmt.Errorf("hide %s: %w", h.Revision, err)
			}
		}
		return writeAudit(ctx, tx, audit, now)
	})
}

// Unhide removes hides by their ids, all or nothing, with the audit line; conan.ErrNotFound if one
// is not there.
func (db *DB) Unhide(ctx context.Context, ids []int64, audit Audit, now time.Time) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		for _, id := range ids {
			result, err := tx.ExecContext(ctx, `DELETE FROM hides WHERE id = $1`, id)
			if err != nil {
				return fmt.Errorf("unhide: %w", err)
			}
			if n, err := result.RowsAffected(); err != nil || n == 0 {
				return fmt.Errorf("hide %d: %w", id, conan.ErrNotFound)
			}
		}
		return writeAudit(ctx, tx, audit, now)
	})
}
