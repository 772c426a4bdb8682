package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"time"

	"conanproxy/internal/conan"
)

// Publication is what becomes a revision of a store. It was validated against what Staged and
// Existing say.
type Publication struct {
	Member   MemberID // the store
	StageID  string
	Revision conan.Revision    // pinned
	Files    []conan.FileInfo  // what the revision gets, or gets in place of what it has; the stage names every blob
	Staged   map[string]string // name → sha256 of the stage's files, metadata left out
	Existing map[string]string // the same of the revision, if it is there already
	Info     *string           // conaninfo.txt of a package
	Remove   []string          // names that files under other names replace
	Uploader string            // who published it
	Audit    []Audit           // lines about it, written if readers see anything new
	Now      time.Time         // the server's clock
	// KeepTime is how long after its publication a revision keeps its time when it is published
	// again. Afterwards it becomes the newest.
	KeepTime time.Duration
	// RecipeStage is a stage that may stand for the recipe revision of a package: the package
	// stays hidden until the recipe is published. May be empty.
	RecipeStage string
}

// Publish makes a stage a revision of a store in one transaction: files, time, and the stage is
// gone. Metadata files of the stage are published too. The time is Now, but later than that of
// every other revision of the reference; a revision that is the newest of its siblings already, or
// was published within KeepTime, keeps its time. It fails with ErrNoStage, with ErrStageChanged if
// what was validated is no longer so, and with conan.ErrNotFound if the recipe revision of a
// package is not there. changed tells whether readers see anything new.
func (db *DB) Publish(ctx context.Context, p Publication) (changed bool, err error) {
	err = db.update(ctx, func(ctx context.Context, tx *transaction) error {
		files, err := validatedFiles(ctx, tx, p)
		if err != nil {
			return err
		}
		if p.Revision.IsPackage() {
			if err := requireRecipe(ctx, tx, p); err != nil {
				return err
			}
		}
		t, kept, err := publicationTime(ctx, tx, p)
		if err != nil {
			return err
		}
		if changed = !kept || len(files)+len(p.Remove) > 0; !changed {
			if err := use(ctx, tx, p.Member, p.Revision, p.Now); err != nil {
				return err
			}
			return dropStage(ctx, tx, p.StageID)
		}
		for _, a := range p.Audit {
			if err := writeAudit(ctx, tx, a, p.Now); err != nil {
				return err
			}
		}
		o := PutOptions{Time: t, Info: p.Info, Uploader: p.Uploader, Files: files, Remove: p.Remove}
		if err := putRevision(ctx, tx, p.Member, p.Revision, o, p.Now); err != nil {
			return err
		}
		return dropStage(ctx, tx, p.StageID)
	})
	return changed, err
}

// validatedFiles checks that stage and revision are as they were validated and returns the files to
// be added.
func validatedFiles(ctx context.Context, tx *transaction, p Publication) ([]conan.FileInfo, error) {
	var one int
	err := tx.QueryRowContext(ctx, `SELECT 1 FROM stages WHERE id = $1`, p.StageID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNoStage
	}
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", p.Revision, err)
	}
	staged, err := stagedFiles(ctx, tx, p.StageID)
	if err != nil {
		return nil, err
	}
	files := p.Files
	now := make(map[string]string)
	for _, f := range staged {
		if conan.IsMetadata(f.Name) {
			files = append(files[:len(files):len(files)], f)
		} else {
			now[f.Name] = f.SHA256
		}
	}
	existing, err := revisionFiles(ctx, tx, p.Member, p.Revision)
	if err != nil {
		return nil, err
	}
	if !maps.Equal(now, p.Staged) || !maps.Equal(existing, p.Existing) {
		return nil, ErrStageChanged
	}
	return files, nil
}

// revisionFiles maps the names of a revision's files to their sha256, metadata left out; empty if
// it is not there.
func revisionFiles(ctx context.Context, tx *transaction, member MemberID, rev conan.Revision) (map[string]string, error) {
	id, err := revisionID(ctx, tx, member, rev)
	if errors.Is(err, conan.ErrNotFound) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	sums, err := sumsOf(ctx, tx, id)
	maps.DeleteFunc(sums, func(name, _ string) bool { return conan.IsMetadata(name) })
	return sums, err
}

