package index

import (
	"context"
	"fmt"
	"maps"
	"time"

	"conanproxy/internal/conan"
)

// Promotion copies revisions from one store to another: rows only, in one transaction.
type Promotion struct {
	From, To MemberID
	Items    []PromotionItem // a recipe before its packages, and siblings oldest first
	Audit    Audit
	Now      time.Time
	Dry      bool // only tells what would be done
}

// PromotionItem is one revision with the files by which it was compared: as in Held, without
// metadata.
type PromotionItem struct {
	conan.Revision
	Source map[string]string // name → sha256 in the source
	Target map[string]string // the same in the target; nil if it is not there
}

// Promote copies what the target lacks, all or nothing, with times, uploaders and metadata. It
// fails with ErrStageChanged if source or target are not as the items say, and with
// conan.ErrNotFound for a package whose recipe revision the target would not have.
func (db *DB) Promote(ctx context.Context, p Promotion) ([]conan.Moved, error) {
	var out []conan.Moved
	err := db.attempt(ctx, p.Dry, func(ctx context.Context, tx *transaction) error {
		out = nil
		for _, item := range p.Items {
			skipped, err := promoteOne(ctx, tx, p, item)
			if err != nil {
				return err
			}
			out = append(out, conan.Moved{Revision: item.Revision, Skipped: skipped})
		}
		for i := range out {
			newest, err := newestSibling(ctx, tx, p.To, out[i].Revision)
			if err != nil {
				return err
			}
			out[i].Newest = newest
		}
		return writeAudit(ctx, tx, p.Audit, p.Now)
	})
	return out, err
}

func promoteOne(ctx context.Context, tx *transaction, p Promotion, item PromotionItem) (skipped bool, err error) {
	source, err := held(ctx, tx, p.From, item.Revision)
	if err != nil {
		return false, err
	}
	target, err := revisionFiles(ctx, tx, p.To, item.Revision)
	if err != nil {
		return false, err
	}
	if !maps.Equal(withoutMetadata(source.Files), item.Source) || !maps.Equal(target, item.Target) {
		return false, ErrStageChanged
	}
	if len(target) > 0 {
		return true, use(ctx, tx, p.To, item.Revision, p.Now)
	}
	if item.IsPackage() {
		if _, err := revisionID(ctx, tx, p.To, item.Recipe()); err != nil {
			return false, fmt.Errorf("the recipe of %s in the target: %w", item.Revision, err)
		}
	}
	o := PutOptions{Time: source.Time, Adopted: source.Adopted, Files: source.Files}
	if err := tx.QueryRowContext(ctx, `SELECT info, uploader FROM revisions WHERE id = $1`, source.RowID).Scan(&o.Info, &o.Uploader); err != nil {
		return false, fmt.Errorf("promote %s: %w", item.Revision, err)
	}
	if err := putRevision(ctx, tx, p.To, item.Revision, o, p.Now); err != nil {
		return false, err
	}
	tx.tell(p.To, item.Revision, FeedPromoted)
	return false, nil
}

func withoutMetadata(files conan.Snapshot) map[string]string {
	out := make(map[string]string, len(files))
	for _, f := range files {
		if !conan.IsMetadata(f.Name) {
			out[f.Name] = f.SHA256
		}
	}
	return out
}
