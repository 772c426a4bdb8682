package index

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"conanproxy/internal/conan"
)

// Erased is a revision that was removed for good, with what else names its bytes.
type Erased struct {
	conan.Revision
	Elsewhere []Naming
}

// Naming is a reference of which a file is bytes of a digest.
type Naming struct {
	Place  Place
	Member string
	conan.Ref
	SHA256 string
}

// Place is where a file is named.
type Place string

// The places.
const (
	PlacePublished Place = "published" // a revision of a store
	PlaceCached    Place = "cached"    // of an upstream
	PlaceTrash     Place = "trash"     // of a store, removed
	PlaceUpload    Place = "upload"    // an upload under way to a store
)

// Erase removes revisions of a store for good, all or nothing, with the audit line: published or in
// the trash, with their history and pins; a recipe revision goes with its packages. Each that went
// is told, with what else names its bytes. It fails with conan.ErrNotFound for what is in neither.
// A dry run only tells what would be done.
func (db *DB) Erase(ctx context.Context, member MemberID, revs []conan.Revision, audit Audit, now time.Time, dry bool) (out []Erased, err error) {
	err = db.attempt(ctx, dry, func(ctx context.Context, tx *transaction) error {
		e := erasure{member: member, rows: make(map[conan.Ref]refRows), digests: make(map[conan.Revision][]string)}
		for _, rev := range revs {
			if err := e.find(ctx, tx, rev); err != nil {
				return err
			}
		}
		if err := e.remove(ctx, tx); err != nil {
			return err
		}
		if out, err = e.report(ctx, tx); err != nil {
			return err
		}
		return writeAudit(ctx, tx, audit, now)
	})
	return out, err
}

// erasure is one call of Erase.
type erasure struct {
	member  MemberID
	rows    map[conan.Ref]refRows       // of the references so far
	digests map[conan.Revision][]string // of the files of what goes

	order        []conan.Revision // the keys of digests as they were found
	ids, trashed []int64          // rows of revisions and of the trash
}

// refRows are the rows of a reference, by revision: of revisions and of the trash.
type refRows struct{ ids, trashed map[conan.Revision][]int64 }

// rowsOf reads the rows of a reference, once.
func (e *erasure) rowsOf(ctx context.Context, tx *transaction, ref conan.Ref) (refRows, error) {
	if rows, known := e.rows[ref]; known {
		return rows, nil
	}
	rows := refRows{make(map[conan.Revision][]int64), make(map[conan.Revision][]int64)}
	live, err := storeNodes(ctx, tx, e.member, ref)
	if err != nil {
		return rows, err
	}
	removed, err := trashedOf(ctx, tx, e.member, ref)
	if err != nil {
		return rows, err
	}
	for _, n := range live {
		rev := conan.Revision{Ref: ref, RRev: n.rrev, PackageID: n.packageID, PRev: n.prev}
		rows.ids[rev] = append(rows.ids[rev], n.id)
	}
	for _, t := range removed {
		rows.trashed[t.Revision] = append(rows.trashed[t.Revision], t.ID)
	}
	e.rows[ref] = rows
	return rows, nil
}

