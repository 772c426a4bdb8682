// Package index is the one SQL index: which revisions each member holds, which blobs their files are,
// what upstreams said, and what is being uploaded. Rows are written after the bytes they name are durable
// and removed before those bytes are.
package index

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"conanproxy/internal/memory"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the index. All methods may be called concurrently. SQLite takes one writer at a time, so there are two
// pools: one connection that writes, many that only read. No method holds a transaction across network or disk copies.
type DB struct {
	read  reader
	write *statements
	queue writeQueue

	changes *memory.Changes
}

// Changes counts what the writes of this index changed. The counters of a write are raised before it returns.
func (db *DB) Changes() *memory.Changes { return db.changes }

// Open opens or creates the SQLite index at path and brings its schema up to date.
func Open(ctx context.Context, path string) (*DB, error) {
	write, err := sql.Open("sqlite", dsn(path, false))
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	write.SetMaxOpenConns(1)
	if err := migrate(ctx, write); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate index: %w", err), write.Close())
	}
	read, err := sql.Open("sqlite", dsn(path, true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open index: %w", err), write.Close())
	}
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	db := &DB{read: reader{newStatements(read)}, write: newStatements(write), changes: new(memory.Changes)}
	if err := db.Ping(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// dsn sets the pragmas of every connection; foreign_keys and busy_timeout are per connection in SQLite.
func dsn(path string, readOnly bool) string {
	q := url.Values{}
	for _, p := range []string{"busy_timeout(5000)", "journal_mode(WAL)", "foreign_keys(1)", "synchronous(FULL)", "temp_store(MEMORY)"} {
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	} else {
		q.Set("_txlock", "immediate")
	}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String()
}

func migrate(ctx context.Context, db *sql.DB) error {
	p, err := migrationsOf(db)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

func migrationsOf(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, dir)
}

// Ping tells whether the index answers.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	if err := db.read.QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
		return fmt.Errorf("index does not answer: %w", err)
	}
	return nil
}

// Close checkpoints the write-ahead log and closes both pools.
func (db *DB) Close() error {
	err := db.read.close()
	if _, cp := db.write.db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`); cp != nil {
		err = errors.Join(err, cp)
	}
	return errors.Join(err, db.write.close())
}
