package index

import (
	"context"
	"errors"
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

// Hide records hides, all or nothing, each with its audit line; one that is there already gets the
// new reason.
func (db *DB) Hide(ctx context.Context, hides []Hide, by conan.Actor, now time.Time) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		for _, h := range hides {
			_, err := tx.ExecContext(ctx, `INSERT INTO hides (member, view, ref, rrev, package_id, prev, reason, usr, time)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (member, view, ref, rrev, package_id, prev)
				DO UPDATE SET reason = excluded.reason, usr = excluded.usr, time = excluded.time`,
				h.Member, h.View, h.Ref.String(), h.RRev, h.PackageID, h.PRev, h.Reason, by.Name, now.UnixMicro())
			if err != nil {
				return fmt.Errorf("hide %s: %w", h.Revision, err)
			}
			if err := writeAudit(ctx, tx, h.audit(ActionHide, by), now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Unhide removes hides, all or nothing, each with its audit line; conan.ErrNotFound if one is not
// there.
func (db *DB) Unhide(ctx context.Context, hides []Hide, by conan.Actor, now time.Time) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		for _, h := range hides {
			result, err := tx.ExecContext(ctx, `DELETE FROM hides WHERE id = $1`, h.ID)
			if err != nil {
				return fmt.Errorf("unhide %s: %w", h.Revision, err)
			}
			if n, err := result.RowsAffected(); err != nil || n == 0 {
				return errors.Join(err, fmt.Errorf("hide %d: %w", h.ID, conan.ErrNotFound))
			}
			if err := writeAudit(ctx, tx, h.audit(ActionUnhide, by), now); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h Hide) audit(action Action, by conan.Actor) Audit {
	target := h.Revision.String()
	if h.View != "" {
		target += " in view " + h.View
	}
	return Audit{By: by, Action: action, Member: h.Member, Target: target + ": " + h.Reason}
}
