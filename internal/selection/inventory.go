package selection

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"conanproxy/internal/conan"
)

// Inventory is what is known by rows alone, like a trash, as a Source against which selections are
// resolved. It has no files. A recipe revision is in it too if only packages of it are.
type Inventory struct {
	Member string // whose rows they are, in origins
	Where  string // in errors: "the trash of dev"
	// Refs lists the references.
	Refs func(ctx context.Context) ([]conan.Ref, error)
	// Of lists what there is of one reference. Of a revision that is listed again the first counts.
	Of func(ctx context.Context, ref conan.Ref) ([]Row, error)
}

// Row is one revision of an Inventory.
type Row struct {
	conan.Revision
	Time time.Time
	Info string // conaninfo.txt of a package; may be empty
}

// Source is the inventory as it is when it is first asked: each reference is read once.
func (i Inventory) Source() conan.Source {
	return &inventory{Inventory: i, read: make(map[conan.Ref][]Row)}
}

type inventory struct {
	Inventory

	mu   sync.Mutex
	read map[conan.Ref][]Row // each revision once, the last published first
}

func (i *inventory) of(ctx context.Context, ref conan.Ref) ([]Row, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if rows, ok := i.read[ref]; ok {
		return rows, nil
	}
	all, err := i.Of(ctx, ref)
	if err != nil {
		return nil, err
	}
	seen := make(map[conan.Revision]bool)
	rows := slices.DeleteFunc(all, func(row Row) bool {
		again := seen[row.Revision]
		seen[row.Revision] = true
		return again
	})
	slices.SortStableFunc(rows, func(a, b Row) int { return b.Time.Compare(a.Time) })
	i.read[ref] = rows
	return rows, nil
}

func answerOf[T any](i *inventory, value T, err error) (conan.Answer[T], error) {
	if err != nil && !conan.IsAbsent(err) {
		return conan.Answer[T]{}, err
	}
	return conan.Answer[T]{Value: value, Origin: conan.Origin{Member: i.Member, State: conan.StateLocal, Expires: conan.Forever}}, err
}

// Revisions implements conan.Source.
func (i *inventory) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	rows, err := i.of(ctx, rev.Ref)
	list := []conan.RevisionTime{}
	listed := make(map[string]bool)
	for _, row := range rows {
		id := row.RRev
		if rev.IsPackage() {
			if row.PackageID != rev.PackageID || row.RRev != rev.RRev {
				continue
			}
			id = row.PRev
		}
		if !listed[id] {
			listed[id] = true
			list = append(list, conan.RevisionTime{ID: id, Time: row.Time})
		}
	}
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s in %s: %w", rev, i.Where, conan.ErrNotFound)
	}
	return answerOf(i, list, err)
}

// Latest implements conan.Source.
func (i *inventory) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, err := i.Revisions(ctx, rev)
	if err != nil {
		return answerOf(i, conan.RevisionTime{}, err)
	}
	return answerOf(i, list.Value[0], nil)
}

// Packages implements conan.Source.
func (i *inventory) Packages(ctx context.Context, recipe conan.Revision, _ bool) (conan.Answer[[]conan.Package], error) {
	rows, err := i.of(ctx, recipe.Ref)
	list := []conan.Package{}
	for _, row := range rows {
		if row.IsPackage() && row.RRev == recipe.RRev {
			list = append(list, conan.Package{ID: row.PackageID, Info: row.Info})
		}
	}
	slices.SortStableFunc(list, func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
	list = slices.CompactFunc(list, func(a, b conan.Package) bool { return a.ID == b.ID })
	return answerOf(i, list, err)
}

// Search implements conan.Source.
func (i *inventory) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	refs, err := i.Refs(ctx)
	refs = slices.DeleteFunc(refs, func(ref conan.Ref) bool { return !p.Match(ref) })
	slices.SortFunc(refs, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return answerOf(i, slices.Compact(refs), err)
}

// Snapshot implements conan.Source.
func (i *inventory) Snapshot(_ context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	return answerOf[conan.Snapshot](i, nil, i.noFiles(rev))
}

// Open implements conan.Source.
func (i *inventory) Open(_ context.Context, rev conan.Revision, _ string) (conan.Answer[*conan.File], error) {
	return answerOf[*conan.File](i, nil, i.noFiles(rev))
}

func (i *inventory) noFiles(rev conan.Revision) error {
	return fmt.Errorf("%s: files in %s are not served: %w", rev, i.Where, conan.ErrNotFound)
}