func requireRecipe(ctx context.Context, tx *transaction, p Publication) error {
	_, err := revisionID(ctx, tx, p.Member, p.Revision.Recipe())
	if err == nil || !errors.Is(err, conan.ErrNotFound) || p.RecipeStage == "" {
		return err
	}
	var one int
	under := tx.QueryRowContext(ctx, `SELECT 1 FROM stages WHERE id = $1`, p.RecipeStage).Scan(&one)
	if errors.Is(under, sql.ErrNoRows) {
		return err
	}
	return under
}

// publicationTime is the time that a revision gets: its own, if it was published here and is the
// newest of its siblings or younger than KeepTime; else now, but later than every time of the
// reference.
func publicationTime(ctx context.Context, tx *transaction, p Publication) (t time.Time, kept bool, err error) {
	var micros int64
	var adopted bool
	err = tx.QueryRowContext(ctx, `SELECT r.time, r.adopted`+ofRevision, revisionArgs(p.Member, p.Revision)...).Scan(&micros, &adopted)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, false, fmt.Errorf("time of %s: %w", p.Revision, err)
	}
	if err == nil && !adopted {
		own := time.UnixMicro(micros)
		newest, err := newestSibling(ctx, tx, p.Member, p.Revision)
		if err != nil || newest || p.KeepTime > 0 && p.Now.Sub(own) < p.KeepTime {
			return own, true, err
		}
	}
	var last sql.NullInt64
	if err := tx.QueryRowContext(ctx, `SELECT max(r.time)`+ofRef, refArgs(p.Member, p.Revision.Ref)...).Scan(&last); err != nil {
		return time.Time{}, false, fmt.Errorf("time of %s: %w", p.Revision, err)
	}
	if t := p.Now.UnixMicro(); !last.Valid || t > last.Int64 {
		return time.UnixMicro(t), false, nil
	}
	return time.UnixMicro(last.Int64 + 1), false, nil
}

// newestSibling tells whether a revision is the newest recipe revision of its reference, or the
// newest revision of its package.
func newestSibling(ctx context.Context, tx *transaction, member MemberID, rev conan.Revision) (bool, error) {
	siblings, args := ` AND r.package_id = ''`, refArgs(member, rev.Ref)
	if rev.IsPackage() {
		siblings, args = ` AND r.rrev = $6 AND `+samePackage, append(args, rev.RRev, rev.PackageID)
	}
	var id string
	err := tx.QueryRowContext(ctx, `SELECT CASE r.package_id WHEN '' THEN r.rrev ELSE r.prev END`+ofRef+siblings+
		` ORDER BY r.time DESC, r.id DESC LIMIT 1`, args...).Scan(&id)
	if err != nil {
		return false, fmt.Errorf("time of %s: %w", rev, err)
	}
	return id == rev.ID(), nil
}

// Adopt makes a stage of files that were fetched from upstream a recipe revision of a store, with
// upstream's time. files maps their names to sha256; ErrStageChanged if the stage has others. A
// recipe revision that is there already is left as it is. The stage is gone afterwards.
func (db *DB) Adopt(ctx context.Context, member MemberID, stageID string, recipe conan.Revision, published time.Time, files map[string]string) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := revisionID(ctx, tx, member, recipe)
		if err == nil {
			return dropStage(ctx, tx, stageID)
		}
		if !errors.Is(err, conan.ErrNotFound) {
			return err
		}
		staged, err := stagedFiles(ctx, tx, stageID)
		if err != nil {
			return err
		}
		o := PutOptions{Time: published, Adopted: true}
		now := make(map[string]string)
		for _, f := range staged {
			o.Files = append(o.Files, f)
			now[f.Name] = f.SHA256
		}
		if !maps.Equal(now, files) {
			return ErrStageChanged
		}
		if err := putRevision(ctx, tx, member, recipe, o, time.Now()); err != nil {
			return err
		}
		return dropStage(ctx, tx, stageID)
	})
}
