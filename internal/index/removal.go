package index

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"conanproxy/internal/conan"
)

// RemoveOptions say how Remove removes.
type RemoveOptions struct {
	Audit Audit
	Now   time.Time
	// Trash keeps what is removed in the trash. Without it blobs become garbage.
	Trash bool
	// Dry only tells what would be done.
	Dry bool
}

// Remove deletes what r selects from a store, all or nothing, with the audit line, in one
// transaction: a recipe revision goes with its packages, a whole reference with its stages too. It
// fails with conan.ErrNotFound if a part of the selection is not there, and with conan.ErrConflict
// if one of the revisions has a pin.
func (db *DB) Remove(ctx context.Context, member MemberID, r conan.Removal, o RemoveOptions) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		nodes, err := storeNodes(ctx, tx, member, r.Ref)
		if err != nil {
			return err
		}
		selected, err := nodes.selected(r)
		if err != nil {
			return err
		}
		if wholeReference(r) {
			if err := dropStagesOf(ctx, tx, member, r.Ref); err != nil {
				return err
			}
		}
		return o.remove(ctx, tx, member, selected.ids())
	})
}

// RemovePinned is Remove for pinned revisions of any references: a recipe revision goes with its
// packages. It returns all that went, or would in a dry run, a recipe before its packages.
func (db *DB) RemovePinned(ctx context.Context, member MemberID, revs []conan.Revision, o RemoveOptions) (removed []conan.Revision, err error) {
	err = db.attempt(ctx, o.Dry, func(ctx context.Context, tx *transaction) error {
		rows, err := pinnedRows(ctx, tx, member, revs)
		if err != nil {
			return err
		}
		removed = slices.SortedFunc(maps.Values(rows), conan.Revision.Compare)
		return o.remove(ctx, tx, member, slices.Collect(maps.Keys(rows)))
	})
	return removed, err
}

// remove removes rows as the options say. One with a pin is conan.ErrConflict.
func (o RemoveOptions) remove(ctx context.Context, tx *transaction, member MemberID, ids []int64) error {
	if err := refusePins(ctx, tx, ids); err != nil {
		return err
	}
	if o.Trash {
		if err := trashRevisions(ctx, tx, member, ids, o.Audit.By.Name, o.Now); err != nil {
			return err
		}
	}
	if err := removeRevisions(ctx, tx, ids); err != nil {
		return err
	}
	return writeAudit(ctx, tx, o.Audit, o.Now)
}

// pinnedRows are pinned revisions by their row ids, with the packages of recipe revisions.
func pinnedRows(ctx context.Context, tx *transaction, member MemberID, revs []conan.Revision) (map[int64]conan.Revision, error) {
	rows := make(map[int64]conan.Revision)
	of := make(map[conan.Ref]nodes)
	for _, rev := range revs {
		if of[rev.Ref] == nil {
			var err error
			if of[rev.Ref], err = storeNodes(ctx, tx, member, rev.Ref); err != nil {
				return nil, err
			}
		}
		found, err := of[rev.Ref].selected(conan.Removal{Revision: rev})
		if err != nil {
			return nil, err
		}
		for _, n := range found {
			rows[n.id] = conan.Revision{Ref: rev.Ref, RRev: n.rrev, PackageID: n.packageID, PRev: n.prev}
		}
	}
	return rows, nil
}

func wholeReference(r conan.Removal) bool {
	return r.RRev == "" && r.PackageID == "" && !r.AllPackages && len(r.PackageIDs) == 0
}

// RemoveFiles takes files out of a revision; their blobs become garbage. Names that are not there
// change nothing.
func (db *DB) RemoveFiles(ctx context.Context, member MemberID, rev conan.Revision, names []string, audit Audit, now time.Time) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		id, err := revisionID(ctx, tx, member, rev)
		if err != nil {
			return err
		}
		tx.changed(member, rev)
		before, err := sumsOf(ctx, tx, id)
		if err != nil {
			return fmt.Errorf("remove files of %s: %w", rev, err)
		}
		if lost := gone(before, names); len(lost) > 0 {
			tx.tellFiles(member, rev, lost)
		}
		if err := removeFiles(ctx, tx, id, names); err != nil {
			return fmt.Errorf("remove files of %s: %w", rev, err)
		}
		return writeAudit(ctx, tx, audit, now)
	})
}

