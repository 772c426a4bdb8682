package index

import (
	"fmt"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

// lastUse reads the last use of a revision that is there.
func lastUse(t *testing.T, db *DB, member MemberID, rev conan.Revision) time.Time {
	t.Helper()
	u, err := db.UsesOf(t.Context(), member, rev.Ref)
	failsWith(t, "uses", err, nil)
	for _, r := range u.Revisions {
		if r.Revision == rev {
			return r.LastUse
		}
	}
	t.Fatalf("%s is not there", rev)
	return time.Time{}
}

func TestUses(t *testing.T) {
	db, recipe, other, pkgs := trashWorld(t)
	later := noon.Add(5 * time.Hour)
	failsWith(t, "used", db.Used(t.Context(), store, map[conan.Revision]time.Time{pkgs[0]: later, recipeOf("zz/1", "r"): later}), nil)
	same(t, "a used package", lastUse(t, db, store, pkgs[0]), later)
	same(t, "its recipe", lastUse(t, db, store, recipe), later)
	same(t, "another package", lastUse(t, db, store, pkgs[1]), noon.Add(2*time.Minute))
	same(t, "another recipe", lastUse(t, db, store, other), noon.Add(time.Hour))

	failsWith(t, "used", db.Used(t.Context(), store, map[conan.Revision]time.Time{pkgs[0]: noon, recipe: later.Add(time.Hour)}), nil)
	same(t, "an older use", lastUse(t, db, store, pkgs[0]), later)
	same(t, "a newer use of the recipe", lastUse(t, db, store, recipe), later.Add(time.Hour))

	u, err := db.UsesOf(t.Context(), store, recipe.Ref)
	failsWith(t, "uses", err, nil)
	order := ""
	for _, r := range u.Revisions {
		order += r.ID() + " "
	}
	same(t, "the last published first", order, "r2 v v r1 ")
	same(t, "no upload is under way", u.Uploading, false)
	failsWith(t, "stage", db.CreateStage(t.Context(), Stage{Member: store, ID: "s", Revision: recipe, Touched: noon}), nil)
	u, err = db.UsesOf(t.Context(), store, recipe.Ref)
	failsWith(t, "uses", err, nil)
	same(t, "an upload is under way", u.Uploading, true)
}

// Publications, also of what is there already, promotions and restorations are uses.
func TestChangesAreUses(t *testing.T) {
	ctx := t.Context()
	db, recipe, other, pkgs := trashWorld(t)
	at := noon.Add(24 * time.Hour)
	publishAt(t, db, other, at)
	same(t, "published again without a change", lastUse(t, db, store, other), at)

	remove(t, db, at, recipe)
	at = at.Add(time.Hour)
	_, err := db.Restore(ctx, store, []conan.Revision{recipe}, Audit{Action: "restore"}, at, false)
	failsWith(t, "restore", err, nil)
	same(t, "restored", lastUse(t, db, store, pkgs[1]), at)

	second, err := db.Member(ctx, "second", KindStore)
	failsWith(t, "member", err, nil)
	held, err := db.Held(ctx, store, recipe)
	failsWith(t, "held", err, nil)
	item := PromotionItem{Revision: recipe, Source: withoutMetadata(held.Files)}
	for range 2 { // the second time it is skipped
		at = at.Add(time.Hour)
		_, err = db.Promote(ctx, Promotion{From: store, To: second, Items: []PromotionItem{item}, Audit: Audit{Action: "promote"}, Now: at})
		failsWith(t, "promote", err, nil)
		same(t, "promoted", lastUse(t, db, second, recipe), at)
		item.Target = item.Source
	}
	put(t, db, center, recipe, 1)
	same(t, "cached", lastUse(t, db, center, recipe), time.UnixMicro(0).UTC())
}

// Many uses are written in several transactions.
func TestManyUses(t *testing.T) {
	db := openForTest(t, t.TempDir())
	uses := make(map[conan.Revision]time.Time)
	for i := range 1200 {
		rev := recipeOf(fmt.Sprintf("many/%d", i), "r")
		put(t, db, store, rev, 1)
		uses[rev] = noon.AddDate(1, 0, i)
	}
	failsWith(t, "used", db.Used(t.Context(), store, uses), nil)
	for rev, at := range uses {
		same(t, rev.String(), lastUse(t, db, store, rev), at)
	}
}

func TestRemoveUnneeded(t *testing.T) {
	ctx := t.Context()
	db, recipe, other, pkgs := trashWorld(t)
	o := RemoveOptions{Audit: Audit{By: conan.Actor{Name: "server:retention"}, Action: ActionRetention, Member: "local"}, Now: noon.Add(48 * time.Hour), Trash: true}
	audited := func() []AuditLine {
		lines, err := db.AuditLines(ctx, AuditFilter{Action: ActionRetention, Limit: 10})
		failsWith(t, "audit", err, nil)
		return lines
	}
	nothing := func(Uses) []conan.Revision { return nil }
	failsWith(t, "nothing", db.RemoveUnneeded(ctx, store, recipe.Ref, nothing, o), nil)
	same(t, "lines about nothing", len(audited()), 0)

	failsWith(t, "used", db.Used(ctx, store, map[conan.Revision]time.Time{pkgs[1]: noon.Add(time.Hour)}), nil)
	unused := func(u Uses) (revs []conan.Revision) {
		for _, r := range u.Revisions {
			if r.LastUse.Before(noon.Add(time.Hour)) {
				revs = append(revs, r.Revision)
			}
		}
		return revs
	}
	failsWith(t, "unused", db.RemoveUnneeded(ctx, store, recipe.Ref, unused, o), nil)
	same(t, "the trash", trashed(t, db), []string{pkgs[0].String()})
	lines := audited()
	same(t, "lines", len(lines), 1)
	same(t, "the line", lines[0].Audit, Audit{By: o.Audit.By, Action: ActionRetention, Member: "local", Target: pkgs[0].String()})
	for _, rev := range []conan.Revision{recipe, other, pkgs[1]} {
		find(t, db, store, rev)
	}
	if was, err := db.WasVisible(ctx, store, pkgs[0], time.Now()); was || err != nil {
		t.Errorf("by its history the removed revision is visible: %v, %v", was, err)
	}
}

// TestMigrateUses: in an index from before, revisions of stores count as used at the migration.
func TestMigrateUses(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	rev := recipeOf("aa/1", "r")
	put(t, db, store, rev, 1)
	put(t, db, center, rev, 1)
	p, err := migrationsOf(db.write.db)
	failsWith(t, "migrations", err, nil)
	_, err = p.DownTo(ctx, 8)
	failsWith(t, "down", err, nil)
	before := time.Now().Truncate(time.Second)
	_, err = p.Up(ctx)
	failsWith(t, "up", err, nil)
	if at := lastUse(t, db, store, rev); at.Before(before) || at.After(time.Now()) {
		t.Errorf("the last use after the migration is %v", at)
	}
	same(t, "in a cache", lastUse(t, db, center, rev), time.UnixMicro(0).UTC())
}
