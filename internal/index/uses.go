package index

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"conanproxy/internal/conan"
)

// Used notes uses of pinned revisions of a store, each at its time. A use of a package is one of
// its recipe too. Revisions that are not there are left out.
func (db *DB) Used(ctx context.Context, member MemberID, uses map[conan.Revision]time.Time) error {
	latest := make(map[conan.Revision]time.Time, len(uses))
	note := func(rev conan.Revision, at time.Time) {
		if at.After(latest[rev]) {
			latest[rev] = at
		}
	}
	for rev, at := range uses {
		note(rev, at)
		note(rev.Recipe(), at)
	}
	const atOnce = 500 // so that other writers do not wait long
	for part := range slices.Chunk(slices.Collect(maps.Keys(latest)), atOnce) {
		err := db.remember(ctx, func(ctx context.Context, tx *transaction) error {
			for _, rev := range part {
				if err := use(ctx, tx, member, rev, latest[rev]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// use notes a use of one revision, if it is there.
func use(ctx context.Context, tx *transaction, member MemberID, rev conan.Revision, at time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE revisions SET last_use = max(last_use, $9) WHERE id = (SELECT r.id`+ofRevision+`)`,
		append(revisionArgs(member, rev), at.UnixMicro())...)
	if err != nil {
		return fmt.Errorf("note a use of %s: %w", rev, err)
	}
	return nil
}

// UsedRevision is a revision of a store with its last use.
type UsedRevision struct {
	Stored
	LastUse  time.Time
	PinnedBy string // the first owner of a pin; empty: it has none
}

// Uses are all revisions of a reference in a store, the last published first.
type Uses struct {
	Revisions []UsedRevision
	Uploading bool // an upload of the reference is under way
}

// UsesOf reads the last uses of a reference.
func (db *DB) UsesOf(ctx context.Context, member MemberID, ref conan.Ref) (Uses, error) {
	return usesOf(ctx, db.read, member, ref)
}

func usesOf(ctx context.Context, q interface {
	queryer
	rowQueryer
}, member MemberID, ref conan.Ref) (u Uses, err error) {
	u.Revisions, err = collect(ctx, q, "read the last uses of "+ref.String(), func(r scanner) (s UsedRevision, err error) {
		var used int64
		s.Stored, err = scanStored(r, &used, &s.PinnedBy)
		s.LastUse = time.UnixMicro(used).UTC()
		return s, err
	}, `SELECT `+storedColumns+`, r.last_use, COALESCE((SELECT p.owner FROM pins p WHERE p.member_id = f.member_id AND p.name = f.name
		AND p.version = f.version AND p.usr = f.usr AND p.channel = f.channel AND p.rrev = r.rrev AND p.package_id = r.package_id
		AND p.prev = r.prev ORDER BY p.id LIMIT 1), '')`+ofRef+` ORDER BY r.time DESC, r.id DESC`, refArgs(member, ref)...)
	if err != nil {
		return u, err
	}
	err = q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM stages WHERE member_id = $1 AND ref = $2)`, member, ref.String()).Scan(&u.Uploading)
	if err != nil {
		return u, fmt.Errorf("look for uploads of %s: %w", ref, err)
	}
	return u, nil
}

// RemoveUnneeded removes those revisions of a reference that decide returns, which is asked in the
// transaction that removes them: nothing is published or used in between. decide must be quick. The
// target of the audit line is what was removed; without that there is no line.
func (db *DB) RemoveUnneeded(ctx context.Context, member MemberID, ref conan.Ref, decide func(Uses) []conan.Revision, o RemoveOptions) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		uses, err := usesOf(ctx, tx, member, ref)
		if err != nil {
			return err
		}
		revs := decide(uses)
		if len(revs) == 0 {
			return nil
		}
		rows := make(map[conan.Revision]int64, len(uses.Revisions))
		for _, s := range uses.Revisions {
			rows[s.Revision] = s.RowID
		}
		ids := make([]int64, len(revs))
		for i, rev := range revs {
			ids[i] = rows[rev]
		}
		o.Audit.Target = Targets(revs)
		return o.remove(ctx, tx, member, ids)
	})
}
