package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// This file has what another SQL database would do in another way.

// listed stands for the ids of a JSON list that is bound as $1: one argument, so that a statement
// has the same text for any number of them.
const listed = `(SELECT value FROM json_each($1))`

// openPool opens connections to the database at path. There is one that writes, since SQLite takes
// one writer at a time; many may read beside it.
func openPool(path string, readOnly bool) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path, readOnly))
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	connections := 1
	if readOnly {
		connections = 8
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// dsn sets the pragmas of every connection; foreign_keys and busy_timeout are per connection in
// SQLite.
func dsn(path string, readOnly bool) string {
	q := url.Values{}
	for _, p := range []string{
		"busy_timeout(5000)", "journal_mode(WAL)", "foreign_keys(1)", "synchronous(FULL)", "temp_store(MEMORY)",
	} {
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	} else {
		q.Set("_txlock", "immediate")
	}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}).String()
}

// sideFiles are the suffixes of the files of a database.
var sideFiles = []string{"", "-wal", "-shm"}

// keepPrivate makes the database at path, if it is not there, and closes it to other users: it has
// names and answers that rules hide. SQLite gives its other files the mode of the first.
func keepPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	for _, suffix := range sideFiles {
		if err := os.Chmod(path+suffix, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("open index: %w", err)
		}
	}
	return nil
}

// Size returns the bytes that the index takes on the disk, with its write-ahead log.
func (db *DB) Size() (int64, error) {
	var size int64
	for _, suffix := range sideFiles {
		info, err := os.Stat(db.path + suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("size of the index: %w", err)
		}
		if err == nil {
			size += info.Size()
		}
	}
	return size, nil
}

// Snapshot copies the index at path into a new file, as it is at one moment, beside a running
// server. It needs no DB of this process.
func Snapshot(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("copy index: %w", noIndex(err))
	}
	db, err := openPool(path, false) // VACUUM INTO is refused where only queries are allowed
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO $1`, to)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("copy index: %w", err)
	}
	return keepPrivate(to)
}

func migrationsOf(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, dir)
}

// syncCommits has SQLite sync its log with each commit, or not. A new connection does.
func (db *DB) syncCommits(on bool) error {
	if on != db.queue.unsynced {
		return nil
	}
	level := "NORMAL"
	if on {
		level = "FULL"
	}
	if _, err := db.write.db.Exec("PRAGMA synchronous = " + level); err != nil {
		return err
	}
	db.queue.unsynced = !on
	return nil
}

// checkpoint moves the write-ahead log into the database.
func (db *DB) checkpoint() error {
	_, err := db.write.db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}
