package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"conanproxy/internal/conan"
)

// LocalMember is the member name of the authoritative store; its rows are never evicted.
const LocalMember = "local"

// Stored is a row of the inventory: a revision that a member holds.
type Stored struct {
	RowID int64
	conan.Revision
	Time    time.Time // of publication
	Adopted bool      // a copy of an upstream's recipe made for a local package
}

// PutOptions describes a revision to be recorded by PutRevision.
type PutOptions struct {
	Time    time.Time
	Adopted bool
	Info    *string          // conaninfo.txt of a package; nil if not known
	Files   []conan.FileInfo // all with known Size and digests; replaces files of the same name
}

const storedColumns = `r.id, f.name, f.version, f.usr, f.channel, r.rrev, r.package_id, r.prev, r.time, r.adopted`

// samePackage compares with the package id that is bound as $7. Compared bare, SQLite would look whether the value allows
// the index of recipes, which holds ” only, and so plan the statement anew whenever another value is bound.
const samePackage = `r.package_id = '' || $7`

// Revisions lists what a member holds, newest first: the recipe revisions of rev.Ref if rev.PackageID is empty,
// else the package revisions of rev.PackageID in rev.RRev. None is an empty list.
func (db *DB) Revisions(ctx context.Context, member string, rev conan.Revision) ([]Stored, error) {
	if rev.IsPackage() {
		return db.stored(ctx, `SELECT `+storedColumns+` FROM revisions r JOIN refs f ON f.id = r.ref_id
			WHERE f.member = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
			AND r.rrev = $6 AND `+samePackage+` AND r.prev <> '' ORDER BY r.time DESC, r.id DESC`,
			member, rev.Name, rev.Version, rev.User, rev.Channel, rev.RRev, rev.PackageID)
	}
	return db.stored(ctx, `SELECT `+storedColumns+` FROM revisions r JOIN refs f ON f.id = r.ref_id
		WHERE f.member = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		AND r.package_id = '' ORDER BY r.time DESC, r.id DESC`,
		member, rev.Name, rev.Version, rev.User, rev.Channel)
}

// Find returns the row of a pinned revision, or conan.ErrNotFound.
func (db *DB) Find(ctx context.Context, member string, rev conan.Revision) (Stored, error) {
	rows, err := db.stored(ctx, `SELECT `+storedColumns+` FROM revisions r JOIN refs f ON f.id = r.ref_id
		WHERE f.member = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		AND r.rrev = $6 AND `+samePackage+` AND r.prev = $8`,
		member, rev.Name, rev.Version, rev.User, rev.Channel, rev.RRev, rev.PackageID, rev.PRev)
	if err != nil {
		return Stored{}, err
	}
	if len(rows) == 0 {
		return Stored{}, fmt.Errorf("%s in %s: %w", rev, member, conan.ErrNotFound)
	}
	return rows[0], nil
}

func (db *DB) stored(ctx context.Context, query string, args ...any) ([]Stored, error) {
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read revisions: %w", err)
	}
	defer rows.Close()
	var out []Stored
	for rows.Next() {
		var s Stored
		var micros int64
		if err := rows.Scan(&s.RowID, &s.Name, &s.Version, &s.User, &s.Channel, &s.RRev, &s.PackageID, &s.PRev, &micros, &s.Adopted); err != nil {
			return nil, fmt.Errorf("read revisions: %w", err)
		}
		s.Time = time.UnixMicro(micros).UTC()
		out = append(out, s)
	}
	return out, rows.Err()
}

