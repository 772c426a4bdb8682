package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"conanproxy/internal/conan"
)

// Trashed is a revision that was removed and can be restored.
type Trashed struct {
	ID      int64
	Removal int64 // what one removal took has its number
	conan.Revision
	Time     time.Time // of publication
	Adopted  bool
	Uploader string
	Removed  time.Time
	By       string  // who removed it
	Info     *string // conaninfo.txt of a package; nil if not known
	Bytes    int64   // of its files
}

// trashRevisions copies rows of a store into the trash, as one removal.
func trashRevisions(ctx context.Context, tx *transaction, member MemberID, ids []int64, by string, now time.Time) error {
	list, err := json.Marshal(ids)
	if err != nil {
		return fmt.Errorf("move to the trash: %w", err)
	}
	var removal int64
	err = tx.QueryRowContext(ctx, `INSERT INTO removals (member_id, time, usr) VALUES ($1, $2, $3) RETURNING id`,
		member, now.UnixMicro(), by).Scan(&removal)
	if err != nil {
		return fmt.Errorf("move to the trash: %w", err)
	}
	for _, q := range []string{
		`INSERT INTO trash (removal_id, member_id, name, version, usr, channel, rrev, package_id, prev, time, adopted, info, uploader)
			SELECT $2, f.member_id, f.name, f.version, f.usr, f.channel, r.rrev, r.package_id, r.prev, r.time, r.adopted, r.info, r.uploader
			FROM revisions r JOIN refs f ON f.id = r.ref_id WHERE r.id IN ` + listed + ` ORDER BY r.id`,
		`INSERT INTO trash_files (trash_id, name, sha256) SELECT t.id, x.name, x.sha256
			FROM revisions r JOIN refs f ON f.id = r.ref_id JOIN files x ON x.revision_id = r.id
			JOIN trash t ON t.removal_id = $2 AND t.name = f.name AND t.version = f.version AND t.usr = f.usr AND t.channel = f.channel
			AND t.rrev = r.rrev AND t.package_id = r.package_id AND t.prev = r.prev
			WHERE r.id IN ` + listed,
	} {
		if _, err := tx.ExecContext(ctx, q, string(list), removal); err != nil {
			return fmt.Errorf("move to the trash: %w", err)
		}
	}
	return nil
}

const trashColumns = `t.id, t.removal_id, t.name, t.version, t.usr, t.channel, t.rrev, t.package_id, t.prev, t.time, t.adopted, t.info, t.uploader, d.time, d.usr,
	(SELECT COALESCE(SUM(b.size), 0) FROM trash_files x JOIN blobs b ON b.sha256 = x.sha256 WHERE x.trash_id = t.id)`

func scanTrashed(r scanner) (t Trashed, err error) {
	var published, removed int64
	err = r.Scan(&t.ID, &t.Removal, &t.Name, &t.Version, &t.User, &t.Channel, &t.RRev, &t.PackageID, &t.PRev,
		&published, &t.Adopted, &t.Info, &t.Uploader, &removed, &t.By, &t.Bytes)
	t.Time, t.Removed = time.UnixMicro(published).UTC(), time.UnixMicro(removed).UTC()
	return t, err
}

// Trash lists up to limit revisions in a store's trash, the last removed first: those with an ID
// below before, or all if it is 0.
func (db *DB) Trash(ctx context.Context, member MemberID, before int64, limit int) ([]Trashed, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	return collect(ctx, db.read, "list the trash", scanTrashed, `SELECT `+trashColumns+` FROM trash t JOIN removals d ON d.id = t.removal_id
		WHERE t.member_id = $1 AND t.id < $2 ORDER BY t.id DESC LIMIT $3`, member, before, limit)
}

// TrashedOf lists what the trash of a store has of a reference, the last removed first.
func (db *DB) TrashedOf(ctx context.Context, member MemberID, ref conan.Ref) ([]Trashed, error) {
	return trashedOf(ctx, db.read, member, ref)
}

func trashedOf(ctx context.Context, q queryer, member MemberID, ref conan.Ref) ([]Trashed, error) {
	return collect(ctx, q, "list the trash of "+ref.String(), scanTrashed, `SELECT `+trashColumns+` FROM trash t JOIN removals d ON d.id = t.removal_id
		WHERE t.member_id = $1 AND t.name = $2 AND t.version = $3 AND t.usr = $4 AND t.channel = $5 ORDER BY t.id DESC`, refArgs(member, ref)...)
}

