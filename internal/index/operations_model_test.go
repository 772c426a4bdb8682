package index

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
)

// operationsModel is what two stores and their trash should hold: plain maps, changed by the rules
// of the documentation.
type operationsModel struct {
	db     *DB
	stores [2]MemberID
	clock  time.Time
	live   [2]modelRemoval
	used   [2]map[conan.Revision]bool // since it was published or came back
	trash  [2][]modelRemoval          // the oldest first
	pins   [2]map[conan.Revision]int  // how many each revision has, by owners ann and bob as bits

	names  map[string]int             // of the stores
	cursor string                     // up to which the feed was read
	told   [2]map[conan.Revision]bool // what is there by the feed
}

// modelRemoval is what a store has, or what one removal took, with times of publication.
type modelRemoval map[conan.Revision]time.Time

func (m *operationsModel) draw(t *rapid.T) (store int, rev conan.Revision) {
	rev = recipeOf("aa/1@me/test", rapid.SampledFrom([]string{"r1", "r2"}).Draw(t, "rrev"))
	if rapid.Bool().Draw(t, "package") {
		rev.PackageID, rev.PRev = rapid.SampledFrom([]string{"p1", "p2"}).Draw(t, "id"), "v"
	}
	return rapid.IntRange(0, 1).Draw(t, "store"), rev
}

// file is the one file of a revision.
func (m *operationsModel) file(rev conan.Revision) conan.FileInfo {
	n := 0
	for _, c := range rev.String() {
		n = n*31 + int(c)
	}
	return testFile("conanmanifest.txt", n&0xffff, 7)
}

func (m *operationsModel) publish(t *rapid.T) {
	store, rev := m.draw(t)
	if _, recipe := m.live[store][rev.Recipe()]; rev.IsPackage() && !recipe {
		return
	}
	if _, there := m.live[store][rev]; there {
		return
	}
	o := PutOptions{Time: m.clock.Truncate(time.Microsecond), Files: []conan.FileInfo{m.file(rev)}, Uploader: "ann"}
	if err := m.db.PutRevision(t.Context(), m.stores[store], rev, o); err != nil {
		t.Fatal(err)
	}
	m.live[store][rev] = o.Time
}

func (m *operationsModel) remove(t *rapid.T) {
	store, rev := m.draw(t)
	_, err := m.db.RemovePinned(t.Context(), m.stores[store], []conan.Revision{rev}, RemoveOptions{Audit: Audit{Action: "remove"}, Now: m.clock, Trash: true})
	if m.hasPin(store, rev) {
		if !errors.Is(err, conan.ErrConflict) {
			t.Fatalf("remove %s, which has a pin: %v", rev, err)
		}
		return
	}
	if _, there := m.live[store][rev]; there != (err == nil) || err != nil && !errors.Is(err, conan.ErrNotFound) {
		t.Fatalf("remove %s: %v, it is there: %v", rev, err, there)
	}
	if err != nil {
		return
	}
	m.take(store, func(other conan.Revision) bool { return other == rev || !rev.IsPackage() && other.Recipe() == rev })
}

// take moves revisions to the trash, as one removal.
func (m *operationsModel) take(store int, goes func(conan.Revision) bool) {
	taken := modelRemoval{}
	for rev, at := range m.live[store] {
		if goes(rev) {
			taken[rev] = at
			delete(m.live[store], rev)
			delete(m.used[store], rev)
		}
	}
	if len(taken) > 0 {
		m.trash[store] = append(m.trash[store], taken)
	}
}

// useTime is later than any publication of the test.
var useTime = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

func (m *operationsModel) use(t *rapid.T) {
	store, rev := m.draw(t)
	if err := m.db.Used(t.Context(), m.stores[store], map[conan.Revision]time.Time{rev: useTime}); err != nil {
		t.Fatal(err)
	}
	for _, used := range []conan.Revision{rev, rev.Recipe()} {
		if _, there := m.live[store][used]; there {
			m.used[store][used] = true
		}
	}
}

