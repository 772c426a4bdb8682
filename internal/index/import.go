package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"conanproxy/internal/conan"
)

// Import makes revisions that come from outside revisions of a store, in one transaction.
type Import struct {
	Member MemberID     // the store
	Items  []ImportItem // a recipe before its packages, and siblings oldest first
	Audit  Audit
	Now    time.Time
}

// ImportItem is one revision and what it was compared with.
type ImportItem struct {
	conan.Revision
	Time     time.Time // of its publication, where it comes from
	Uploader string

	// Existing has name → sha256 of the revision that the store has, metadata left out: only its
	// time is set then. Of a new revision it is empty, and the stage has all of its files.
	Existing map[string]string
	StageID  string
	Staged   map[string]string // name → sha256 of all files of the stage
	Info     *string           // conaninfo.txt of a package
}

// Import writes the revisions with their times; the stages are gone afterwards. It fails with
// ErrStageChanged if the store or a stage is not as an item says, and with conan.ErrNotFound for a
// package whose recipe revision is not there.
func (db *DB) Import(ctx context.Context, p Import) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		for _, item := range p.Items {
			if err := importOne(ctx, tx, p, item); err != nil {
				return fmt.Errorf("import %s: %w", item.Revision, err)
			}
		}
		return writeAudit(ctx, tx, p.Audit, p.Now)
	})
}

func importOne(ctx context.Context, tx *transaction, p Import, item ImportItem) error {
	there, err := held(ctx, tx, p.Member, item.Revision)
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return err
	}
	if !maps.Equal(withoutMetadata(there.Files), item.Existing) {
		return ErrStageChanged
	}
	if err == nil {
		return putRevision(ctx, tx, p.Member, item.Revision, PutOptions{Time: item.Time, Adopted: there.Adopted}, p.Now)
	}
	if item.IsPackage() {
		if _, err := revisionID(ctx, tx, p.Member, item.Recipe()); err != nil {
			return fmt.Errorf("its recipe: %w", err)
		}
	}
	files, err := stagedFiles(ctx, tx, item.StageID)
	if err != nil {
		return err
	}
	staged := make(map[string]string, len(files))
	for _, f := range files {
		staged[f.Name] = f.SHA256
	}
	if len(staged) == 0 || !maps.Equal(staged, item.Staged) {
		return ErrStageChanged
	}
	o := PutOptions{Time: item.Time, Info: item.Info, Uploader: item.Uploader, Files: files}
	if err := putRevision(ctx, tx, p.Member, item.Revision, o, p.Now); err != nil {
		return err
	}
	return dropStage(ctx, tx, item.StageID)
}
