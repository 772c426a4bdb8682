// Package index is the one SQL index: which revisions each member has, which blobs their files are,
// what upstreams said, and what is being uploaded. Rows are written after the bytes they name are
// durable and removed before those bytes are.
package index

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"conanproxy/internal/memory"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNoIndex is returned by OpenExisting if there is no index.
var ErrNoIndex = errors.New("there is no index")

// ErrNewerSchema is returned for an index that a later release has written.
var ErrNewerSchema = errors.New("a later release of conanproxy has written the index; run that release, or restore a backup")

// DB is the index. All methods may be called concurrently. Writes go through one connection, reads
// through many. No method has a transaction open across network or disk copies.
type DB struct {
	path  string
	read  reader
	write *statements
	queue writeQueue

	changes *memory.Changes
	members sync.Map // MemberID → Member, as far as they were needed
	quotas  sync.Map // MemberID → int64, the bytes that a store may have
	journal keptJournal
	feed    feed

	reloadHides func() error // see HidesInForce
}

// Changes counts what the writes of this index changed. The counters of a write are raised before
// it returns.
func (db *DB) Changes() *memory.Changes { return db.changes }

// Open opens or creates the index at path and brings its schema up to date. Use it only where no
// blobs are without an index; else use OpenExisting.
func Open(ctx context.Context, path string) (*DB, error) {
	if err := keepPrivate(path); err != nil {
		return nil, err
	}
	write, err := openPool(path, false)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, write); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate index: %w", err), write.Close())
	}
	read, err := openPool(path, true)
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	db := &DB{path: path, read: reader{newStatements(read)}, write: newStatements(write), changes: new(memory.Changes)}
	if err := db.begin(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// begin makes sure that the index answers, and shows the feed as far as it is written.
func (db *DB) begin(ctx context.Context) error {
	if err := db.Ping(ctx); err != nil {
		return err
	}
	var newest int64
	if err := db.read.QueryRowContext(ctx, `SELECT MAX(seq) FROM feed`).Scan(&newest); err != nil {
		return fmt.Errorf("read the feed: %w", err)
	}
	db.feed.newest.Store(newest)
	return nil
}

// OpenExisting is Open for an index that must be there, else ErrNoIndex. A new index beside stored
// blobs would make all of them orphans.
func OpenExisting(ctx context.Context, path string) (*DB, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() == 0 {
		err = fs.ErrNotExist // SQLite takes an empty file for a new database
	}
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", path, noIndex(err))
	}
	return Open(ctx, path)
}

func noIndex(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoIndex
	}
	return err
}

// migrate brings the schema up to date.
func migrate(ctx context.Context, db *sql.DB) error {
	p, err := migrationsOf(db)
	if err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > target {
		return ErrNewerSchema
	}
	_, err = p.Up(ctx)
	return err
}

// Ping tells whether the index answers and its journal can be written.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	if err := db.read.QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
		return fmt.Errorf("index does not answer: %w", err)
	}
	return db.journal.failure()
}

// Close checkpoints the write-ahead log and closes everything.
func (db *DB) Close() error {
	return errors.Join(db.read.close(), db.checkpoint(), db.write.close(), db.journal.close())
}
