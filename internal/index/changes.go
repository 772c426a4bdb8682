package index

import (
	"context"
	"slices"

	"conanproxy/internal/conan"
	"conanproxy/internal/memory"
)

// change is a revision of a member whose rows a write changes.
type change struct {
	member MemberID
	rev    conan.Revision
}

// changed notes that rows of a revision were or will be changed by the write that runs.
func (t *transaction) changed(member MemberID, rev conan.Revision) {
	t.changes = append(t.changes, change{member, rev})
}

// changedRows notes the revisions that a condition selects; it follows FROM revisions r and refs f.
func (t *transaction) changedRows(ctx context.Context, condition string, args ...any) error {
	rows, err := collect(ctx, t, "find changed revisions", func(r scanner) (c change, err error) {
		v := &c.rev
		return c, r.Scan(&c.member, &v.Name, &v.Version, &v.User, &v.Channel, &v.RRev, &v.PackageID, &v.PRev)
	}, `SELECT f.member_id, f.name, f.version, f.usr, f.channel, r.rrev, r.package_id, r.prev
		FROM revisions r JOIN refs f ON f.id = r.ref_id `+condition, args...)
	t.changes = append(t.changes, rows...)
	return err
}

// publish raises the counters of what was changed.
func publish(to *memory.Changes, changes []change) {
	refs := make(map[conan.Ref]bool) // reference → a recipe revision changed
	for _, c := range changes {
		refs[c.rev.Ref] = refs[c.rev.Ref] || !c.rev.IsPackage()
	}
	for ref, recipe := range refs {
		to.ChangedRef(ref)
		if recipe {
			to.ChangedNames(ref)
		}
	}
}

// once returns each change once, in order.
func once(changes []change) []change {
	seen := make(map[change]bool, len(changes))
	return slices.DeleteFunc(changes, func(c change) bool {
		again := seen[c]
		seen[c] = true
		return again
	})
}
