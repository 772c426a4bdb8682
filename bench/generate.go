package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"conanproxy/internal/index"
)

// shape is how large a generated index is.
type shape struct {
	refs     int  // recipes, one revision each, two files
	packages int  // package revisions per recipe, three files each
	wide     int  // package revisions of one more recipe, wide/1.0
	removed  bool // all of it is in the trash, removed one reference after the other
}

// generatedName is the name of reference i: a word that repeats, so that searches in the middle find something.
func generatedName(i int) string {
	words := [...]string{"boost", "core", "mid", "image", "crypto", "net", "json", "math"}
	return fmt.Sprintf("lib%06d-%s", i, words[i%len(words)])
}

const wideName = "wide"

// generate writes rows of a store straight into a new index at dataDir. The blobs' bytes do not exist.
func generate(ctx context.Context, dataDir string, s shape) error {
	if err := os.MkdirAll(dataDir, 0o750); err != nil {
		return err
	}
	path := filepath.Join(dataDir, "index.db")
	db, err := index.Open(ctx, path) // makes the schema
	if err != nil {
		return err
	}
	store, err := db.Member(ctx, "local", index.KindStore)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	raw, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=cache_size(-400000)")
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetMaxOpenConns(1)
	// The triggers count one row at a time; the generated rows come with their counts.
	triggers, err := dropTriggers(ctx, raw)
	if err != nil {
		return err
	}
	if err := insertAll(ctx, raw, store, s); err != nil {
		return err
	}
	if s.removed {
		if err := removeAll(ctx, raw); err != nil {
			return err
		}
	}
	if _, err := raw.ExecContext(ctx, `INSERT INTO store_bytes (member_id, bytes)
		SELECT $1, COALESCE(SUM(size), 0) FROM blobs WHERE sha256 IN (SELECT sha256 FROM files)`, store); err != nil {
		return err
	}
	for _, t := range triggers {
		if _, err := raw.ExecContext(ctx, t); err != nil {
			return err
		}
	}
	if _, err := raw.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		return err
	}
	return writeJournal(ctx, dataDir, path)
}

// writeJournal makes the journal of the generated store, as the server's first start over a store without one does.
func writeJournal(ctx context.Context, dataDir, indexFile string) error {
	blobs := filepath.Join(dataDir, "blobs")
	if err := os.MkdirAll(blobs, 0o750); err != nil {
		return err
	}
	db, err := index.Open(ctx, indexFile)
	if err != nil {
		return err
	}
	return errors.Join(db.KeepJournal(ctx, filepath.Join(blobs, "journal.jsonl")), db.Close())
}

