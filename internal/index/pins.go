package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"conanproxy/internal/conan"
)

// Pin is a mark that keeps a revision of a member: of an upstream from eviction, of a store from
// removal. A revision may have several; it is free when the last one goes.
type Pin struct {
	ID     int64
	Member string
	conan.Revision
	Owner string // a user
	Time  time.Time
}

// Pin pins revisions for an owner, all or nothing, with the audit line. It fails with
// conan.ErrNotFound for one that the member does not have. What the owner has pinned already is
// skipped. If this makes PinnedBytes more, fits is asked with the sum in the transaction, which an
// error of it ends; nil: there is no bound. A dry run only tells what would be done.
func (db *DB) Pin(ctx context.Context, member MemberID, revs []conan.Revision, owner string, audit Audit, now time.Time, dry bool, fits func(bytes int64) error) ([]conan.Moved, error) {
	return db.changePins(ctx, revs, audit, now, dry, fits, func(ctx context.Context, tx *transaction, rev conan.Revision) (bool, error) {
		id, err := revisionID(ctx, tx, member, rev)
		if err != nil {
			return false, err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE revisions SET used = $1 WHERE id = $2`, int64(neverCold), id); err != nil {
			return false, err
		}
		return changesRow(tx.ExecContext(ctx, `INSERT INTO pins (member_id, name, version, usr, channel, rrev, package_id, prev, owner, time)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`, append(revisionArgs(member, rev), owner, now.UnixMicro())...))
	})
}

// Unpin ends pins of revisions, of one owner or, if that is empty, of all, with the audit line.
// What has none is skipped. A cached revision without a pin counts as used now. A dry run only
// tells what would be done.
func (db *DB) Unpin(ctx context.Context, member MemberID, revs []conan.Revision, owner string, audit Audit, now time.Time, dry bool) ([]conan.Moved, error) {
	return db.changePins(ctx, revs, audit, now, dry, nil, func(ctx context.Context, tx *transaction, rev conan.Revision) (bool, error) {
		args := revisionArgs(member, rev)
		changed, err := changesRow(tx.ExecContext(ctx, `DELETE FROM pins WHERE`+pinnedRow+` AND ($9 = '' OR owner = $9)`, append(args, owner)...))
		if err != nil || !changed {
			return changed, err
		}
		_, err = tx.ExecContext(ctx, `UPDATE revisions SET used = $9 WHERE id IN (SELECT r.id`+ofRevision+`
			AND EXISTS (SELECT 1 FROM members m WHERE m.id = f.member_id AND m.kind = 'upstream')) AND NOT `+hasPin, append(args, now.UnixMicro())...)
		return true, err
	})
}

// hasPin is the condition under which the revision that revisionArgs names has a pin.
const hasPin = `EXISTS (SELECT 1 FROM pins WHERE` + pinnedRow + `)`

// changesRow tells whether a statement changed a row.
func changesRow(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// changePins calls change for each revision in one transaction, and tells which were changed.
func (db *DB) changePins(ctx context.Context, revs []conan.Revision, audit Audit, now time.Time, dry bool, fits func(int64) error, change func(context.Context, *transaction, conan.Revision) (bool, error)) (out []conan.Moved, err error) {
	err = db.attempt(ctx, dry, func(ctx context.Context, tx *transaction) error {
		out = make([]conan.Moved, len(revs))
		err := withinPins(ctx, tx, fits, func() error {
			for i, rev := range revs {
				changed, err := change(ctx, tx, rev)
				if err != nil {
					return fmt.Errorf("%s of %s: %w", audit.Action, rev, err)
				}
				out[i] = conan.Moved{Revision: rev, Skipped: !changed}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return writeAudit(ctx, tx, audit, now)
	})
	return out, err
}

// withinPins makes a change, and asks fits, unless it is nil, about the pinned bytes if they are
// more than before.
func withinPins(ctx context.Context, tx *transaction, fits func(int64) error, change func() error) error {
	if fits == nil {
		return change()
	}
	before, err := pinnedBytes(ctx, tx)
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	after, err := pinnedBytes(ctx, tx)
	if err != nil || after <= before {
		return err
	}
	return fits(after)
}

const pinColumns = `p.id, m.name, p.name, p.version, p.usr, p.channel, p.rrev, p.package_id, p.prev, p.owner, p.time`

func scanPin(r scanner) (p Pin, err error) {
	var micros int64
	err = r.Scan(&p.ID, &p.Member, &p.Name, &p.Version, &p.User, &p.Channel, &p.RRev, &p.PackageID, &p.PRev, &p.Owner, &micros)
	p.Time = time.UnixMicro(micros).UTC()
	return p, err
}

// Pins lists up to limit pins of a member, the last one first: those with an ID below before, or
// all if it is 0.
func (db *DB) Pins(ctx context.Context, member MemberID, before int64, limit int) ([]Pin, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	return collect(ctx, db.read, "list pins", scanPin, `SELECT `+pinColumns+` FROM pins p JOIN members m ON m.id = p.member_id
		WHERE p.member_id = $1 AND p.id < $2 ORDER BY p.id DESC LIMIT $3`, member, before, limit)
}

// PinsOf lists the pins of the revisions of a reference in a member, the first one first.
func (db *DB) PinsOf(ctx context.Context, member MemberID, ref conan.Ref) ([]Pin, error) {
	return collect(ctx, db.read, "list the pins of "+ref.String(), scanPin, `SELECT `+pinColumns+` FROM pins p JOIN members m ON m.id = p.member_id
		WHERE p.member_id = $1 AND p.name = $2 AND p.version = $3 AND p.usr = $4 AND p.channel = $5 ORDER BY p.id`, refArgs(member, ref)...)
}

// PinRefs lists the references of which a revision in the member has a pin of the owner; an empty
// owner is all.
func (db *DB) PinRefs(ctx context.Context, member MemberID, owner string) ([]conan.Ref, error) {
	return db.refs(ctx, `SELECT DISTINCT name, version, usr, channel FROM pins WHERE member_id = $1 AND ($2 = '' OR owner = $2)`, member, owner)
}

// pinsOfRows joins the rows of revisions r and refs f with their pins p.
const pinsOfRows = ` JOIN pins p ON p.member_id = f.member_id AND p.name = f.name AND p.version = f.version AND p.usr = f.usr
	AND p.channel = f.channel AND p.rrev = r.rrev AND p.package_id = r.package_id AND p.prev = r.prev`

// refusePins is conan.ErrConflict if one of the rows of a store has a pin.
func refusePins(ctx context.Context, tx *transaction, ids []int64) error {
	list, err := json.Marshal(ids)
	if err != nil {
		return fmt.Errorf("look for pins: %w", err)
	}
	pins, err := collect(ctx, tx, "look for pins", func(r scanner) (p Pin, err error) {
		return p, r.Scan(&p.Name, &p.Version, &p.User, &p.Channel, &p.RRev, &p.PackageID, &p.PRev, &p.Owner)
	}, `SELECT p.name, p.version, p.usr, p.channel, p.rrev, p.package_id, p.prev, p.owner
		FROM revisions r JOIN refs f ON f.id = r.ref_id`+pinsOfRows+` WHERE r.id IN `+listed+` LIMIT 1`, string(list))
	if err != nil || len(pins) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s is pinned by %s: unpin it first, or use `conanproxy remove --now`", conan.ErrConflict, pins[0].Revision, pins[0].Owner)
}

// PurgeRevisions deletes rows of an upstream by id as RemoveRevisions does, with their pins or,
// unless pinned is set, without those that have one. It returns how many of these stayed, and the
// size of the blobs that nothing names any more.
func (db *DB) PurgeRevisions(ctx context.Context, ids []int64, pinned bool) (kept int, freed int64, err error) {
	err = db.update(ctx, func(ctx context.Context, tx *transaction) error {
		list, err := json.Marshal(ids)
		if err != nil {
			return fmt.Errorf("purge revisions: %w", err)
		}
		going := ids
		if pinned {
			_, err = tx.ExecContext(ctx, `DELETE FROM pins WHERE id IN (SELECT p.id FROM revisions r JOIN refs f ON f.id = r.ref_id`+pinsOfRows+`
				WHERE r.id IN `+listed+`)`, string(list))
		} else {
			var stay []int64
			stay, err = column[int64](ctx, tx, "purge revisions", `SELECT DISTINCT r.id FROM revisions r JOIN refs f ON f.id = r.ref_id`+pinsOfRows+`
				WHERE r.id IN `+listed, string(list))
			kept = len(stay)
			going = slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return slices.Contains(stay, id) })
		}
		if err != nil {
			return fmt.Errorf("purge revisions: %w", err)
		}
		if freed, err = frees(ctx, tx, going); err != nil {
			return err
		}
		return removeRevisions(ctx, tx, going)
	})
	return kept, freed, err
}

// PinnedBytes is the size of what CachedBytes counts and eviction leaves, since it is pinned.
func (db *DB) PinnedBytes(ctx context.Context) (int64, error) { return pinnedBytes(ctx, db.read) }

func pinnedBytes(ctx context.Context, q rowQueryer) (bytes int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT COALESCE(SUM(size), 0) FROM (SELECT DISTINCT b.sha256, b.size FROM pins
		CROSS JOIN refs f ON f.member_id = pins.member_id AND f.name = pins.name AND f.version = pins.version AND f.usr = pins.usr AND f.channel = pins.channel
		JOIN revisions r ON r.ref_id = f.id AND r.rrev = pins.rrev AND r.package_id = pins.package_id AND r.prev = pins.prev
		JOIN files x ON x.revision_id = r.id JOIN blobs b ON b.sha256 = x.sha256 WHERE b.kept = 0)`).Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("count the pinned bytes: %w", err)
	}
	return bytes, nil
}

// PinAdds tells whether a pin of a revision that has these bytes would add them to PinnedBytes: no
// other one with a pin has them, and no store.
func (db *DB) PinAdds(ctx context.Context, sha256 string) (adds bool, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM blobs WHERE sha256 = $1 AND kept > 0)
		AND NOT EXISTS (SELECT 1 FROM files x JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id`+pinsOfRows+`
		WHERE x.sha256 = $1)`, sha256).Scan(&adds)
	if err != nil {
		return false, fmt.Errorf("look for the pins of bytes: %w", err)
	}
	return adds, nil
}