// retain removes what was not used: in the model by its own notes, in the index by the last uses.
func (m *operationsModel) retain(t *rapid.T) {
	store := rapid.IntRange(0, 1).Draw(t, "store")
	unused := func(u Uses) (revs []conan.Revision) {
		for _, r := range u.Revisions {
			if pinned := r.PinnedBy != ""; pinned != (m.pins[store][r.Revision] != 0) {
				t.Errorf("%s is pinned by %q, in the model %d", r.Revision, r.PinnedBy, m.pins[store][r.Revision])
			}
			if r.LastUse.Before(useTime) && !m.hasPin(store, r.Revision) {
				revs = append(revs, r.Revision)
			}
		}
		return revs
	}
	o := RemoveOptions{Audit: Audit{Action: ActionRetention}, Now: m.clock, Trash: true}
	if err := m.db.RemoveUnneeded(t.Context(), m.stores[store], recipeOf("aa/1@me/test", "r1").Ref, unused, o); err != nil {
		t.Fatal(err)
	}
	pinned := make(map[conan.Revision]bool)
	for rev := range m.live[store] {
		pinned[rev] = m.hasPin(store, rev)
	}
	m.take(store, func(rev conan.Revision) bool { return !m.used[store][rev] && !pinned[rev] })
}

// covers tells whether what is done to a revision is done to another.
func covers(rev, other conan.Revision) bool {
	return other == rev || !rev.IsPackage() && other.Recipe() == rev
}

func (m *operationsModel) hasPin(store int, rev conan.Revision) bool {
	for other, owners := range m.pins[store] {
		if owners != 0 && covers(rev, other) {
			_, live := m.live[store][rev]
			return live
		}
	}
	return false
}

func (m *operationsModel) pin(t *rapid.T) {
	store, rev := m.draw(t)
	owner := rapid.IntRange(0, 1).Draw(t, "owner")
	moved, err := m.db.Pin(t.Context(), m.stores[store], []conan.Revision{rev}, []string{"ann", "bob"}[owner], Audit{Action: "pin"}, m.clock, false, nil)
	if _, there := m.live[store][rev]; there != (err == nil) {
		t.Fatalf("pin %s: %v, it is there: %v", rev, err, there)
	}
	if err != nil {
		return
	}
	if again := m.pins[store][rev]&(1<<owner) != 0; moved[0].Skipped != again {
		t.Fatalf("pin %s: skipped %v, want %v", rev, moved[0].Skipped, again)
	}
	m.pins[store][rev] |= 1 << owner
}

func (m *operationsModel) unpin(t *rapid.T) {
	store, rev := m.draw(t)
	owner := rapid.IntRange(0, 2).Draw(t, "owner")
	mask := []int{1, 2, 3}[owner]
	moved, err := m.db.Unpin(t.Context(), m.stores[store], []conan.Revision{rev}, []string{"ann", "bob", ""}[owner], Audit{Action: "unpin"}, m.clock, false)
	if none := m.pins[store][rev]&mask == 0; err != nil || moved[0].Skipped != none {
		t.Fatalf("unpin %s: %v, %v, there is none: %v", rev, moved, err, none)
	}
	m.pins[store][rev] &^= mask
}

// erase removes from the store and its trash for good.
func (m *operationsModel) erase(t *rapid.T) {
	store, rev := m.draw(t)
	dry := rapid.Bool().Draw(t, "dry")
	erased, err := m.db.Erase(t.Context(), m.stores[store], []conan.Revision{rev}, Audit{Action: "remove_now"}, m.clock, dry)
	want := map[conan.Revision]bool{}
	for _, have := range append([]modelRemoval{m.live[store]}, m.trash[store]...) {
		for other := range have {
			want[other] = want[other] || covers(rev, other)
		}
	}
	maps.DeleteFunc(want, func(_ conan.Revision, covered bool) bool { return !covered })
	got := map[conan.Revision]bool{}
	for _, e := range erased {
		got[e.Revision] = true
	}
	if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (len(want) > 0) {
		t.Fatalf("erase %s: %v (-want +got):\n%s", rev, err, diff)
	}
	if dry {
		return
	}
	for other := range want {
		delete(m.live[store], other)
		delete(m.used[store], other)
		delete(m.pins[store], other)
		for _, removal := range m.trash[store] {
			delete(removal, other)
		}
	}
	m.trash[store] = slices.DeleteFunc(m.trash[store], func(r modelRemoval) bool { return len(r) == 0 })
}

