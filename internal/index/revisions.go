package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"conanproxy/internal/conan"
)

// Stored is a row of the inventory: a revision that a member has.
type Stored struct {
	RowID int64
	conan.Revision
	Time    time.Time // of publication
	Adopted bool      // a copy of an upstream's recipe made for a package that was published here
}

// PutOptions describes a revision to be recorded by PutRevision.
type PutOptions struct {
	Time     time.Time
	Adopted  bool
	Info     *string          // conaninfo.txt of a package; nil if not known
	Uploader string           // who published it; empty leaves the uploader of a revision that is there
	Files    []conan.FileInfo // all with known Size and digests; replaces files of the same name
	Remove   []string         // names of files that Files replace under new names
}

const storedColumns = `r.id, f.name, f.version, f.usr, f.channel, r.rrev, r.package_id, r.prev, r.time, r.adopted`

// samePackage compares with the package id that is bound as $7. Compared bare, SQLite would look
// whether the value allows the index of recipes, which has ” only, and so plan the statement anew
// whenever another value is bound.
const samePackage = `r.package_id = '' || $7`

// ofRef selects the revisions of one reference in one member, and ofRevision one of them. Their
// arguments are refArgs and revisionArgs.
const (
	ofRef = ` FROM refs f JOIN revisions r ON r.ref_id = f.id
		WHERE f.member_id = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5`
	ofRevision = ofRef + ` AND r.rrev = $6 AND ` + samePackage + ` AND r.prev = $8`
)

func refArgs(member MemberID, ref conan.Ref) []any {
	return []any{member, ref.Name, ref.Version, ref.User, ref.Channel}
}

func revisionArgs(member MemberID, rev conan.Revision) []any {
	return append(refArgs(member, rev.Ref), rev.RRev, rev.PackageID, rev.PRev)
}

// Revisions lists what a member has, newest first: the recipe revisions of rev.Ref if rev.PackageID
// is empty, else the package revisions of rev.PackageID in rev.RRev. None is an empty list.
func (db *DB) Revisions(ctx context.Context, member MemberID, rev conan.Revision) ([]Stored, error) {
	const newestFirst = ` ORDER BY r.time DESC, r.id DESC`
	if rev.IsPackage() {
		return db.stored(ctx, `SELECT `+storedColumns+ofRef+` AND r.rrev = $6 AND `+samePackage+` AND r.prev <> ''`+newestFirst,
			append(refArgs(member, rev.Ref), rev.RRev, rev.PackageID)...)
	}
	return db.stored(ctx, `SELECT `+storedColumns+ofRef+` AND r.package_id = ''`+newestFirst, refArgs(member, rev.Ref)...)
}

// Find returns the row of a pinned revision, or conan.ErrNotFound.
func (db *DB) Find(ctx context.Context, member MemberID, rev conan.Revision) (Stored, error) {
	rows, err := db.stored(ctx, `SELECT `+storedColumns+ofRevision, revisionArgs(member, rev)...)
	if err != nil {
		return Stored{}, err
	}
	if len(rows) == 0 {
		return Stored{}, fmt.Errorf("%s: %w", rev, conan.ErrNotFound)
	}
	return rows[0], nil
}

func (db *DB) stored(ctx context.Context, query string, args ...any) ([]Stored, error) {
	return collect(ctx, db.read, "read revisions", func(r scanner) (Stored, error) { return scanStored(r) }, query, args...)
}

// scanStored reads storedColumns and the columns after them.
func scanStored(r scanner, more ...any) (s Stored, err error) {
	var micros int64
	err = r.Scan(append([]any{&s.RowID, &s.Name, &s.Version, &s.User, &s.Channel, &s.RRev, &s.PackageID, &s.PRev, &micros, &s.Adopted}, more...)...)
	s.Time = time.UnixMicro(micros).UTC()
	return s, err
}

// Packages lists the binaries that the member has of a recipe revision: the newest PRev of each
// package id, sorted by id. With idsOnly the Info is left out.
func (db *DB) Packages(ctx context.Context, member MemberID, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	info := `r.info`
	if idsOnly {
		info = `NULL`
	}
	all, err := collect(ctx, db.read, "read packages of "+recipe.String(), scanPackage,
		`SELECT r.package_id, `+info+ofRef+` AND r.rrev = $6 AND r.package_id <> '' ORDER BY r.package_id, r.time DESC, r.id DESC`,
		append(refArgs(member, recipe.Ref), recipe.RRev)...)
	return newestOfEach(all), err
}