// covered are a revision and, if it is a recipe's, its packages, as far as they are there, sorted.
func (r refRows) covered(rev conan.Revision) []conan.Revision {
	there := make(map[conan.Revision]bool)
	for _, rows := range []map[conan.Revision][]int64{r.ids, r.trashed} {
		if len(rows[rev]) > 0 {
			there[rev] = true
		}
		if rev.IsPackage() {
			continue
		}
		for other := range rows {
			if other.Recipe() == rev {
				there[other] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(there), conan.Revision.Compare)
}

// find notes the rows of a revision and of its packages, unless they are noted already.
func (e *erasure) find(ctx context.Context, tx *transaction, rev conan.Revision) error {
	if _, known := e.digests[rev]; known {
		return nil
	}
	rows, err := e.rowsOf(ctx, tx, rev.Ref)
	if err != nil {
		return err
	}
	covered := rows.covered(rev)
	if len(covered) == 0 {
		return fmt.Errorf("%s, published or in the trash: %w", rev, conan.ErrNotFound)
	}
	for _, r := range covered {
		if err := e.add(ctx, tx, r, rows.ids[r], rows.trashed[r]); err != nil {
			return err
		}
	}
	return nil
}

// add notes the rows of one revision and the digests of their files, once.
func (e *erasure) add(ctx context.Context, tx *transaction, rev conan.Revision, ids, trashed []int64) error {
	if _, known := e.digests[rev]; known {
		return nil
	}
	e.order = append(e.order, rev)
	e.digests[rev] = nil
	e.ids, e.trashed = append(e.ids, ids...), append(e.trashed, trashed...)
	for _, of := range []struct {
		rows  []int64
		query string
	}{
		{ids, `SELECT sha256 FROM files WHERE revision_id IN ` + listed},
		{trashed, `SELECT sha256 FROM trash_files WHERE trash_id IN ` + listed},
	} {
		list, err := json.Marshal(of.rows)
		if err != nil {
			return fmt.Errorf("read files of %s: %w", rev, err)
		}
		sums, err := column[string](ctx, tx, "read files of "+rev.String(), of.query, string(list))
		if err != nil {
			return err
		}
		e.digests[rev] = append(e.digests[rev], sums...)
	}
	return nil
}

// remove deletes what was found. Journal and history follow from the revisions that are noted as
// changed.
func (e *erasure) remove(ctx context.Context, tx *transaction) error {
	if err := removeRevisions(ctx, tx, e.ids); err != nil {
		return err
	}
	list, err := json.Marshal(e.trashed)
	if err != nil {
		return fmt.Errorf("empty the trash: %w", err)
	}
	removals, err := column[int64](ctx, tx, "empty the trash", `SELECT DISTINCT removal_id FROM trash WHERE id IN `+listed, string(list))
	if err != nil {
		return err
	}
	if err := dropTrash(ctx, tx, `id IN `+listed, string(list)); err != nil {
		return err
	}
	for _, id := range removals {
		if err := dropEmptyRemoval(ctx, tx, id); err != nil {
			return err
		}
	}
	for _, rev := range e.order {
		tx.changed(e.member, rev)
		if _, err := tx.ExecContext(ctx, `DELETE FROM pins WHERE`+pinnedRow, revisionArgs(e.member, rev)...); err != nil {
			return fmt.Errorf("remove the pins of %s: %w", rev, err)
		}
	}
	return nil
}

// report tells what names the bytes of what was deleted.
func (e *erasure) report(ctx context.Context, tx *transaction) ([]Erased, error) {
	out := make([]Erased, len(e.order))
	for i, rev := range e.order {
		list, err := json.Marshal(e.digests[rev])
		if err != nil {
			return nil, fmt.Errorf("look for the bytes of %s: %w", rev, err)
		}
		out[i].Revision = rev
		out[i].Elsewhere, err = collect(ctx, tx, "look for the bytes of "+rev.String(), scanNaming, namings, string(list))
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// namings asks what names blobs. Of an upload the reference stands in the column of the name.
const namings = `SELECT CASE m.kind WHEN 'store' THEN 'published' ELSE 'cached' END, m.name, f.name, f.version, f.usr, f.channel, x.sha256
	FROM files x JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id JOIN members m ON m.id = f.member_id
	WHERE x.sha256 IN ` + listed + `
	UNION SELECT 'trash', m.name, t.name, t.version, t.usr, t.channel, x.sha256
	FROM trash_files x JOIN trash t ON t.id = x.trash_id JOIN members m ON m.id = t.member_id WHERE x.sha256 IN ` + listed + `
	UNION SELECT 'upload', m.name, s.ref, '', '', '', x.sha256
	FROM stage_files x JOIN stages s ON s.id = x.stage_id JOIN members m ON m.id = s.member_id WHERE x.sha256 IN ` + listed

func scanNaming(r scanner) (n Naming, err error) {
	err = r.Scan(&n.Place, &n.Member, &n.Name, &n.Version, &n.User, &n.Channel, &n.SHA256)
	if err == nil && n.Place == PlaceUpload {
		n.Ref, err = conan.ParseRef(n.Name)
	}
	return n, err
}
