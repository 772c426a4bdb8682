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

// HidesInForce has load called after each commit that changes hides, before the feed tells of it
// and before the write returns. Call it once, right after Open.
func (db *DB) HidesInForce(load func() error) { db.reloadHides = load }

// changeHides is update for a write that changes hides. They are in force, and answers about their
// references are forgotten, when it returns.
func (db *DB) changeHides(ctx context.Context, hides []Hide, fn func(context.Context, *transaction) error) error {
	after := func() error {
		var err error
		if db.reloadHides != nil {
			err = db.reloadHides()
		}
		for _, h := range hides {
			db.changes.ChangedRef(h.Ref)
			db.changes.ChangedNames(h.Ref)
		}
		return err
	}
	return db.enqueue(&write{ctx: ctx, fn: fn, durable: true, after: after, done: make(chan error, 1)})
}

// Hide records hides, all or nothing, each with its audit line; one that is there already gets the
// new reason.
func (db *DB) Hide(ctx context.Context, hides []Hide, by conan.Actor, now time.Time) error {
	return db.changeHides(ctx, hides, func(ctx context.Context, tx *transaction) error {
		for _, h := range hides {
			_, err := tx.ExecContext(ctx, `INSERT INTO hides (member, view, ref, rrev, package_id, prev, reason, usr, time)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (member, view, ref, rrev, package_id, prev)
				DO UPDATE SET reason = excluded.reason, usr = excluded.usr, time = excluded.time`,
				h.Member, h.View, h.Ref.String(), h.RRev, h.PackageID, h.PRev, h.Reason, by.Name, now.UnixMicro())
			if err != nil {
				return fmt.Errorf("hide %s: %w", h.Revision, err)
			}
			if err := h.tell(ctx, tx, ActionHide, FeedHidden, by, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Unhide removes hides, all or nothing, each with its audit line; conan.ErrNotFound if one is not
// there.
func (db *DB) Unhide(ctx context.Context, hides []Hide, by conan.Actor, now time.Time) error {
	return db.changeHides(ctx, hides, func(ctx context.Context, tx *transaction) error {
		for _, h := range hides {
			result, err := tx.ExecContext(ctx, `DELETE FROM hides WHERE id = $1`, h.ID)
			if err != nil {
				return fmt.Errorf("unhide %s: %w", h.Revision, err)
			}
			if n, err := result.RowsAffected(); err != nil || n == 0 {
				return errors.Join(err, fmt.Errorf("hide %d: %w", h.ID, conan.ErrNotFound))
			}
			if err := h.tell(ctx, tx, ActionUnhide, FeedShown, by, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// tell writes the lines of the audit and of the feed.
func (h Hide) tell(ctx context.Context, tx *transaction, action Action, fed FeedAction, by conan.Actor, now time.Time) error {
	if err := writeAudit(ctx, tx, h.audit(action, by), now); err != nil {
		return err
	}
	return writeFeed(ctx, tx, FeedLine{Time: now, Member: h.Member, View: h.View, Revision: h.Revision, Action: fed})
}

func (h Hide) audit(action Action, by conan.Actor) Audit {
	target := h.Revision.String()
	if h.View != "" {
		target += " in view " + h.View
	}
	return Audit{By: by, Action: action, Member: h.Member, Target: target + ": " + h.Reason}
}