func (m *operationsModel) restore(t *rapid.T) {
	store, rev := m.draw(t)
	_, err := m.db.Restore(t.Context(), m.stores[store], []conan.Revision{rev}, Audit{Action: "restore"}, m.clock, false)
	wanted, found := m.restorable(store, rev)
	if found != (err == nil) {
		t.Fatalf("restore %s: %v, the model: %v", rev, err, found)
	}
	for back, at := range wanted {
		m.live[store][back] = at
	}
	m.trash[store] = slices.DeleteFunc(m.trash[store], func(r modelRemoval) bool { return len(r) == 0 })
}

// restorable takes what a restoration brings back out of the trash: the removal that took it last.
func (m *operationsModel) restorable(store int, rev conan.Revision) (modelRemoval, bool) {
	for _, removal := range slices.Backward(m.trash[store]) {
		if _, in := removal[rev]; !in {
			continue
		}
		back := modelRemoval{}
		for other, at := range removal {
			if other == rev || !rev.IsPackage() && other.Recipe() == rev {
				back[other] = at
			}
		}
		_, recipe := m.live[store][rev.Recipe()]
		if rev.IsPackage() && !recipe {
			return nil, false
		}
		for other := range back {
			if _, again := m.live[store][other]; again {
				return nil, false
			}
		}
		for other := range back {
			delete(removal, other)
		}
		return back, true
	}
	for _, removal := range m.trash[store] { // of a recipe that stands for nothing, packages are there
		for other := range removal {
			if other.Recipe() == rev {
				return nil, true
			}
		}
	}
	return nil, false
}