// Files lists the files of a pinned revision that the member holds, sorted; empty if the revision is not there.
func (db *DB) Files(ctx context.Context, member string, rev conan.Revision) (conan.Snapshot, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT x.name, b.size, b.md5, b.sha1, b.sha256
		FROM refs f JOIN revisions r ON r.ref_id = f.id JOIN files x ON x.revision_id = r.id JOIN blobs b ON b.sha256 = x.sha256
		WHERE f.member = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		AND r.rrev = $6 AND `+samePackage+` AND r.prev = $8 ORDER BY x.name`,
		member, rev.Name, rev.Version, rev.User, rev.Channel, rev.RRev, rev.PackageID, rev.PRev)
	if err != nil {
		return nil, fmt.Errorf("read files of %s: %w", rev, err)
	}
	defer rows.Close()
	var out conan.Snapshot
	for rows.Next() {
		var f conan.FileInfo
		if err := rows.Scan(&f.Name, &f.Size, &f.MD5, &f.SHA1, &f.SHA256); err != nil {
			return nil, fmt.Errorf("read files of %s: %w", rev, err)
		}
		out = append(out, f)
	}
	return out, rows.Err()
}

// Packages lists the binaries that the member holds of a recipe revision: the newest PRev of each package id, sorted
// by id. With idsOnly the Info is left out.
func (db *DB) Packages(ctx context.Context, member string, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	info := `r.info`
	if idsOnly {
		info = `NULL`
	}
	rows, err := db.read.QueryContext(ctx, `SELECT r.package_id, `+info+` FROM revisions r JOIN refs f ON f.id = r.ref_id
		WHERE f.member = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		AND r.rrev = $6 AND r.package_id <> '' ORDER BY r.package_id, r.time DESC, r.id DESC`,
		member, recipe.Name, recipe.Version, recipe.User, recipe.Channel, recipe.RRev)
	if err != nil {
		return nil, fmt.Errorf("read packages of %s: %w", recipe, err)
	}
	defer rows.Close()
	var out []conan.Package
	for rows.Next() {
		var id string
		var text sql.NullString
		if err := rows.Scan(&id, &text); err != nil {
			return nil, fmt.Errorf("read packages of %s: %w", recipe, err)
		}
		if n := len(out); n > 0 && out[n-1].ID == id {
			continue
		}
		out = append(out, conan.Package{ID: id, Info: text.String})
	}
	return out, rows.Err()
}

// Refs lists every reference of which the member holds a recipe or package revision, in no particular order.
func (db *DB) Refs(ctx context.Context, member string) ([]conan.Ref, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT name, version, usr, channel FROM refs WHERE member = $1`, member)
	if err != nil {
		return nil, fmt.Errorf("read references of %s: %w", member, err)
	}
	defer rows.Close()
	var out []conan.Ref
	for rows.Next() {
		var r conan.Ref
		if err := rows.Scan(&r.Name, &r.Version, &r.User, &r.Channel); err != nil {
			return nil, fmt.Errorf("read references of %s: %w", member, err)
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// PutRevision records a revision and its files in one transaction. A revision that is there keeps its
// files of other names and gets the given time; the blobs must be durable. A failure of power may take back what a
// cache holds, which is fetched again then, but not what the local store does.
func (db *DB) PutRevision(ctx context.Context, member string, rev conan.Revision, o PutOptions) error {
	write := db.remember
	if member == LocalMember {
		write = db.update
	}
	return write(ctx, func(ctx context.Context, tx *transaction) error { return putRevision(ctx, tx, member, rev, o) })
}

func putRevision(ctx context.Context, tx *transaction, member string, rev conan.Revision, o PutOptions) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO refs (member, name, version, usr, channel) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, member, rev.Name, rev.Version, rev.User, rev.Channel); err != nil {
		return fmt.Errorf("record %s: %w", rev, err)
	}
	var id int64
	err := tx.QueryRowContext(ctx, `INSERT INTO revisions (ref_id, rrev, package_id, prev, time, used, adopted, info)
		SELECT id, $6, $7, $8, $9, $10, $11, $12 FROM refs
		WHERE member = $1 AND name = $2 AND version = $3 AND usr = $4 AND channel = $5
		ON CONFLICT (ref_id, rrev, package_id, prev) DO UPDATE SET time = excluded.time, used = excluded.used,
		adopted = excluded.adopted, info = COALESCE(excluded.info, revisions.info)
		RETURNING id`, member, rev.Name, rev.Version, rev.User, rev.Channel,
		rev.RRev, rev.PackageID, rev.PRev, o.Time.UnixMicro(), lastUse(member), o.Adopted, o.Info).Scan(&id)
	if err != nil {
		return fmt.Errorf("record %s: %w", rev, err)
	}
	for _, f := range o.Files {
		if err := putFile(ctx, tx, id, f); err != nil {
			return fmt.Errorf("record %s of %s: %w", f.Name, rev, err)
		}
	}
	return nil
}

// neverCold is the time of last use of what is never evicted, so that the coldest revisions are found without a look
// at those of the local store.
const neverCold = math.MaxInt64

func lastUse(member string) int64 {
	if member == LocalMember {
		return neverCold
	}
	return time.Now().UnixMicro()
}

// putFile names a blob in a revision; the blob it replaces becomes garbage.
func putFile(ctx context.Context, tx *transaction, revisionID int64, f conan.FileInfo) error {
	if err := putBlob(ctx, tx, f); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO garbage (sha256) SELECT sha256 FROM files
		WHERE revision_id = $1 AND name = $2 AND sha256 <> $3 ON CONFLICT DO NOTHING`, revisionID, f.Name, f.SHA256)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO files (revision_id, name, sha256) VALUES ($1, $2, $3)
		ON CONFLICT (revision_id, name) DO UPDATE SET sha256 = excluded.sha256`, revisionID, f.Name, f.SHA256)
	return err
}

func putBlob(ctx context.Context, tx *transaction, f conan.FileInfo) error {
	if f.SHA256 == "" || f.SHA1 == "" || f.MD5 == "" || f.Size < 0 {
		return errors.New("digests are not known")
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO blobs (sha256, size, sha1, md5) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		f.SHA256, f.Size, f.SHA1, f.MD5)
	return err
}

// AddFiles records files of a revision that the member already holds, or conan.ErrNotFound.
func (db *DB) AddFiles(ctx context.Context, member string, rev conan.Revision, files ...conan.FileInfo) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		id, err := revisionID(ctx, tx, member, rev)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := putFile(ctx, tx, id, f); err != nil {
				return fmt.Errorf("record %s of %s: %w", f.Name, rev, err)
			}
		}
		return nil
	})
}

