package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"conanproxy/internal/conan"
)

func putBlob(ctx context.Context, tx *transaction, f conan.FileInfo) error {
	if f.SHA256 == "" || f.SHA1 == "" || f.MD5 == "" || f.Size < 0 {
		return errors.New("digests are not known")
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO blobs (sha256, size, sha1, md5) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		f.SHA256, f.Size, f.SHA1, f.MD5)
	return err
}

// BlobRow is the sha256 and the size in bytes of a blob that the index knows.
type BlobRow struct {
	SHA256 string
	Size   int64
}

// Blobs lists up to limit blobs after a digest, in order of their digests.
func (db *DB) Blobs(ctx context.Context, after string, limit int) ([]BlobRow, error) {
	return collect(ctx, db.read, "list blobs", func(r scanner) (b BlobRow, err error) { return b, r.Scan(&b.SHA256, &b.Size) },
		`SELECT sha256, size FROM blobs WHERE sha256 > $1 ORDER BY sha256 LIMIT $2`, after, limit)
}

// EachBlob calls fn for each blob in order of their digests, until it fails.
func (db *DB) EachBlob(ctx context.Context, fn func(BlobRow) error) error {
	const batch = 1000
	for after := ""; ; {
		rows, err := db.Blobs(ctx, after, batch)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			if err := fn(row); err != nil {
				return err
			}
			after = row.SHA256
		}
	}
}

// HasBlob tells whether the index knows a blob.
func (db *DB) HasBlob(ctx context.Context, sha256 string) (bool, error) {
	var one int
	err := db.read.QueryRowContext(ctx, `SELECT 1 FROM blobs WHERE sha256 = $1`, sha256).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for blob %s: %w", sha256, err)
	}
	return true, nil
}

// BlobSums are the size and all digests of a blob that the index knows, else conan.ErrNotFound.
func (db *DB) BlobSums(ctx context.Context, sha256 string) (conan.FileInfo, error) {
	f := conan.FileInfo{SHA256: sha256}
	err := db.read.QueryRowContext(ctx, `SELECT size, sha1, md5 FROM blobs WHERE sha256 = $1`, sha256).Scan(&f.Size, &f.SHA1, &f.MD5)
	if errors.Is(err, sql.ErrNoRows) {
		return f, fmt.Errorf("blob %s: %w", sha256, conan.ErrNotFound)
	}
	if err != nil {
		return f, fmt.Errorf("look for blob %s: %w", sha256, err)
	}
	return f, nil
}

// blobNamed asks whether any revision, stage or removed revision names the blob $1.
const blobNamed = `SELECT EXISTS (SELECT 1 FROM files WHERE sha256 = $1) OR EXISTS (SELECT 1 FROM stage_files WHERE sha256 = $1)
	OR EXISTS (SELECT 1 FROM trash_files WHERE sha256 = $1)`

// BlobNamed tells whether any revision, stage or removed revision names the blob.
func (db *DB) BlobNamed(ctx context.Context, sha256 string) (bool, error) {
	var named bool
	err := db.read.QueryRowContext(ctx, blobNamed, sha256).Scan(&named)
	if err != nil {
		return false, fmt.Errorf("look for rows of blob %s: %w", sha256, err)
	}
	return named, nil
}

// Garbage lists up to limit digests that lost a row and may have none left.
func (db *DB) Garbage(ctx context.Context, limit int) ([]string, error) {
	return column[string](ctx, db.read, "read garbage", `SELECT sha256 FROM garbage ORDER BY sha256 LIMIT $1`, limit)
}

// ForgetBlob ends a digest's being garbage: its row of sums goes too if nothing names it any more.
// Call it before the unlink, inside the blob store's Delete.
func (db *DB) ForgetBlob(ctx context.Context, sha256 string) (named bool, err error) {
	err = db.update(ctx, func(ctx context.Context, tx *transaction) error {
		if err := tx.QueryRowContext(ctx, blobNamed, sha256).Scan(&named); err != nil {
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

// KeepGarbage has a digest be garbage again, since its bytes could not be deleted.
func (db *DB) KeepGarbage(ctx context.Context, sha256 string) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		if _, err := tx.ExecContext(ctx, addGarbage, sha256); err != nil {
			return fmt.Errorf("keep the garbage %s: %w", sha256, err)
		}
		return nil
	})
}

const addGarbage = `INSERT INTO garbage (sha256) VALUES ($1) ON CONFLICT DO NOTHING`

// DropCachedFiles removes the rows of upstreams that name a blob, so that it is fetched again when
// it is asked for; rows of stores stay. The blob becomes garbage.
func (db *DB) DropCachedFiles(ctx context.Context, sha256 string) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		const cached = `EXISTS (SELECT 1 FROM revision_kinds k WHERE k.revision_id = files.revision_id AND k.kind = 'upstream')`
		if err := tx.changedRows(ctx, `JOIN files ON files.revision_id = r.id WHERE files.sha256 = $1 AND `+cached, sha256); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM files WHERE sha256 = $1 AND `+cached, sha256)
		if err == nil {
			_, err = tx.ExecContext(ctx, addGarbage, sha256)
		}
		if err != nil {
			return fmt.Errorf("drop cached files of blob %s: %w", sha256, err)
		}
		return nil
	})
}
