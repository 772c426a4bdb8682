package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"conanproxy/internal/blob"
)

// The rows of the objects of a bucket.
var _ blob.Keys = (*DB)(nil)

const objectColumns = `key, sha256, size`

func scanObject(r scanner) (o blob.Object, err error) {
	return o, r.Scan(&o.Key, &o.Digest, &o.Size)
}

// FindObject implements blob.Keys.
func (db *DB) FindObject(ctx context.Context, d blob.Digest) (blob.Object, error) {
	o, err := scanObject(db.read.QueryRowContext(ctx, `SELECT `+objectColumns+` FROM objects WHERE sha256 = $1 AND state = 'stored'`, d))
	if errors.Is(err, sql.ErrNoRows) {
		return o, fmt.Errorf("object of blob %.80q: %w", d, blob.ErrNotFound)
	}
	if err != nil {
		return o, fmt.Errorf("object of blob %.80q: %w", d, err)
	}
	return o, nil
}

// BeginObject implements blob.Keys. A power failure can lose the row; then the object is one
// without a row.
func (db *DB) BeginObject(ctx context.Context, o blob.Object) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO objects (`+objectColumns+`, state, since) VALUES ($1, $2, $3, 'pending', $4)`,
			o.Key, o.Digest, o.Size, time.Now().UnixMicro())
		if err != nil {
			return fmt.Errorf("begin object %s: %w", o.Key, err)
		}
		return nil
	})
}

// CompleteObject implements blob.Keys. A power failure can lose it, but not without the later write
// that names the blob.
func (db *DB) CompleteObject(ctx context.Context, key string) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		done, err := tx.ExecContext(ctx, `UPDATE objects SET since = $2, state = CASE
			WHEN EXISTS (SELECT 1 FROM objects o WHERE o.sha256 = objects.sha256 AND o.state = 'stored') THEN 'dead' ELSE 'stored' END
			WHERE key = $1 AND state = 'pending'`, key, time.Now().UnixMicro())
		if err != nil {
			return fmt.Errorf("complete object %s: %w", key, err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(fmt.Errorf("complete object %s: its upload was given up", key), err)
		}
		return nil
	})
}

// DropObject implements blob.Keys.
func (db *DB) DropObject(ctx context.Context, d blob.Digest) (size int64, err error) {
	err = db.update(ctx, func(ctx context.Context, tx *transaction) error {
		err := tx.QueryRowContext(ctx, `UPDATE objects SET state = 'dead', since = $2
			WHERE sha256 = $1 AND state = 'stored' AND NOT (`+blobNamed+`) RETURNING size`, d, time.Now().UnixMicro()).Scan(&size)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("drop the object of blob %.80q: %w", d, err)
	}
	return size, nil
}

// SetObjectAside implements blob.Keys.
func (db *DB) SetObjectAside(ctx context.Context, key string) error {
	return db.objects(ctx, `UPDATE objects SET state = 'aside', since = $2 WHERE key = $1 AND state = 'stored'`, key, time.Now().UnixMicro())
}

// AsideObjects implements blob.Keys.
func (db *DB) AsideObjects(ctx context.Context, d blob.Digest) ([]blob.Object, error) {
	return collect(ctx, db.read, "list objects that were set aside", scanObject,
		`SELECT `+objectColumns+` FROM objects WHERE sha256 = $1 AND state = 'aside' ORDER BY key DESC`, d)
}

// LostBlobs implements blob.Keys.
func (db *DB) LostBlobs(ctx context.Context, before time.Time) ([]blob.Digest, error) {
	return column[blob.Digest](ctx, db.read, "list blobs without an object", `SELECT DISTINCT a.sha256 FROM objects a
		JOIN blobs b ON b.sha256 = a.sha256 WHERE a.state = 'aside' AND a.since < $1
		AND NOT EXISTS (SELECT 1 FROM objects o WHERE o.sha256 = a.sha256 AND o.state = 'stored')`, before.UnixMicro())
}

// TakeObjectBack implements blob.Keys.
func (db *DB) TakeObjectBack(ctx context.Context, o blob.Object) error {
	return db.objects(ctx, `UPDATE objects SET state = 'stored', since = $3 WHERE key = $2 AND state = 'aside' AND (`+blobNamed+`)
		AND NOT EXISTS (SELECT 1 FROM objects o WHERE o.sha256 = $1 AND o.state = 'stored')`, o.Digest, o.Key, time.Now().UnixMicro())
}

// objects runs one statement that changes rows of objects.
func (db *DB) objects(ctx context.Context, query string, args ...any) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return fmt.Errorf("change the rows of objects: %w", err)
		}
		return nil
	})
}

// EachObject implements blob.Keys.
func (db *DB) EachObject(ctx context.Context, fn func(blob.Object) error) error {
	const batch = 1000
	for after := ""; ; {
		objects, err := collect(ctx, db.read, "list objects", scanObject,
			`SELECT `+objectColumns+` FROM objects WHERE key > $1 AND state = 'stored' ORDER BY key LIMIT $2`, after, batch)
		if err != nil || len(objects) == 0 {
			return err
		}
		for _, o := range objects {
			if err := fn(o); err != nil {
				return err
			}
			after = o.Key
		}
	}
}

// RetireObjects implements blob.Keys.
func (db *DB) RetireObjects(ctx context.Context, pending, aside time.Time) error {
	return db.objects(ctx, `UPDATE objects SET state = 'dead', since = $1
		WHERE (state = 'pending' AND since < $2) OR (state = 'aside' AND since < $3)`, time.Now().UnixMicro(), pending.UnixMicro(), aside.UnixMicro())
}

// DeadObjects implements blob.Keys.
func (db *DB) DeadObjects(ctx context.Context, limit int) ([]string, error) {
	return column[string](ctx, db.read, "list dead objects", `SELECT key FROM objects WHERE state = 'dead' ORDER BY since LIMIT $1`, limit)
}

// ForgetObjects implements blob.Keys.
func (db *DB) ForgetObjects(ctx context.Context, keys []string) error {
	list, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return db.objects(ctx, `DELETE FROM objects WHERE state = 'dead' AND key IN `+listed, string(list))
}

// UnknownObjects implements blob.Keys.
func (db *DB) UnknownObjects(ctx context.Context, keys []string) ([]string, error) {
	list, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	known, err := column[string](ctx, db.read, "look for rows of objects", `SELECT key FROM objects WHERE key IN `+listed, string(list))
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return slices.Contains(known, key) }), err
}

// AdoptObjects implements blob.Keys.
func (db *DB) AdoptObjects(ctx context.Context, objects []blob.Object) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		for _, o := range objects {
			_, err := tx.ExecContext(ctx, `DELETE FROM objects WHERE sha256 = $1 AND state = 'stored' AND key < $2`, o.Digest, o.Key)
			if err == nil {
				_, err = tx.ExecContext(ctx, `INSERT INTO objects (`+objectColumns+`, state, since) VALUES ($1, $2, $3, 'stored', $4)
					ON CONFLICT DO NOTHING`, o.Key, o.Digest, o.Size, time.Now().UnixMicro())
			}
			if err != nil {
				return fmt.Errorf("adopt object %s: %w", o.Key, err)
			}
		}
		return nil
	})
}

// GiveUpUnnamedObjects implements blob.Keys.
func (db *DB) GiveUpUnnamedObjects(ctx context.Context, before time.Time) error {
	return db.objects(ctx, `INSERT INTO garbage (sha256) SELECT sha256 FROM objects
		WHERE state = 'stored' AND since < $1 AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.sha256 = objects.sha256) ON CONFLICT DO NOTHING`,
		before.UnixMicro())
}

// ObjectsListed implements blob.Keys.
func (db *DB) ObjectsListed(ctx context.Context) (time.Time, error) {
	var at int64
	err := db.read.QueryRowContext(ctx, `SELECT listed FROM bucket`).Scan(&at)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, fmt.Errorf("read when the bucket was listed: %w", err)
	}
	return time.UnixMicro(at).UTC(), nil
}

// SetObjectsListed implements blob.Keys.
func (db *DB) SetObjectsListed(ctx context.Context, at time.Time) error {
	return db.objects(ctx, `UPDATE bucket SET listed = $1`, at.UnixMicro())
}

// Installation is the id that stands in this index and in its bucket; empty if the blobs are on the
// disk.
func (db *DB) Installation(ctx context.Context) (id string, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT installation FROM bucket`).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read the id of the bucket: %w", err)
	}
	return id, nil
}

// SetInstallation notes that the blobs are in the bucket with that id. The bucket was not listed
// yet.
func (db *DB) SetInstallation(ctx context.Context, id string) error {
	return db.objects(ctx, `INSERT INTO bucket (id, installation, listed) VALUES (1, $1, $2)`, id, time.Now().UnixMicro())
}
