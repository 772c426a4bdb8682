package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// keepHistory notes that a revision of a store is visible from now on with a time of publication,
// or that it no longer is if published is nil. One mechanism writes it after every change of a
// store, like the journal.
func keepHistory(ctx context.Context, tx *transaction, member MemberID, rev conan.Revision, published *time.Time, now time.Time) error {
	var id, micros int64
	err := tx.QueryRowContext(ctx, `SELECT id, time FROM history WHERE`+pinnedRow+` AND until IS NULL`, revisionArgs(member, rev)...).Scan(&id, &micros)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("history of %s: %w", rev, err)
	}
	visible := err == nil
	if visible && published != nil && published.UnixMicro() == micros {
		return nil
	}
	if visible {
		if _, err := tx.ExecContext(ctx, `UPDATE history SET until = $2 WHERE id = $1`, id, now.UnixMicro()); err != nil {
			return fmt.Errorf("history of %s: %w", rev, err)
		}
	}
	if published == nil {
		return nil
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO history (member_id, name, version, usr, channel, rrev, package_id, prev, time, since)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, append(revisionArgs(member, rev), published.UnixMicro(), now.UnixMicro())...)
	if err != nil {
		return fmt.Errorf("history of %s: %w", rev, err)
	}
	return nil
}

// pinnedRow is the condition under which a row is of the revision that revisionArgs names.
const pinnedRow = ` member_id = $1 AND name = $2 AND version = $3 AND usr = $4 AND channel = $5
	AND rrev = $6 AND package_id = '' || $7 AND prev = $8`

// forgetHistory deletes the history of a revision if it is neither visible nor in the trash: it is
// shown at no moment any more.
func forgetHistory(ctx context.Context, tx *transaction, member MemberID, rev conan.Revision) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM history WHERE`+pinnedRow+`
		AND NOT EXISTS (SELECT 1 FROM history WHERE`+pinnedRow+` AND until IS NULL)
		AND NOT EXISTS (SELECT 1 FROM trash WHERE`+pinnedRow+`)`, revisionArgs(member, rev)...)
	if err != nil {
		return fmt.Errorf("forget the history of %s: %w", rev, err)
	}
	return nil
}

// visibleAt is the condition under which a row of history says that its revision was visible at the
// moment $1.
const visibleAt = ` h.since <= $1 AND (h.until IS NULL OR h.until > $1)`

// keptAs is a column of the published revision that a row h of history speaks of, or else of the
// copy of it that was removed last. It is NULL if neither is there, so that the bytes are gone.
func keptAs(column string) string {
	const same = ` AND x.rrev = h.rrev AND x.package_id = h.package_id AND x.prev = h.prev`
	return `COALESCE((SELECT x.` + column + ` FROM refs f JOIN revisions x ON x.ref_id = f.id WHERE f.member_id = h.member_id AND f.name = h.name
		AND f.version = h.version AND f.usr = h.usr AND f.channel = h.channel` + same + `), (SELECT x.` + column + ` FROM trash x
		WHERE x.member_id = h.member_id AND x.name = h.name AND x.version = h.version AND x.usr = h.usr AND x.channel = h.channel` + same + `
		ORDER BY x.id DESC LIMIT 1))`
}

// isKept is the condition under which the bytes of a row of history are there.
var isKept = ` AND ` + keptAs("adopted") + ` IS NOT NULL`

// RevisionsAt is Revisions as it was at a moment, without those whose bytes are gone. The rows have
// no RowID.
func (db *DB) RevisionsAt(ctx context.Context, member MemberID, rev conan.Revision, at time.Time) ([]Stored, error) {
	column, siblings, args := `h.rrev`, ` AND h.package_id = ''`, append([]any{at.UnixMicro()}, refArgs(member, rev.Ref)...)
	if rev.IsPackage() {
		column, siblings, args = `h.prev`, ` AND h.rrev = $7 AND h.package_id = $8 AND h.prev <> ''`, append(args, rev.RRev, rev.PackageID)
	}
	return collect(ctx, db.read, "read the history of "+rev.String(), func(r scanner) (s Stored, err error) {
		var id string
		var micros int64
		err = r.Scan(&id, &micros, &s.Adopted)
		s.Revision, s.Time = rev.With(id), time.UnixMicro(micros).UTC()
		return s, err
	}, `SELECT `+column+`, h.time, `+keptAs("adopted")+` FROM history h WHERE`+visibleAt+` AND h.member_id = $2 AND h.name = $3
		AND h.version = $4 AND h.usr = $5 AND h.channel = $6`+siblings+isKept+` ORDER BY h.time DESC, h.id DESC`, args...)
}

// WasVisible tells whether a pinned revision was visible at a moment.
func (db *DB) WasVisible(ctx context.Context, member MemberID, rev conan.Revision, at time.Time) (was bool, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM history h WHERE`+visibleAt+` AND h.member_id = $2 AND h.name = $3
		AND h.version = $4 AND h.usr = $5 AND h.channel = $6 AND h.rrev = $7 AND h.package_id = '' || $8 AND h.prev = $9)`,
		append([]any{at.UnixMicro()}, revisionArgs(member, rev)...)...).Scan(&was)
	if err != nil {
		return false, fmt.Errorf("history of %s: %w", rev, err)
	}
	return was, nil
}

// PackagesAt is Packages as it was at a moment, without those whose bytes are gone.
func (db *DB) PackagesAt(ctx context.Context, member MemberID, recipe conan.Revision, at time.Time, idsOnly bool) ([]conan.Package, error) {
	info := `NULL`
	if !idsOnly {
		info = keptAs("info")
	}
	all, err := collect(ctx, db.read, "read the history of "+recipe.String(), scanPackage, `SELECT h.package_id, `+info+` FROM history h
		WHERE`+visibleAt+` AND h.member_id = $2 AND h.name = $3 AND h.version = $4 AND h.usr = $5 AND h.channel = $6 AND h.rrev = $7
		AND h.package_id <> ''`+isKept+` ORDER BY h.package_id, h.time DESC, h.id DESC`,
		append(append([]any{at.UnixMicro()}, refArgs(member, recipe.Ref)...), recipe.RRev)...)
	return newestOfEach(all), err
}

// RefsAt lists the references of which a store had a recipe revision at a moment, without those
// whose bytes are gone, in no particular order: those whose name in lower case begins with a text.
func (db *DB) RefsAt(ctx context.Context, member MemberID, prefix string, at time.Time) ([]conan.Ref, error) {
	return db.refs(ctx, `SELECT DISTINCT h.name, h.version, h.usr, h.channel FROM history h WHERE`+visibleAt+`
		AND h.member_id = $2 AND h.package_id = '' AND substr(lower(h.name), 1, length($3)) = $3`+isKept, at.UnixMicro(), member, prefix)
}

// TrashedFiles lists the files of the copy of a revision that was removed last; conan.ErrNotFound
// if the trash has none.
func (db *DB) TrashedFiles(ctx context.Context, member MemberID, rev conan.Revision) (conan.Snapshot, error) {
	var id int64
	err := db.read.QueryRowContext(ctx, `SELECT id FROM trash WHERE`+pinnedRow+` ORDER BY id DESC LIMIT 1`, revisionArgs(member, rev)...).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%s in the trash: %w", rev, conan.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s in the trash: %w", rev, err)
	}
	return trashFiles(ctx, db.read, id)
}