// TrashRefs lists the references of which a store's trash has something.
func (db *DB) TrashRefs(ctx context.Context, member MemberID) ([]conan.Ref, error) {
	return db.refs(ctx, `SELECT DISTINCT name, version, usr, channel FROM trash WHERE member_id = $1`, member)
}

// TrashBytes is the size of the files in a store's trash, each file counted.
func (db *DB) TrashBytes(ctx context.Context, member MemberID) (bytes int64, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT COALESCE(SUM(b.size), 0) FROM trash t JOIN trash_files x ON x.trash_id = t.id
		JOIN blobs b ON b.sha256 = x.sha256 WHERE t.member_id = $1`, member).Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("count the trash: %w", err)
	}
	return bytes, nil
}

// Restore brings revisions back from a store's trash with their times, all or nothing: of each the
// one that was removed last. A recipe revision brings the packages that were removed with it, and
// no others, also if they are in revs. A recipe revision of which only packages are in the trash
// stands for nothing. It fails with conan.ErrNotFound for what is not in the trash or is a package
// whose recipe is not published, and with conan.ErrConflict for what is published again. It returns
// what came back, or what would if it is a dry run.
func (db *DB) Restore(ctx context.Context, member MemberID, revs []conan.Revision, audit Audit, now time.Time, dry bool) ([]conan.Revision, error) {
	var restored []conan.Revision
	err := db.attempt(ctx, dry, func(ctx context.Context, tx *transaction) error {
		r := restoration{member: member, now: now, trash: make(map[conan.Ref][]Trashed), done: make(map[conan.Revision]bool)}
		for _, rev := range revs {
			if err := r.restore(ctx, tx, rev); err != nil {
				return err
			}
		}
		restored = r.restored
		return writeAudit(ctx, tx, audit, now)
	})
	return restored, err
}

// restoration is one call of Restore.
type restoration struct {
	member MemberID
	now    time.Time
	trash  map[conan.Ref][]Trashed // of the references so far, as it was before
	done   map[conan.Revision]bool

	restored []conan.Revision
}

// restore brings a revision back, unless it came with its recipe or must not come with it.
func (r *restoration) restore(ctx context.Context, tx *transaction, rev conan.Revision) error {
	if r.done[rev] || rev.IsPackage() && r.done[rev.Recipe()] {
		return nil
	}
	all, known := r.trash[rev.Ref]
	if !known {
		var err error
		if all, err = trashedOf(ctx, tx, r.member, rev.Ref); err != nil {
			return err
		}
		r.trash[rev.Ref] = all
	}
	rows := restorable(all, rev)
	if len(rows) == 0 && !slices.ContainsFunc(all, func(t Trashed) bool { return t.Recipe() == rev }) {
		return fmt.Errorf("%s in the trash: %w", rev, conan.ErrNotFound)
	}
	for _, t := range rows {
		if r.done[t.Revision] {
			continue
		}
		r.done[t.Revision] = true
		if err := r.restoreRow(ctx, tx, t); err != nil {
			return err
		}
		r.restored = append(r.restored, t.Revision)
	}
	return nil
}

// restorable are the rows of a revision to be restored, a recipe before its packages: of the last
// removal that took it.
func restorable(all []Trashed, rev conan.Revision) (rows []Trashed) {
	i := slices.IndexFunc(all, func(t Trashed) bool { return t.Revision == rev })
	if i < 0 {
		return nil
	}
	rows = append(rows, all[i])
	for _, t := range all {
		if !rev.IsPackage() && t.IsPackage() && t.RRev == rev.RRev && t.Removal == all[i].Removal {
			rows = append(rows, t)
		}
	}
	return rows
}

func (r *restoration) restoreRow(ctx context.Context, tx *transaction, t Trashed) error {
	switch _, err := revisionID(ctx, tx, r.member, t.Revision); {
	case err == nil:
		return fmt.Errorf("%w: %s is published again; remove it first, or leave it", conan.ErrConflict, t.Revision)
	case !errors.Is(err, conan.ErrNotFound):
		return err
	}
	if t.IsPackage() {
		if _, err := revisionID(ctx, tx, r.member, t.Recipe()); err != nil {
			return fmt.Errorf("the recipe of %s: %w; restore it with its recipe", t.Revision, err)
		}
	}
	files, err := trashFiles(ctx, tx, t.ID)
	if err != nil {
		return err
	}
	o := PutOptions{Time: t.Time, Adopted: t.Adopted, Uploader: t.Uploader, Info: t.Info, Files: files}
	if err := putRevision(ctx, tx, r.member, t.Revision, o, r.now); err != nil {
		return err
	}
	tx.tell(r.member, t.Revision, FeedRestored)
	if err := dropTrash(ctx, tx, `id = $1`, t.ID); err != nil {
		return err
	}
	return dropEmptyRemoval(ctx, tx, t.Removal)
}

// dropEmptyRemoval deletes the row of a removal of which the trash has nothing any more.
func dropEmptyRemoval(ctx context.Context, tx *transaction, id int64) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM removals WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM trash WHERE removal_id = $1)`, id)
	if err != nil {
		return fmt.Errorf("empty the trash: %w", err)
	}
	return nil
}

