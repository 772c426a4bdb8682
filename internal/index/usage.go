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
