package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// ErrNoStage is returned for a stage that is not there: never declared, published, removed or
// swept.
var ErrNoStage = errors.New("no such stage")

// ErrStageChanged is returned by Publish if what it was told no longer holds: look again and
// repeat.
var ErrStageChanged = errors.New("stage changed meanwhile")

// Stage is an upload that is not published yet.
type Stage struct {
	ID             string
	Member         MemberID         // the store that it will be published in
	conan.Revision                  // RRev and PRev are empty if they are to be computed
	Uploader       string           // empty for anonymous
	Address        string           // of the client that began it
	Declared       map[string]int64 // names and sizes of a declared set; nil for an undeclared one
	Base           conan.Revision   // the revision that the client saw; the zero value if none
	Touched        time.Time        // when it was made or last took a file
	Files          []conan.FileInfo // sorted by name
}

// StagedFile is one file to be put into a stage.
type StagedFile struct {
	conan.FileInfo
	Members string // the list of an archive's members as the store wrote it; empty if it was not made
}

// CreateStage records a new stage without files.
func (db *DB) CreateStage(ctx context.Context, s Stage) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error { return insertStage(ctx, tx, s) })
}

func insertStage(ctx context.Context, tx *transaction, s Stage) error {
	declared := ""
	if s.Declared != nil {
		b, err := json.Marshal(s.Declared)
		if err != nil {
			return fmt.Errorf("create stage of %s: %w", s.Revision, err)
		}
		declared = string(b)
	}
	base := ""
	if s.Base.RRev != "" {
		base = s.Base.RRev
		if s.Base.PRev != "" {
			base += "#" + s.Base.PRev
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO stages (id, ref, rrev, package_id, prev, usr, declared, base, created, member_id, address)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO UPDATE SET created = excluded.created`,
		s.ID, s.Ref.String(), s.RRev, s.PackageID, s.PRev, s.Uploader, declared, base, s.Touched.UnixMicro(), s.Member, s.Address)
	if err != nil {
		return fmt.Errorf("create stage of %s: %w", s.Revision, err)
	}
	return nil
}

// Stage returns a stage with its files, or ErrNoStage.
func (db *DB) Stage(ctx context.Context, id string) (Stage, error) {
	s := Stage{ID: id}
	var ref, declared, base string
	var touched int64
	err := db.read.QueryRowContext(ctx, `SELECT ref, rrev, package_id, prev, usr, declared, base, created, member_id, address FROM stages WHERE id = $1`, id).
		Scan(&ref, &s.RRev, &s.PackageID, &s.PRev, &s.Uploader, &declared, &base, &touched, &s.Member, &s.Address)
	if errors.Is(err, sql.ErrNoRows) {
		return Stage{}, ErrNoStage
	}
	if err != nil {
		return Stage{}, fmt.Errorf("read stage: %w", err)
	}
	if s.Ref, err = conan.ParseRef(ref); err != nil {
		return Stage{}, fmt.Errorf("read stage: %w", err)
	}
	if declared != "" {
		if err := json.Unmarshal([]byte(declared), &s.Declared); err != nil {
			return Stage{}, fmt.Errorf("read stage of %s: %w", s.Revision, err)
		}
	}
	s.Base = parseBase(s.Revision, base)
	s.Touched = time.UnixMicro(touched).UTC()
	s.Files, err = stagedFiles(ctx, db.read, id)
	return s, err
}

func parseBase(target conan.Revision, text string) conan.Revision {
	if text == "" {
		return conan.Revision{}
	}
	base := conan.Revision{Ref: target.Ref, PackageID: target.PackageID, RRev: text}
	for i := range text {
		if text[i] == '#' {
			base.RRev, base.PRev = text[:i], text[i+1:]
		}
	}
	return base
}

func stagedFiles(ctx context.Context, q queryer, id string) ([]conan.FileInfo, error) {
	return collect(ctx, q, "read staged files", scanFile, `SELECT `+fileColumns+`
		FROM stage_files x JOIN blobs b ON b.sha256 = x.sha256 WHERE x.stage_id = $1 ORDER BY x.name`, id)
}

// StagedMembers returns the list of an archive's members that was kept for these bytes in a stage;
// empty if none was.
func (db *DB) StagedMembers(ctx context.Context, id, name, sha256 string) (string, error) {
	var members string
	err := db.read.QueryRowContext(ctx, `SELECT members FROM stage_files WHERE stage_id = $1 AND name = $2 AND sha256 = $3`,
		id, name, sha256).Scan(&members)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read staged members: %w", err)
	}
	return members, nil
}

// StageExists tells whether the stage is there.
func (db *DB) StageExists(ctx context.Context, id string) (bool, error) {
	var there bool
	if err := db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM stages WHERE id = $1)`, id).Scan(&there); err != nil {
		return false, fmt.Errorf("look for stage: %w", err)
	}
	return there, nil
}

// PutStaged names a blob in a stage and replaces a file of the same name. A declared stage must be
// there (else ErrNoStage), another one is made when its first file comes. It returns the names that
// the stage has now. The blob may be staged still, and a power failure can lose what was put: the
// set is synced and committed when it is published. A metadata file is durable at once and its blob
// must be, since it may go to a revision that is published already, whose time stays.
func (db *DB) PutStaged(ctx context.Context, s Stage, f StagedFile) (names []string, err error) {
	write := db.remember
	if conan.IsMetadata(f.Name) {
		write = db.update
	}
	err = write(ctx, func(ctx context.Context, tx *transaction) error {
		names = nil
		if conan.IsMetadata(f.Name) && s.Pinned() {
			id, err := revisionID(ctx, tx, s.Member, s.Revision)
			if err == nil {
				tx.changed(s.Member, s.Revision)
				changes, err := PutOptions{Files: []conan.FileInfo{f.FileInfo}}.fileChanges(ctx, tx, id)
				if err != nil {
					return fmt.Errorf("stage %s of %s: %w", f.Name, s.Revision, err)
				}
				if len(changes) > 0 {
					tx.tellFiles(s.Member, s.Revision, changes)
				}
				return fileWrite{revisionID: id, now: s.Touched}.put(ctx, tx, f.FileInfo)
			}
			if !errors.Is(err, conan.ErrNotFound) {
				return err
			}
		}
		if err := touchStage(ctx, tx, s); err != nil {
			return err
		}
		if err := putStagedFile(ctx, tx, s.ID, f); err != nil {
			return fmt.Errorf("stage %s of %s: %w", f.Name, s.Revision, err)
		}
		names, err = column[string](ctx, tx, "list staged files", `SELECT name FROM stage_files WHERE stage_id = $1 ORDER BY name`, s.ID)
		return err
	})
	return names, err
}

func touchStage(ctx context.Context, tx *transaction, s Stage) error {
	if s.Declared == nil {
		return insertStage(ctx, tx, s)
	}
	res, err := tx.ExecContext(ctx, `UPDATE stages SET created = $2 WHERE id = $1`, s.ID, s.Touched.UnixMicro())
	if err != nil {
		return fmt.Errorf("touch stage of %s: %w", s.Revision, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, ErrNoStage)
	}
	return nil
}

func putStagedFile(ctx context.Context, tx *transaction, id string, f StagedFile) error {
	if err := putBlob(ctx, tx, f.FileInfo); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO garbage (sha256) SELECT sha256 FROM stage_files
		WHERE stage_id = $1 AND name = $2 AND sha256 <> $3 ON CONFLICT DO NOTHING`, id, f.Name, f.SHA256); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO stage_files (stage_id, name, sha256, members) VALUES ($1, $2, $3, $4)
		ON CONFLICT (stage_id, name) DO UPDATE SET sha256 = excluded.sha256, members = excluded.members`,
		id, f.Name, f.SHA256, f.Members)
	return err
}

