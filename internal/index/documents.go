package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// Document is what an upstream said at some time and may say differently later. The cache makes its keys and bodies.
type Document struct {
	Body    []byte
	Fetched time.Time // to the microsecond
}

// Document returns what is remembered under a kind and key of the member, or conan.ErrNotFound.
func (db *DB) Document(ctx context.Context, member, kind, key string) (Document, error) {
	var d Document
	var micros int64
	err := db.read.QueryRowContext(ctx, `SELECT body, fetched FROM documents WHERE member = $1 AND kind = $2 AND key = $3`,
		member, kind, key).Scan(&d.Body, &micros)
	if errors.Is(err, sql.ErrNoRows) {
		return Document{}, fmt.Errorf("%s %s of %s: %w", kind, key, member, conan.ErrNotFound)
	}
	if err != nil {
		return Document{}, fmt.Errorf("read %s %s of %s: %w", kind, key, member, err)
	}
	d.Fetched = time.UnixMicro(micros).UTC()
	return d, nil
}

// PutDocument remembers a document in place of an earlier one. A failure of power may take it back.
func (db *DB) PutDocument(ctx context.Context, member, kind, key string, d Document) error {
	err := db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO documents (member, kind, key, body, fetched) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (member, kind, key) DO UPDATE SET body = excluded.body, fetched = excluded.fetched`,
			member, kind, key, d.Body, d.Fetched.UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("remember %s %s of %s: %w", kind, key, member, err)
	}
	return nil
}

// DeleteDocuments forgets documents of one kind by key; keys that are not there are no error.
func (db *DB) DeleteDocuments(ctx context.Context, member, kind string, keys ...string) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		for _, key := range keys {
			if _, err := tx.ExecContext(ctx, `DELETE FROM documents WHERE member = $1 AND kind = $2 AND key = $3`,
				member, kind, key); err != nil {
				return fmt.Errorf("forget %s %s of %s: %w", kind, key, member, err)
			}
		}
		return nil
	})
}

// OldDocuments lists the keys of up to limit documents of a kind that were fetched before a time and come
// after the key given, by key.
func (db *DB) OldDocuments(ctx context.Context, member, kind string, before time.Time, after string, limit int) ([]string, error) {
	return db.documentKeys(ctx, `SELECT key FROM documents WHERE member = $1 AND kind = $2 AND fetched < $3 AND key > $4
		ORDER BY key LIMIT $5`, member, kind, before.UnixMicro(), after, limit)
}

// SurplusDocuments lists the keys of up to limit documents of a kind beyond the keep newest.
func (db *DB) SurplusDocuments(ctx context.Context, member, kind string, keep, limit int) ([]string, error) {
	return db.documentKeys(ctx, `SELECT key FROM documents WHERE member = $1 AND kind = $2
		ORDER BY fetched DESC, key LIMIT $3 OFFSET $4`, member, kind, limit, keep)
}

func (db *DB) documentKeys(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list documents: %w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, fmt.Errorf("list documents: %w", err)
		}
		out = append(out, key)
	}
	return out, rows.Err()
}