func dropTriggers(ctx context.Context, db *sql.DB) ([]string, error) {
	rows, err := db.QueryContext(ctx, `SELECT name, sql FROM sqlite_master WHERE type = 'trigger'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names, texts []string
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, err
		}
		names, texts = append(names, name), append(texts, text)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows.Close()
	for _, n := range names {
		if _, err := db.ExecContext(ctx, `DROP TRIGGER `+n); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// generator inserts in one transaction.
type generator struct {
	ctx                    context.Context
	store                  index.MemberID
	ref, rev, blob, file   *sql.Stmt
	nextRef, nextRev, seed int64
	time                   int64
}

func insertAll(ctx context.Context, db *sql.DB, store index.MemberID, s shape) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	g := &generator{ctx: ctx, store: store, time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()}
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&g.ref, `INSERT INTO refs (id, member_id, name, version, usr, channel) VALUES ($1, $2, $3, '1.0', '', '')`},
		{&g.rev, `INSERT INTO revisions (id, ref_id, rrev, package_id, prev, time, used, info) VALUES ($1, $2, $3, $4, $5, $6, 9223372036854775807, $7)`},
		{&g.blob, `INSERT INTO blobs (sha256, size, sha1, md5, kept) VALUES ($1, 1000, $2, $3, 1)`},
		{&g.file, `INSERT INTO files (revision_id, name, sha256) VALUES ($1, $2, $3)`},
	} {
		if *p.stmt, err = tx.PrepareContext(ctx, p.text); err != nil {
			return err
		}
	}
	for i := range s.refs {
		if err := g.recipe(generatedName(i), s.packages); err != nil {
			return err
		}
	}
	if s.wide > 0 {
		if err := g.recipe(wideName, s.wide); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// removeAll moves everything to the trash, with a line of the audit for each reference.
func removeAll(ctx context.Context, db *sql.DB) error {
	for _, query := range []string{
		`INSERT INTO removals (id, member_id, time, usr) SELECT id, member_id, $1 + id, 'demo' FROM refs`,
		`INSERT INTO trash (id, removal_id, member_id, name, version, usr, channel, rrev, package_id, prev, time, adopted, info, uploader)
			SELECT r.id, f.id, f.member_id, f.name, f.version, f.usr, f.channel, r.rrev, r.package_id, r.prev, r.time, r.adopted, r.info, 'demo'
			FROM revisions r JOIN refs f ON f.id = r.ref_id`,
		`INSERT INTO trash_files (trash_id, name, sha256) SELECT revision_id, name, sha256 FROM files`,
		`INSERT INTO audit (time, usr, action, target, address, member)
			SELECT $1 + f.id, 'demo', 'remove', f.name || '/' || f.version, '127.0.0.1', 'local' FROM refs f`,
		`INSERT INTO history (member_id, name, version, usr, channel, rrev, package_id, prev, time, since, until)
			SELECT f.member_id, f.name, f.version, f.usr, f.channel, r.rrev, r.package_id, r.prev, r.time, r.time, $1 + f.id
			FROM revisions r JOIN refs f ON f.id = r.ref_id`,
		`DELETE FROM files`, `DELETE FROM revisions`, `DELETE FROM refs`,
	} {
		args := []any{time.Now().UnixMicro()}
		if !strings.Contains(query, "$1") {
			args = nil
		}
		if _, err := db.ExecContext(ctx, query, args...); err != nil {
			return fmt.Errorf("fill the trash: %w", err)
		}
	}
	return nil
}

func (g *generator) recipe(name string, packages int) error {
	g.nextRef++
	if _, err := g.ref.ExecContext(g.ctx, g.nextRef, g.store, name); err != nil {
		return err
	}
	rrev := g.hex(32)
	if err := g.revision(rrev, "", "", nil, "conanfile.py", "conanmanifest.txt"); err != nil {
		return err
	}
	const info = "[settings]\narch=x86_64\nbuild_type=Release\ncompiler=gcc\ncompiler.cppstd=gnu17\ncompiler.libcxx=libstdc++11\n" +
		"compiler.version=12\nos=Linux\n[options]\nfPIC=True\nshared=False\n[requires]\nzlib/1.3.Z\nbzip2/1.0.Z\n"
	for range packages {
		if err := g.revision(rrev, g.hex(40), g.hex(32), info, "conan_package.tgz", "conaninfo.txt", "conanmanifest.txt"); err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) revision(rrev, pid, prev string, info any, files ...string) error {
	g.nextRev++
	g.time += 1000
	if _, err := g.rev.ExecContext(g.ctx, g.nextRev, g.nextRef, rrev, pid, prev, g.time, info); err != nil {
		return err
	}
	for _, f := range files {
		d := g.hex(64)
		if _, err := g.blob.ExecContext(g.ctx, d, d[:40], d[:32]); err != nil {
			return err
		}
		if _, err := g.file.ExecContext(g.ctx, g.nextRev, f, d); err != nil {
			return err
		}
	}
	return nil
}

// hex returns n digits that no other call returned, in rising order: rows then go to the end of each index.
func (g *generator) hex(n int) string {
	g.seed++
	sum := sha256.Sum256(fmt.Appendf(nil, "%d", g.seed))
	return (fmt.Sprintf("%010x", g.seed) + hex.EncodeToString(sum[:]))[:n]
}