func scanPackage(r scanner) (p conan.Package, err error) {
	var text sql.NullString
	err = r.Scan(&p.ID, &text)
	p.Info = text.String
	return p, err
}

// newestOfEach keeps the first of each package id.
func newestOfEach(sorted []conan.Package) []conan.Package {
	return slices.CompactFunc(sorted, func(a, b conan.Package) bool { return a.ID == b.ID })
}

// Refs lists every reference of which the member has a recipe or package revision, in no particular
// order.
func (db *DB) Refs(ctx context.Context, member MemberID) ([]conan.Ref, error) {
	return db.refs(ctx, `SELECT name, version, usr, channel FROM refs WHERE member_id = $1`, member)
}

// Listed is a row of the inventory with what selections and purges ask about it.
type Listed struct {
	Stored
	Info   string // conaninfo.txt of a package; may be empty
	Pinned bool   // it has a pin
}

// RevisionsOf lists everything that a member has of a reference, in no particular order.
func (db *DB) RevisionsOf(ctx context.Context, member MemberID, ref conan.Ref) ([]Listed, error) {
	return collect(ctx, db.read, "read revisions of "+ref.String(), func(r scanner) (l Listed, err error) {
		l.Stored, err = scanStored(r, &l.Info, &l.Pinned)
		return l, err
	}, `SELECT `+storedColumns+`, COALESCE(r.info, ''), EXISTS (SELECT 1 FROM pins p WHERE p.member_id = f.member_id AND p.name = f.name
		AND p.version = f.version AND p.usr = f.usr AND p.channel = f.channel AND p.rrev = r.rrev AND p.package_id = r.package_id
		AND p.prev = r.prev)`+ofRef, refArgs(member, ref)...)
}

// RecipeRefs lists the references of which the member has a recipe revision, in no particular
// order.
func (db *DB) RecipeRefs(ctx context.Context, member MemberID) ([]conan.Ref, error) {
	return db.refs(ctx, `SELECT f.name, f.version, f.usr, f.channel FROM refs f WHERE f.member_id = $1
		AND EXISTS (SELECT 1 FROM revisions r WHERE r.ref_id = f.id AND r.package_id = '')`, member)
}

func (db *DB) refs(ctx context.Context, query string, args ...any) ([]conan.Ref, error) {
	return collect(ctx, db.read, "read references", func(r scanner) (ref conan.Ref, err error) {
		return ref, r.Scan(&ref.Name, &ref.Version, &ref.User, &ref.Channel)
	}, query, args...)
}

// PutRevision records a revision and its files in one transaction. A revision that is there keeps
// its files of other names and gets the given time; the blobs must be durable. A power failure can
// take back what was recorded for an upstream, which is fetched again then, but not what was
// recorded for a store.
func (db *DB) PutRevision(ctx context.Context, member MemberID, rev conan.Revision, o PutOptions) error {
	m, err := db.member(ctx, db.read, member)
	if err != nil {
		return err
	}
	write := db.remember
	if m.Kind == KindStore {
		write = db.update
	}
	return write(ctx, func(ctx context.Context, tx *transaction) error {
		return putRevision(ctx, tx, member, rev, o, time.Now())
	})
}

func putRevision(ctx context.Context, tx *transaction, member MemberID, rev conan.Revision, o PutOptions, now time.Time) error {
	tx.changed(member, rev)
	if err := tx.noteBytes(ctx, member); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO refs (member_id, name, version, usr, channel) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, refArgs(member, rev.Ref)...); err != nil {
		return fmt.Errorf("record %s: %w", rev, err)
	}
	var id, lastUse int64
	err := tx.QueryRowContext(ctx, `INSERT INTO revisions (ref_id, rrev, package_id, prev, time, used, last_use, adopted, info, uploader)
		SELECT f.id, $6, $7, $8, $9, CASE WHEN m.kind = 'store' OR `+hasPin+` THEN $10 ELSE $11 END, CASE m.kind WHEN 'store' THEN $11 ELSE 0 END, $12, $13, $14
		FROM refs f JOIN members m ON m.id = f.member_id
		WHERE f.member_id = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		ON CONFLICT (ref_id, rrev, package_id, prev) DO UPDATE SET time = excluded.time, used = excluded.used, last_use = excluded.last_use,
		adopted = excluded.adopted, info = COALESCE(excluded.info, revisions.info),
		uploader = CASE excluded.uploader WHEN '' THEN revisions.uploader ELSE excluded.uploader END
		RETURNING id, last_use`, append(revisionArgs(member, rev),
		o.Time.UnixMicro(), int64(neverCold), now.UnixMicro(), o.Adopted, o.Info, o.Uploader)...).Scan(&id, &lastUse)
	if err != nil {
		return fmt.Errorf("record %s: %w", rev, err)
	}
	if lastUse != 0 { // it is a store's
		changes, err := o.fileChanges(ctx, tx, id)
		if err != nil {
			return fmt.Errorf("record %s: %w", rev, err)
		}
		tx.tellFiles(member, rev, changes)
	}
	if err := removeFiles(ctx, tx, id, o.Remove); err != nil {
		return fmt.Errorf("replace files of %s: %w", rev, err)
	}
	w := fileWrite{revisionID: id, now: now, replaces: len(o.Remove) > 0}
	for _, f := range o.Files {
		if err := w.put(ctx, tx, f); err != nil {
			return fmt.Errorf("record %s of %s: %w", f.Name, rev, err)
		}
	}
	return nil
}