// removeFiles takes files out of a revision; their blobs become garbage.
func removeFiles(ctx context.Context, tx *transaction, revisionID int64, names []string) error {
	for _, name := range names {
		if _, err := tx.ExecContext(ctx, `INSERT INTO garbage (sha256) SELECT sha256 FROM files
			WHERE revision_id = $1 AND name = $2 ON CONFLICT DO NOTHING`, revisionID, name); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM files WHERE revision_id = $1 AND name = $2`, revisionID, name); err != nil {
			return err
		}
	}
	return nil
}

// nodes are the revisions of one reference.
type nodes []node

type node struct {
	id                    int64
	rrev, packageID, prev string
}

func storeNodes(ctx context.Context, tx *transaction, member MemberID, ref conan.Ref) (nodes, error) {
	return collect(ctx, tx, "read revisions of "+ref.String(), func(r scanner) (n node, err error) {
		return n, r.Scan(&n.id, &n.rrev, &n.packageID, &n.prev)
	}, `SELECT r.id, r.rrev, r.package_id, r.prev`+ofRef, refArgs(member, ref)...)
}

// ids are the row ids.
func (ns nodes) ids() []int64 {
	ids := make([]int64, len(ns))
	for i, n := range ns {
		ids[i] = n.id
	}
	return ids
}

// selected are those that r selects. Packages of a recipe revision that is not published are
// not there for the caller, but go with their reference.
func (ns nodes) selected(r conan.Removal) (nodes, error) {
	missing := fmt.Errorf("%s: %w", r.Revision, conan.ErrNotFound)
	published := make(map[string]bool)
	for _, n := range ns {
		if n.packageID == "" {
			published[n.rrev] = true
		}
	}
	if len(published) == 0 || r.RRev != "" && !published[r.RRev] {
		return nil, missing
	}
	inRecipe := func(n node) bool { return r.RRev == "" || n.rrev == r.RRev }
	visible := func(n node) bool { return n.packageID != "" && published[n.rrev] && inRecipe(n) }

	if len(r.PackageIDs) > 0 {
		return ns.packages(r, visible)
	}
	var pick func(node) bool
	switch {
	case r.AllPackages:
		pick = visible
	case r.PackageID != "":
		pick = func(n node) bool {
			return visible(n) && n.packageID == r.PackageID && (r.PRev == "" || n.prev == r.PRev)
		}
	default:
		pick = inRecipe
	}
	picked := slices.DeleteFunc(slices.Clone(ns), func(n node) bool { return !pick(n) })
	if len(picked) == 0 && r.AllPackages {
		return nil, fmt.Errorf("packages of %s: %w", r.Revision, conan.ErrNotFound)
	}
	if len(picked) == 0 {
		return nil, missing
	}
	return picked, nil
}

func (ns nodes) packages(r conan.Removal, visible func(node) bool) (nodes, error) {
	want := make(map[string]bool) // package id → found
	for _, id := range r.PackageIDs {
		want[id] = false
	}
	var picked nodes
	for _, n := range ns {
		if _, ok := want[n.packageID]; ok && visible(n) {
			want[n.packageID] = true
			picked = append(picked, n)
		}
	}
	for _, id := range r.PackageIDs {
		if !want[id] {
			return nil, fmt.Errorf("package %s of %s: %w", id, r.Revision, conan.ErrNotFound)
		}
	}
	return picked, nil
}

func dropStagesOf(ctx context.Context, tx *transaction, member MemberID, ref conan.Ref) error {
	ids, err := column[string](ctx, tx, "remove stages of "+ref.String(), `SELECT id FROM stages WHERE member_id = $1 AND ref = $2`, member, ref.String())
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := dropStage(ctx, tx, id); err != nil {
			return err
		}
	}
	return nil
}
