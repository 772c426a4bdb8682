package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// Document is what an upstream said at some time and may say differently later. The cache makes its
// keys and bodies.
type Document struct {
	Body    []byte
	Fetched time.Time // to the microsecond
}

// Document returns what is remembered under a kind and key of the member, or conan.ErrNotFound.
func (db *DB) Document(ctx context.Context, member MemberID, kind, key string) (Document, error) {
	var d Document
	var micros int64
	err := db.read.QueryRowContext(ctx, `SELECT body, fetched FROM documents WHERE member_id = $1 AND kind = $2 AND key = $3`,
		member, kind, key).Scan(&d.Body, &micros)
	if errors.Is(err, sql.ErrNoRows) {
		return Document{}, fmt.Errorf("%s %s: %w", kind, key, conan.ErrNotFound)
	}
	if err != nil {
		return Document{}, fmt.Errorf("read %s %s: %w", kind, key, err)
	}
	d.Fetched = time.UnixMicro(micros).UTC()
	return d, nil
}

// PutDocument remembers a document in place of an earlier one. A power failure can lose it.
func (db *DB) PutDocument(ctx context.Context, member MemberID, kind, key string, d Document) error {
	err := db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO documents (member_id, kind, key, body, fetched) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (member_id, kind, key) DO UPDATE SET body = excluded.body, fetched = excluded.fetched`,
			member, kind, key, d.Body, d.Fetched.UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("remember %s %s: %w", kind, key, err)
	}
	return nil
}

// DeleteDocuments forgets documents of one kind by key; keys that are not there are no error.
func (db *DB) DeleteDocuments(ctx context.Context, member MemberID, kind string, keys ...string) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		for _, key := range keys {
			if _, err := tx.ExecContext(ctx, `DELETE FROM documents WHERE member_id = $1 AND kind = $2 AND key = $3`,
				member, kind, key); err != nil {
				return fmt.Errorf("forget %s %s: %w", kind, key, err)
			}
		}
		return nil
	})
}

// OldDocuments lists the keys of up to limit documents of a kind that were fetched before a time
// and come after the key given, by key.
func (db *DB) OldDocuments(ctx context.Context, member MemberID, kind string, before time.Time, after string, limit int) ([]string, error) {
	return column[string](ctx, db.read, "list documents", `SELECT key FROM documents WHERE member_id = $1 AND kind = $2 AND fetched < $3 AND key > $4
		ORDER BY key LIMIT $5`, member, kind, before.UnixMicro(), after, limit)
}

// SurplusDocuments lists the keys of the documents of a kind that are beyond the newest ones, of
// which there are at most keep with so many bytes together.
func (db *DB) SurplusDocuments(ctx context.Context, member MemberID, kind string, keep int, bytes int64) ([]string, error) {
	type document struct {
		key  string
		size int64
	}
	newest, err := collect(ctx, db.read, "list documents", func(r scanner) (d document, err error) {
		return d, r.Scan(&d.key, &d.size)
	}, `SELECT key, LENGTH(body) FROM documents WHERE member_id = $1 AND kind = $2 ORDER BY fetched DESC, key`, member, kind)
	var surplus []string
	for i, d := range newest {
		if bytes -= d.size; i >= keep || bytes < 0 {
			surplus = append(surplus, d.key)
		}
	}
	return surplus, err
}