// trashFiles lists the files of a revision in the trash.
func trashFiles(ctx context.Context, q queryer, id int64) (conan.Snapshot, error) {
	return collect(ctx, q, "read files in the trash", scanFile, `SELECT `+fileColumns+`
		FROM trash_files x JOIN blobs b ON b.sha256 = x.sha256 WHERE x.trash_id = $1 ORDER BY x.name`, id)
}

// dropTrash removes rows of the trash that a condition selects; their files go first, so that their
// blobs become garbage.
func dropTrash(ctx context.Context, tx *transaction, condition string, args ...any) error {
	for _, q := range []string{
		`DELETE FROM trash_files WHERE trash_id IN (SELECT id FROM trash WHERE ` + condition + `)`,
		`DELETE FROM trash WHERE ` + condition,
	} {
		if _, err := tx.ExecContext(ctx, q, args...); err != nil {
			return fmt.Errorf("empty the trash: %w", err)
		}
	}
	return nil
}

// EmptyTrash removes for good what was removed from a store before a time, up to limit removals,
// the oldest first, and returns how many. Call it until it returns less.
func (db *DB) EmptyTrash(ctx context.Context, member MemberID, before time.Time, limit int) (removals int, err error) {
	err = db.update(ctx, func(ctx context.Context, tx *transaction) error {
		ids, err := column[int64](ctx, tx, "empty the trash", `SELECT id FROM removals WHERE member_id = $1 AND time < $2 ORDER BY time LIMIT $3`,
			member, before.UnixMicro(), limit)
		if err != nil {
			return err
		}
		removals = len(ids)
		return dropRemovals(ctx, tx, ids)
	})
	return removals, err
}

func dropRemovals(ctx context.Context, tx *transaction, ids []int64) error {
	for _, id := range ids {
		if err := dropRemoval(ctx, tx, id); err != nil {
			return err
		}
	}
	return nil
}

// dropRemoval removes for good what a removal took, and the history of what is nowhere else.
func dropRemoval(ctx context.Context, tx *transaction, id int64) error {
	var member MemberID
	if err := tx.QueryRowContext(ctx, `SELECT member_id FROM removals WHERE id = $1`, id).Scan(&member); err != nil {
		return fmt.Errorf("empty the trash: %w", err)
	}
	revs, err := collect(ctx, tx, "empty the trash", func(r scanner) (rev conan.Revision, err error) {
		err = r.Scan(&rev.Name, &rev.Version, &rev.User, &rev.Channel, &rev.RRev, &rev.PackageID, &rev.PRev)
		return rev, err
	}, `SELECT name, version, usr, channel, rrev, package_id, prev FROM trash WHERE removal_id = $1`, id)
	if err != nil {
		return err
	}
	if err := dropTrash(ctx, tx, `removal_id = $1`, id); err != nil {
		return err
	}
	for _, rev := range revs {
		if err := forgetHistory(ctx, tx, member, rev); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM removals WHERE id = $1`, id); err != nil {
		return fmt.Errorf("empty the trash: %w", err)
	}
	return nil
}

// TrashFrees is the size of the bytes that nothing but the trash, and perhaps a cache, names.
func (db *DB) TrashFrees(ctx context.Context) (bytes int64, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT COALESCE(SUM(b.size), 0) FROM (SELECT sha256, COUNT(*) AS rows FROM trash_files GROUP BY sha256) in_trash
		JOIN blobs b ON b.sha256 = in_trash.sha256 WHERE b.kept = in_trash.rows`).Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("count what the trash frees: %w", err)
	}
	return bytes, nil
}

// EmptyOldest removes for good what the oldest removal of all stores took, and tells whether there
// was one.
func (db *DB) EmptyOldest(ctx context.Context) (some bool, err error) {
	err = db.update(ctx, func(ctx context.Context, tx *transaction) error {
		ids, err := column[int64](ctx, tx, "empty the trash", `SELECT id FROM removals ORDER BY time LIMIT 1`)
		some = len(ids) > 0
		if err != nil {
			return err
		}
		return dropRemovals(ctx, tx, ids)
	})
	return some, err
}
