package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// BlobRow is the sha256 and the size in bytes of a blob that the index knows.
type BlobRow struct {
	SHA256 string
	Size   int64
}

// Blobs lists up to limit blobs after a digest, in order of their digests.
func (db *DB) Blobs(ctx context.Context, after string, limit int) ([]BlobRow, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT sha256, size FROM blobs WHERE sha256 > $1 ORDER BY sha256 LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list blobs: %w", err)
	}
	defer rows.Close()
	var out []BlobRow
	for rows.Next() {
		var b BlobRow
		if err := rows.Scan(&b.SHA256, &b.Size); err != nil {
			return nil, fmt.Errorf("list blobs: %w", err)
		}
		out = append(out, b)
	}
	return out, rows.Err()
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

// FileRow is a file of a revision that a member holds.
type FileRow struct {
	Member string
	conan.Revision
	Name string
}

// FilesOf lists the files that name a blob.
func (db *DB) FilesOf(ctx context.Context, sha256 string) ([]FileRow, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT f.member, f.name, f.version, f.usr, f.channel, r.rrev, r.package_id, r.prev, x.name
		FROM files x JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id WHERE x.sha256 = $1
		ORDER BY f.member, r.id, x.name`, sha256)
	if err != nil {
		return nil, fmt.Errorf("list files of blob %s: %w", sha256, err)
	}
	defer rows.Close()
	var out []FileRow
	for rows.Next() {
		var f FileRow
		if err := rows.Scan(&f.Member, &f.Ref.Name, &f.Version, &f.User, &f.Channel, &f.RRev, &f.PackageID, &f.PRev, &f.Name); err != nil {
			return nil, fmt.Errorf("list files of blob %s: %w", sha256, err)
		}
		out = append(out, f)
	}
	return out, rows.Err()
}

// DropCachedFiles removes the rows of caches that name a blob, so that it is fetched again when it is asked for; rows of the
// local store stay. The blob becomes garbage.
func (db *DB) DropCachedFiles(ctx context.Context, sha256 string) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM files WHERE sha256 = $1 AND EXISTS
			(SELECT 1 FROM revisions r JOIN refs f ON f.id = r.ref_id WHERE r.id = files.revision_id AND f.member <> $2)`, sha256, LocalMember)
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO garbage (sha256) VALUES ($1) ON CONFLICT DO NOTHING`, sha256)
		}
		if err != nil {
			return fmt.Errorf("drop cached files of blob %s: %w", sha256, err)
		}
		return nil
	})
}

// scrubCursor is where the background scrub's place is kept among the documents.
const scrubMember, scrubKind, scrubKey = "", "scrub", "cursor"

// ScrubCursor is the digest that the background scrub last finished; empty if it begins anew.
func (db *DB) ScrubCursor(ctx context.Context) (string, error) {
	d, err := db.Document(ctx, scrubMember, scrubKind, scrubKey)
	if errors.Is(err, conan.ErrNotFound) {
		return "", nil
	}
	return string(d.Body), err
}

// SetScrubCursor keeps the scrub's place over a restart.
func (db *DB) SetScrubCursor(ctx context.Context, sha256 string) error {
	return db.PutDocument(ctx, scrubMember, scrubKind, scrubKey, Document{Body: []byte(sha256), Fetched: time.Now()})
}
