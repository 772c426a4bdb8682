package index

import (
	"context"
)

// Usage is how much a member has.
type Usage struct {
	Member
	References, Recipes, Packages int64 // recipes and packages by revisions
	Bytes                         int64 // of its files, the same bytes once
}

// Usage counts what every member has, by name. It reads all revisions and files, so it is not for
// every request.
func (db *DB) Usage(ctx context.Context) ([]Usage, error) {
	return collect(ctx, db.read, "count what members have", func(r scanner) (u Usage, err error) {
		return u, r.Scan(&u.ID, &u.Name, &u.Kind, &u.References, &u.Recipes, &u.Packages, &u.Bytes)
	}, `SELECT m.id, m.name, m.kind,
		(SELECT COUNT(*) FROM refs f WHERE f.member_id = m.id),
		(SELECT COUNT(*) FROM refs f JOIN revisions r ON r.ref_id = f.id WHERE f.member_id = m.id AND r.package_id = ''),
		(SELECT COUNT(*) FROM refs f JOIN revisions r ON r.ref_id = f.id WHERE f.member_id = m.id AND r.package_id <> ''),
		(SELECT COALESCE(SUM(b.size), 0) FROM blobs b WHERE EXISTS (SELECT 1 FROM files x JOIN revisions r ON r.id = x.revision_id
			JOIN refs f ON f.id = r.ref_id WHERE x.sha256 = b.sha256 AND f.member_id = m.id))
		FROM members m ORDER BY m.name`)
}

// UsageBy is by what the usage of a member is split.
type UsageBy string

// What usage can be split by.
const (
	ByName     UsageBy = "name"     // of packages
	ByUploader UsageBy = "uploader" // of revisions of stores; empty: anonymous, or from before uploaders were noted
)

// PartUsage is how much a part of a member has.
type PartUsage struct {
	Part string // the name or the uploader
	Usage
}

// UsageOfParts counts what the parts of every member have, the largest first, up to limit. Bytes
// that several parts have are counted for each. It reads all revisions and files.
func (db *DB) UsageOfParts(ctx context.Context, by UsageBy, limit int) ([]PartUsage, error) {
	part, of := `f.name`, ``
	if by == ByUploader {
		part, of = `r.uploader`, ` WHERE m.kind = 'store'`
	}
	rows := ` FROM revisions r JOIN refs f ON f.id = r.ref_id JOIN members m ON m.id = f.member_id `
	return collect(ctx, db.read, "count what parts of members have", func(r scanner) (u PartUsage, err error) {
		return u, r.Scan(&u.ID, &u.Name, &u.Kind, &u.Part, &u.References, &u.Recipes, &u.Packages, &u.Bytes)
	}, `WITH
		revs AS (SELECT m.id, m.name, m.kind, `+part+` AS part, COUNT(DISTINCT f.id) AS refs,
			SUM(r.package_id = '') AS recipes, SUM(r.package_id <> '') AS packages`+rows+of+` GROUP BY 1, 4),
		sums AS (SELECT id, part, SUM(size) AS bytes FROM (SELECT DISTINCT m.id, `+part+` AS part, b.sha256, b.size`+rows+
		` JOIN files x ON x.revision_id = r.id JOIN blobs b ON b.sha256 = x.sha256`+of+`) GROUP BY 1, 2)
		SELECT revs.id, revs.name, revs.kind, revs.part, refs, recipes, packages, COALESCE(bytes, 0)
		FROM revs LEFT JOIN sums USING (id, part) ORDER BY 8 DESC, 2, 4 LIMIT $1`, limit)
}