// DropStages removes stages; their blobs become garbage. Those that are not there change nothing.
func (db *DB) DropStages(ctx context.Context, ids []string) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		for _, id := range ids {
			if err := dropStage(ctx, tx, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropStage removes a stage; its blobs become garbage.
func dropStage(ctx context.Context, tx *transaction, id string) error {
	for _, q := range []string{
		`INSERT INTO garbage (sha256) SELECT DISTINCT sha256 FROM stage_files WHERE stage_id = $1 ON CONFLICT DO NOTHING`,
		`DELETE FROM stage_files WHERE stage_id = $1`,
		`DELETE FROM stages WHERE id = $1`,
	} {
		if _, err := tx.ExecContext(ctx, q, id); err != nil {
			return fmt.Errorf("remove stage: %w", err)
		}
	}
	return nil
}

// hiddenPackages selects package revisions of stores whose recipe revision is not published.
const hiddenPackages = `SELECT p.id FROM revisions p JOIN refs f ON f.id = p.ref_id JOIN members m ON m.id = f.member_id
	WHERE m.kind = 'store' AND p.package_id <> '' AND p.time < $1 AND NOT EXISTS
	(SELECT 1 FROM revisions r WHERE r.ref_id = p.ref_id AND r.rrev = p.rrev AND r.package_id = '')`

// SweepStages removes the stages that took no file since before, and package revisions of stores
// older than that whose recipe revision was never published. Their blobs become garbage. It returns
// how many of both went.
func (db *DB) SweepStages(ctx context.Context, before time.Time) (stages, orphans int, err error) {
	// The long look at all packages is a reader's; the writer looks at what it found once more.
	hidden, err := column[int64](ctx, db.read, "sweep hidden packages", hiddenPackages, before.UnixMicro())
	if err != nil {
		return 0, 0, err
	}
	err = db.update(ctx, func(ctx context.Context, tx *transaction) error {
		ids, err := column[string](ctx, tx, "sweep stages", `SELECT id FROM stages WHERE created < $1`, before.UnixMicro())
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := dropStage(ctx, tx, id); err != nil {
				return err
			}
		}
		var rows []int64
		for _, id := range hidden {
			still, err := column[int64](ctx, tx, "sweep hidden packages", hiddenPackages+` AND p.id = $2`, before.UnixMicro(), id)
			if err != nil {
				return err
			}
			rows = append(rows, still...)
		}
		if err := removeRevisions(ctx, tx, rows); err != nil {
			return err
		}
		stages, orphans = len(ids), len(rows)
		return nil
	})
	return stages, orphans, err
}

// Abandoned counts what SweepStages would remove.
func (db *DB) Abandoned(ctx context.Context, before time.Time) (stages, orphans int, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM stages WHERE created < $1), (SELECT COUNT(*) FROM (`+hiddenPackages+`))`,
		before.UnixMicro()).Scan(&stages, &orphans)
	if err != nil {
		return 0, 0, fmt.Errorf("count abandoned uploads: %w", err)
	}
	return stages, orphans, nil
}
