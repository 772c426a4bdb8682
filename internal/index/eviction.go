package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// Held is what a member holds of one pinned revision.
type Held struct {
	Stored
	Files conan.Snapshot // sorted, every Size and digest known
}

// Held returns the row of a pinned revision with its files, or conan.ErrNotFound.
func (db *DB) Held(ctx context.Context, member string, rev conan.Revision) (Held, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT r.id, r.time, r.adopted, x.name, b.size, b.md5, b.sha1, b.sha256
		FROM refs f JOIN revisions r ON r.ref_id = f.id LEFT JOIN files x ON x.revision_id = r.id LEFT JOIN blobs b ON b.sha256 = x.sha256
		WHERE f.member = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		AND r.rrev = $6 AND `+samePackage+` AND r.prev = $8 ORDER BY x.name`,
		member, rev.Name, rev.Version, rev.User, rev.Channel, rev.RRev, rev.PackageID, rev.PRev)
	if err != nil {
		return Held{}, fmt.Errorf("read what %s holds of %s: %w", member, rev, err)
	}
	defer rows.Close()
	h := Held{Stored: Stored{Revision: rev}}
	found := false
	for rows.Next() {
		var micros int64
		var name, md5, sha1, sha256 sql.NullString
		var size sql.NullInt64
		if err := rows.Scan(&h.RowID, &micros, &h.Adopted, &name, &size, &md5, &sha1, &sha256); err != nil {
			return Held{}, fmt.Errorf("read what %s holds of %s: %w", member, rev, err)
		}
		found = true
		h.Time = time.UnixMicro(micros).UTC()
		if name.Valid {
			h.Files = append(h.Files, conan.FileInfo{Name: name.String, Size: size.Int64, MD5: md5.String, SHA1: sha1.String, SHA256: sha256.String})
		}
	}
	if err := rows.Err(); err != nil {
		return Held{}, fmt.Errorf("read what %s holds of %s: %w", member, rev, err)
	}
	if !found {
		return Held{}, fmt.Errorf("%s in %s: %w", rev, member, conan.ErrNotFound)
	}
	return h, nil
}

// CachedBytes is the size of all blobs that rows of caches name and no row of the local store or of a stage does.
// It is kept by the same transactions as the rows, so reading it costs the same however many blobs there are.
func (db *DB) CachedBytes(ctx context.Context) (int64, error) {
	var n int64
	if err := db.read.QueryRowContext(ctx, `SELECT bytes FROM cached_bytes`).Scan(&n); err != nil {
		return 0, fmt.Errorf("read the bytes of caches: %w", err)
	}
	return n, nil
}

// Cold is a revision that a cache holds, as a candidate for eviction.
type Cold struct {
	Stored
	Member string
	Used   time.Time // last use
	Frees  int64     // bytes of blobs that only this revision names
}

// Coldest lists up to limit revisions of caches, the longest unused first.
func (db *DB) Coldest(ctx context.Context, limit int) ([]Cold, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+storedColumns+`, f.member, r.used,
		(SELECT COALESCE(SUM(b.size), 0) FROM files x JOIN blobs b ON b.sha256 = x.sha256
		 WHERE x.revision_id = r.id AND b.kept = 0 AND b.cached = 1)
		FROM revisions r JOIN refs f ON f.id = r.ref_id WHERE r.used < $1 ORDER BY r.used, r.id LIMIT $2`, int64(neverCold), limit)
	if err != nil {
		return nil, fmt.Errorf("read the coldest revisions: %w", err)
	}
	defer rows.Close()
	var out []Cold
	for rows.Next() {
		var c Cold
		var published, used int64
		if err := rows.Scan(&c.RowID, &c.Name, &c.Version, &c.User, &c.Channel, &c.RRev, &c.PackageID, &c.PRev,
			&published, &c.Adopted, &c.Member, &used, &c.Frees); err != nil {
			return nil, fmt.Errorf("read the coldest revisions: %w", err)
		}
		c.Time, c.Used = time.UnixMicro(published).UTC(), time.UnixMicro(used).UTC()
		out = append(out, c)
	}
	return out, rows.Err()
}

// Frees is the size of the blobs that nothing names but these revisions of caches.
func (db *DB) Frees(ctx context.Context, ids []int64) (bytes int64, err error) {
	list, err := json.Marshal(ids)
	if err == nil {
		err = db.read.QueryRowContext(ctx, `SELECT COALESCE(SUM(size), 0) FROM (SELECT b.size FROM files x JOIN blobs b ON b.sha256 = x.sha256
			WHERE x.revision_id IN (SELECT value FROM json_each($1)) AND b.kept = 0 GROUP BY b.sha256 HAVING COUNT(*) = b.cached)`, string(list)).Scan(&bytes)
	}
	if err != nil {
		return 0, fmt.Errorf("count what revisions free: %w", err)
	}
	return bytes, nil
}