func (m *operationsModel) promote(t *rapid.T) {
	from, rev := m.draw(t)
	to := 1 - from
	p := Promotion{From: m.stores[from], To: m.stores[to], Audit: Audit{Action: "promote"}, Now: m.clock, Dry: rapid.Bool().Draw(t, "dry")}
	all := true
	for _, part := range []conan.Revision{rev.Recipe(), rev}[min(1, btoi(!rev.IsPackage())):] {
		item := PromotionItem{Revision: part, Source: map[string]string{}, Target: map[string]string{}}
		if _, there := m.live[from][part]; there {
			item.Source["conanmanifest.txt"] = m.file(part).SHA256
		} else {
			all = false
		}
		if _, there := m.live[to][part]; there {
			item.Target["conanmanifest.txt"] = m.file(part).SHA256
		}
		p.Items = append(p.Items, item)
	}
	moved, err := m.db.Promote(t.Context(), p)
	if all != (err == nil) {
		t.Fatalf("promote %s: %v, all of it is there: %v", rev, err, all)
	}
	if err != nil {
		return
	}
	for i, item := range p.Items {
		if skipped := len(item.Target) > 0; moved[i].Skipped != skipped {
			t.Fatalf("%s: skipped %v, want %v", item.Revision, moved[i].Skipped, skipped)
		} else if !skipped && !p.Dry {
			m.live[to][item.Revision] = m.live[from][item.Revision]
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (m *operationsModel) empty(t *rapid.T) {
	store := rapid.IntRange(0, 1).Draw(t, "store")
	if _, err := m.db.EmptyTrash(t.Context(), m.stores[store], m.clock.Add(-3*time.Second), 100); err != nil {
		t.Fatal(err)
	}
	if some, err := m.db.EmptyTrash(t.Context(), m.stores[store], m.clock.Add(time.Hour), 1); err != nil || some > 1 {
		t.Fatal(some, err)
	}
	rows, err := m.db.Trash(t.Context(), m.stores[store], 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int64]bool{}
	for _, row := range rows {
		left[row.Removal] = true
	}
	m.trash[store] = m.trash[store][max(0, len(m.trash[store])-len(left)):]
}

// readFeed follows the feed. What it tells must be possible where it tells it.
func (m *operationsModel) readFeed(t *rapid.T) {
	lines, err := m.db.FeedAfter(t.Context(), m.cursor, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		m.cursor = l.Cursor
		there := m.told[m.names[l.Member]]
		if there[l.Revision] != (l.Action == FeedRemoved) {
			t.Fatalf("the feed: %s %s, and it was there before: %v", l.Revision, l.Action, there[l.Revision])
		}
		if delete(there, l.Revision); l.Action != FeedRemoved {
			there[l.Revision] = true
		}
	}
}

// compare reads both stores, their trash and the feed.
func (m *operationsModel) compare(t *rapid.T) {
	m.clock = m.clock.Add(time.Second)
	m.readFeed(t)
	for i, store := range m.stores {
		if len(m.told[i]) != len(m.live[i]) {
			t.Fatalf("store %d has %v by the feed, want %v", i, m.told[i], m.live[i])
		}
		for rev := range m.live[i] {
			if !m.told[i][rev] {
				t.Fatalf("store %d: the feed does not tell of %s", i, rev)
			}
		}
		var want, got []string
		for rev, at := range m.live[i] {
			want = append(want, fmt.Sprint(rev, " ", at.UnixMicro()))
		}
		for _, rrev := range []string{"r1", "r2"} {
			for _, id := range []string{"", "p1", "p2"} {
				rev := recipeOf("aa/1@me/test", rrev)
				if id != "" {
					rev.PackageID, rev.PRev = id, "v"
				}
				h, err := m.db.Held(t.Context(), store, rev)
				if was, _ := m.db.WasVisible(t.Context(), store, rev, time.Now()); was != (err == nil) {
					t.Fatalf("%s: there %v, by its history %v", rev, err == nil, was)
				}
				if err != nil {
					continue
				}
				got = append(got, fmt.Sprint(rev, " ", h.Time.UnixMicro()))
				if len(h.Files) != 1 || h.Files[0] != m.file(rev) {
					t.Fatalf("%s has the files %v", rev, h.Files)
				}
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
			t.Fatalf("store %d (-want +got):\n%s", i, diff)
		}
		sizes := map[string]int64{}
		var bytes int64
		for rev := range m.live[i] {
			f := m.file(rev)
			bytes += f.Size - sizes[f.SHA256]
			sizes[f.SHA256] = f.Size
		}
		if got, err := m.db.StoreBytes(t.Context(), store); err != nil || got != bytes {
			t.Fatalf("store %d has %d bytes, %v; want %d", i, got, err, bytes)
		}
		pins, err := m.db.Pins(t.Context(), store, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, owners := range m.pins[i] {
			if left := bits.OnesCount(uint(owners)); len(pins) < left {
				t.Fatalf("store %d: the pins %v are left", i, pins)
			} else {
				pins = pins[left:]
			}
		}
		if len(pins) > 0 {
			t.Fatalf("store %d has %d pins more than it should", i, len(pins))
		}
		rows, err := m.db.Trash(t.Context(), store, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		inTrash := 0
		for _, removal := range m.trash[i] {
			inTrash += len(removal)
		}
		if len(rows) != inTrash {
			t.Fatalf("store %d: %d revisions are in the trash, want %d", i, len(rows), inTrash)
		}
		for _, row := range rows {
			if named, err := m.db.BlobNamed(t.Context(), m.file(row.Revision).SHA256); err != nil || !named {
				t.Fatalf("the bytes of %s in the trash are not kept: %v, %v", row.Revision, named, err)
			}
		}
	}
}

// TestOperationsModel runs random publications, uses, promotions, removals, restorations, retention
// and pins.
func TestOperationsModel(t *testing.T) {
	db := openForTest(t, t.TempDir())
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		m := &operationsModel{db: db, clock: noon, names: make(map[string]int)}
		var err error
		if m.cursor, err = db.FeedCursor(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range m.stores {
			n++
			id, err := db.Member(t.Context(), fmt.Sprint("store-", n), KindStore)
			if err != nil {
				t.Fatal(err)
			}
			m.stores[i], m.live[i], m.used[i], m.pins[i] = id, make(modelRemoval), make(map[conan.Revision]bool), make(map[conan.Revision]int)
			m.told[i], m.names[fmt.Sprint("store-", n)] = make(map[conan.Revision]bool), i
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": m.publish, "remove": m.remove, "restore": m.restore, "promote": m.promote, "empty": m.empty,
			"use": m.use, "retain": m.retain, "erase": m.erase, "pin": m.pin, "unpin": m.unpin, "": m.compare,
		})
	})
}
