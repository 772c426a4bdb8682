package index

import (
	"context"

	"conanproxy/internal/conan"
)

// Detail is what is known of a revision that a member has, beside its files.
type Detail struct {
	Uploader string // who published it; empty: anonymous, or it was not published here
	Bytes    int64  // of its files that are stored
}

// Detail is that of a pinned revision in a member, by its name; zero if the member does not have
// it.
func (db *DB) Detail(ctx context.Context, member string, rev conan.Revision) (Detail, error) {
	args := append([]any{member}, revisionArgs(0, rev)[1:]...)
	found, err := collect(ctx, db.read, "read details of "+rev.String(), func(r scanner) (d Detail, err error) {
		return d, r.Scan(&d.Uploader, &d.Bytes)
	}, `SELECT r.uploader, (SELECT COALESCE(SUM(b.size), 0) FROM files x JOIN blobs b ON b.sha256 = x.sha256 WHERE x.revision_id = r.id)
		FROM members m JOIN refs f ON f.member_id = m.id JOIN revisions r ON r.ref_id = f.id
		WHERE m.name = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		AND r.rrev = $6 AND `+samePackage+` AND r.prev = $8`, args...)
	if err != nil || len(found) == 0 {
		return Detail{}, err
	}
	return found[0], nil
}