func revisionID(ctx context.Context, tx *transaction, member string, rev conan.Revision) (int64, error) {
	var id int64
	err := tx.QueryRowContext(ctx, `SELECT r.id FROM revisions r JOIN refs f ON f.id = r.ref_id
		WHERE f.member = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		AND r.rrev = $6 AND `+samePackage+` AND r.prev = $8`,
		member, rev.Name, rev.Version, rev.User, rev.Channel, rev.RRev, rev.PackageID, rev.PRev).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("%s in %s: %w", rev, member, conan.ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", rev, err)
	}
	return id, nil
}

// Touch sets the time of last use of a cache's revisions, by row id; rows of the local store have none.
func (db *DB) Touch(ctx context.Context, used map[int64]time.Time) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		for id, t := range used {
			if _, err := tx.ExecContext(ctx, `UPDATE revisions SET used = $1 WHERE id = $2 AND used < $3`, t.UnixMicro(), id, int64(neverCold)); err != nil {
				return fmt.Errorf("touch: %w", err)
			}
		}
		return nil
	})
}

// RemoveRevisions deletes rows by id with their files, and references left without revisions; their blobs become
// garbage. If audit is not nil its line is written in the same transaction.
func (db *DB) RemoveRevisions(ctx context.Context, ids []int64, audit *Audit) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		if err := removeRevisions(ctx, tx, ids); err != nil {
			return err
		}
		if audit == nil {
			return nil
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO audit (time, usr, action, target) VALUES ($1, $2, $3, $4)`,
			time.Now().UnixMicro(), audit.User, audit.Action, audit.Target)
		return err
	})
}

func removeRevisions(ctx context.Context, tx *transaction, ids []int64) error {
	list, err := json.Marshal(ids) // one argument, so that the texts are the same for any number
	if err != nil {
		return fmt.Errorf("remove revisions: %w", err)
	}
	for _, q := range []string{
		`INSERT INTO garbage (sha256) SELECT DISTINCT sha256 FROM files WHERE revision_id IN (SELECT value FROM json_each($1)) ON CONFLICT DO NOTHING`,
		`DELETE FROM files WHERE revision_id IN (SELECT value FROM json_each($1))`,
	} {
		if _, err := tx.ExecContext(ctx, q, string(list)); err != nil {
			return fmt.Errorf("remove revisions: %w", err)
		}
	}
	refs, err := column[int64](ctx, tx, `SELECT DISTINCT ref_id FROM revisions WHERE id IN (SELECT value FROM json_each($1))`, string(list))
	if err != nil {
		return fmt.Errorf("remove revisions: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM revisions WHERE id IN (SELECT value FROM json_each($1))`, string(list)); err != nil {
		return fmt.Errorf("remove revisions: %w", err)
	}
	for _, id := range refs {
		if _, err := tx.ExecContext(ctx, `DELETE FROM refs WHERE id = $1
			AND NOT EXISTS (SELECT 1 FROM revisions WHERE ref_id = $1)`, id); err != nil {
			return fmt.Errorf("remove revisions: %w", err)
		}
	}
	return nil
}

// Audit is one line of the audit trail.
type Audit struct {
	User, Action, Target string
}

// BlobNamed tells whether any revision or stage names the blob.
func (db *DB) BlobNamed(ctx context.Context, sha256 string) (bool, error) {
	var named bool
	err := db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM files WHERE sha256 = $1)
		OR EXISTS (SELECT 1 FROM stage_files WHERE sha256 = $1)`, sha256).Scan(&named)
	if err != nil {
		return false, fmt.Errorf("look for rows of blob %s: %w", sha256, err)
	}
	return named, nil
}

// Garbage lists up to limit digests that lost a row and may have none left.
func (db *DB) Garbage(ctx context.Context, limit int) ([]string, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT sha256 FROM garbage ORDER BY sha256 LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("read garbage: %w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var d string
		if err := rows.Scan(&d); err != nil {
			return nil, fmt.Errorf("read garbage: %w", err)
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

// ForgetBlob ends a digest's being garbage: its row of sums goes too if nothing names it any more. Call it before the unlink, inside the blob store's Delete.
func (db *DB) ForgetBlob(ctx context.Context, sha256 string) (named bool, err error) {
	err = db.update(ctx, func(ctx context.Context, tx *transaction) error {
		q := `SELECT EXISTS (SELECT 1 FROM files WHERE sha256 = $1) OR EXISTS (SELECT 1 FROM stage_files WHERE sha256 = $1)`
		if err := tx.QueryRowContext(ctx, q, sha256).Scan(&named); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM garbage WHERE sha256 = $1`, sha256); err != nil {
			return err
		}
		if named {
			return nil
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM blobs WHERE sha256 = $1`, sha256)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("forget blob %s: %w", sha256, err)
	}
	return named, nil
}
