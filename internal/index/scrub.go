package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// ScrubCursor is the digest that the background scrub last finished; empty if it begins anew.
func (db *DB) ScrubCursor(ctx context.Context) (string, error) {
	var cursor string
	err := db.read.QueryRowContext(ctx, `SELECT cursor FROM scrub`).Scan(&cursor)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read the scrub's place: %w", err)
	}
	return cursor, nil
}

// SetScrubCursor keeps the scrub's place over a restart.
func (db *DB) SetScrubCursor(ctx context.Context, sha256 string) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO scrub (id, cursor) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET cursor = excluded.cursor`, sha256)
		return err
	})
}