// fileChanges tells in which files the revision in a row, if it has any, differs from what it will
// have.
func (o PutOptions) fileChanges(ctx context.Context, tx *transaction, id int64) (changes []FileChange, err error) {
	before, err := sumsOf(ctx, tx, id)
	if err != nil || len(before) == 0 {
		return nil, err
	}
	for _, f := range o.Files {
		if was := before[f.Name]; was != f.SHA256 {
			changes = append(changes, FileChange{f.Name, was, f.SHA256})
		}
	}
	return append(changes, gone(before, o.Remove)...), nil
}

// gone are the files that a revision had and loses.
func gone(before map[string]string, names []string) (changes []FileChange) {
	for _, name := range names {
		if was := before[name]; was != "" {
			changes = append(changes, FileChange{name, was, ""})
		}
	}
	return changes
}

// sumsOf maps the names of the files of a revision to their sha256.
func sumsOf(ctx context.Context, q queryer, id int64) (map[string]string, error) {
	sums := make(map[string]string)
	_, err := collect(ctx, q, "read files", func(r scanner) (_ struct{}, err error) {
		var name, sum string
		err = r.Scan(&name, &sum)
		sums[name] = sum
		return struct{}{}, err
	}, `SELECT name, sha256 FROM files WHERE revision_id = $1`, id)
	return sums, err
}

// neverCold is the time of last use of what is never evicted, so that the coldest revisions are
// found without a look at those of stores and those with a pin.
const neverCold = math.MaxInt64

func revisionID(ctx context.Context, tx *transaction, member MemberID, rev conan.Revision) (int64, error) {
	var id int64
	err := tx.QueryRowContext(ctx, `SELECT r.id`+ofRevision, revisionArgs(member, rev)...).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("%s: %w", rev, conan.ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", rev, err)
	}
	return id, nil
}

// Touch sets the time of last use of cached revisions, by row id; rows of stores have none.
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

// RemoveRevisions deletes rows by id with their files, and references left without revisions; their
// blobs become garbage.
func (db *DB) RemoveRevisions(ctx context.Context, ids []int64) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error { return removeRevisions(ctx, tx, ids) })
}

func removeRevisions(ctx context.Context, tx *transaction, ids []int64) error {
	list, err := json.Marshal(ids) // one argument, so that the texts are the same for any number
	if err != nil {
		return fmt.Errorf("remove revisions: %w", err)
	}
	const these = ` IN ` + listed
	before := len(tx.changes)
	if err := tx.changedRows(ctx, `WHERE r.id`+these, string(list)); err != nil {
		return err
	}
	for _, c := range tx.changes[before:] {
		tx.tell(c.member, c.rev, FeedRemoved)
	}
	for _, q := range []string{
		`INSERT INTO garbage (sha256) SELECT DISTINCT sha256 FROM files WHERE revision_id` + these + ` ON CONFLICT DO NOTHING`,
		`DELETE FROM files WHERE revision_id` + these,
	} {
		if _, err := tx.ExecContext(ctx, q, string(list)); err != nil {
			return fmt.Errorf("remove revisions: %w", err)
		}
	}
	refs, err := column[int64](ctx, tx, "remove revisions", `SELECT DISTINCT ref_id FROM revisions WHERE id`+these, string(list))
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM revisions WHERE id`+these, string(list)); err != nil {
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
