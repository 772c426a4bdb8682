package index

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// CachedBytes is the size of all blobs that rows of upstreams name and no row of a store or of a
// stage does. The same transactions keep it that write those rows, so reading it costs the same
// however many blobs there are.
func (db *DB) CachedBytes(ctx context.Context) (int64, error) {
	var n int64
	if err := db.read.QueryRowContext(ctx, `SELECT COALESCE(SUM(bytes), 0) FROM cached_bytes`).Scan(&n); err != nil {
		return 0, fmt.Errorf("read the cached bytes: %w", err)
	}
	return n, nil
}

// FoldBytes adds the changes of CachedBytes and StoreBytes up, if there are many.
func (db *DB) FoldBytes(ctx context.Context) error {
	const many = 100
	var changes int
	if err := db.read.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM cached_bytes) + (SELECT COUNT(*) FROM store_bytes)`).Scan(&changes); err != nil || changes < many {
		return err
	}
	err := db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		var last, sum int64
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(id), 0), COALESCE(SUM(bytes), 0) FROM cached_bytes`).Scan(&last, &sum); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM cached_bytes WHERE id <= $1`, last); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO cached_bytes (bytes) VALUES ($1)`, sum); err != nil {
			return err
		}
		return foldStoreBytes(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("fold the sums of bytes: %w", err)
	}
	return nil
}

// Cold is a revision that is cached, as a candidate for eviction.
type Cold struct {
	Stored
	Member Member
	Used   time.Time // last use
	Frees  int64     // bytes of blobs that only this revision names
}

// Coldest lists up to limit cached revisions, the longest unused first.
func (db *DB) Coldest(ctx context.Context, limit int) ([]Cold, error) {
	return collect(ctx, db.read, "read the coldest revisions", func(r scanner) (c Cold, err error) {
		var used int64
		c.Stored, err = scanStored(r, &c.Member.ID, &c.Member.Name, &c.Member.Kind, &used, &c.Frees)
		c.Used = time.UnixMicro(used).UTC()
		return c, err
	}, `SELECT `+storedColumns+`, m.id, m.name, m.kind, r.used,
		(SELECT COALESCE(SUM(b.size), 0) FROM files x JOIN blobs b ON b.sha256 = x.sha256
		 WHERE x.revision_id = r.id AND b.kept = 0 AND b.cached = 1)
		FROM revisions r JOIN refs f ON f.id = r.ref_id JOIN members m ON m.id = f.member_id WHERE r.used < $1 ORDER BY r.used, r.id LIMIT $2`, int64(neverCold), limit)
}

// Frees is the size of the blobs that nothing names but these revisions of caches.
func (db *DB) Frees(ctx context.Context, ids []int64) (int64, error) {
	return frees(ctx, db.read, ids)
}

func frees(ctx context.Context, q rowQueryer, ids []int64) (bytes int64, err error) {
	list, err := json.Marshal(ids)
	if err == nil {
		err = q.QueryRowContext(ctx, `SELECT COALESCE(SUM(size), 0) FROM (SELECT b.size FROM files x JOIN blobs b ON b.sha256 = x.sha256
			WHERE x.revision_id IN `+listed+` AND b.kept = 0 GROUP BY b.sha256 HAVING COUNT(*) = b.cached)`, string(list)).Scan(&bytes)
	}
	if err != nil {
		return 0, fmt.Errorf("count what revisions free: %w", err)
	}
	return bytes, nil
}
