package space

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// limited is a blob store on a disk of a given size.
type limited struct {
	*blob.Disk
	size int64
}

func (l *limited) Free(ctx context.Context) (int64, error) {
	used := l.TempBytes()
	err := l.Walk(ctx, func(_ blob.Digest, size int64) error { used += size; return nil })
	return l.size - used, err
}

// newLimited makes a budget over a disk of 1000 bytes, of which 200 have to stay free, that gives
// files blocks of that size.
func newLimited(t testing.TB, block int64) *bench {
	t.Helper()
	return newBench(t, func(o *Options) {
		o.Blobs, o.MinFree, o.Block = &limited{Disk: o.Blobs.(*blob.Disk), size: 1000}, 200, block
	})
}

// bench is a budget with all that it stands on.
type bench struct {
	dir     string
	index   *index.DB
	blobs   *blob.Disk
	budget  *Budget
	members map[string]index.MemberID
}

func newBench(t testing.TB, change func(*Options)) *bench {
	t.Helper()
	dir := t.TempDir()
	db, err := index.Open(context.Background(), dir+"/index.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	blobs, err := blob.NewDisk(dir+"/blobs", blob.DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{dir: dir, index: db, blobs: blobs, members: make(map[string]index.MemberID)}
	for name, kind := range map[string]index.Kind{"local": index.KindStore, "center": index.KindUpstream, "gone": index.KindUpstream} {
		if b.members[name], err = db.Member(context.Background(), name, kind); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Index: db, Blobs: blobs, TempBytes: blobs.TempBytes}
	change(&o)
	b.budget = New(o)
	return b
}

// lease leases space for the cache, and tells whether there was any.
func (b *bench) lease(ctx context.Context, n int64) (release func(), ok bool) {
	l, err := b.budget.LeaseCache(ctx, n)
	if err != nil {
		return func() {}, false
	}
	return l.Release, true
}

// put stores n bytes as a file of a revision of a member, last used at a time.
func (b *bench) put(t testing.TB, member string, version, n int, used time.Time) conan.Revision {
	t.Helper()
	ctx := context.Background()
	rev := conan.Revision{Ref: conan.Ref{Name: "lib", Version: fmt.Sprintf("%d.0", version)}, RRev: "aa"}
	w, err := b.blobs.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte(strings.Repeat(string(rune('a'+version%26)), n))); err != nil {
		t.Fatal(err)
	}
	err = w.Commit(ctx, func(s blob.Sums) error {
		return b.index.PutRevision(ctx, b.members[member], rev, index.PutOptions{Time: used, Files: []conan.FileInfo{
			index.FileInfo(conan.RecipeFile, s)}})
	})
	if err != nil {
		t.Fatal(err)
	}
	row, err := b.index.Find(ctx, b.members[member], rev)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.index.Touch(ctx, map[int64]time.Time{row.RowID: used}); err != nil {
		t.Fatal(err)
	}
	return rev
}

// left lists the versions that a member still holds something of.
func (b *bench) left(t testing.TB, member string) map[string]bool {
	t.Helper()
	refs, err := b.index.Refs(context.Background(), b.members[member])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, r := range refs {
		out[r.Version] = true
	}
	return out
}

func (b *bench) onDisk(t testing.TB) (n int64) {
	t.Helper()
	if err := b.blobs.Walk(context.Background(), func(_ blob.Digest, size int64) error { n += size; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLeaseCache(t *testing.T) {
	ctx := context.Background()
	b := newBench(t, func(q *Options) { q.MaxSize = 1000 })
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	b.put(t, "center", 1, 300, at(30))
	b.put(t, "center", 2, 300, at(10))
	b.put(t, "gone", 3, 300, at(20))
	b.put(t, "local", 4, 5000, at(1)) // neither counted nor evicted
	b.put(t, "local", 1, 300, at(1))  // shares its bytes with the first: that one frees nothing, and does not count

	release, ok := b.lease(ctx, 400) // 300+300+400
	if !ok || len(b.left(t, "center")) != 2 || len(b.left(t, "gone")) != 1 {
		t.Fatalf("the first: %v; left %v %v", ok, b.left(t, "center"), b.left(t, "gone"))
	}
	second, ok := b.lease(ctx, 100)
	if !ok {
		t.Fatal("the second found no room")
	}
	if diff := cmp.Diff(map[string]bool{"1.0": true}, b.left(t, "center")); diff != "" {
		t.Errorf("after the second, center (-want +got):\n%s", diff)
	}
	if len(b.left(t, "gone")) != 1 {
		t.Error("more than needed was evicted")
	}
	if b.onDisk(t) != 300+300+5000 {
		t.Errorf("%d bytes on disk", b.onDisk(t))
	}
	if _, ok := b.lease(ctx, 600); ok {
		t.Error("room beyond max_size")
	}
	if len(b.left(t, "gone")) != 1 {
		t.Error("something was evicted although that could not help")
	}
	release()
	release()
	second()
	release, ok = b.lease(ctx, 1000)
	if !ok {
		t.Error("no room after all was released")
	}
	release()
	if len(b.left(t, "local")) != 2 || b.onDisk(t) != 300+5000 {
		t.Errorf("local rows: %v, %d bytes on disk", b.left(t, "local"), b.onDisk(t))
	}
}

// Temporary files of uploads count; those of fills are what was reserved, and count once.
func TestLeaseCacheBesideUploads(t *testing.T) {
	ctx := context.Background()
	temp := int64(0)
	b := newBench(t, func(q *Options) {
		q.MaxSize, q.TempBytes = 1000, func() int64 { return temp }
	})
	r, err := b.budget.LeaseCache(ctx, 500)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	temp = 400 // the fill's own
	r.Used(400)
	if _, ok := b.lease(ctx, 501); ok {
		t.Error("room beyond max_size")
	}
	temp = 700 // and an upload's
	if _, ok := b.lease(ctx, 201); ok {
		t.Error("room beyond max_size beside an upload")
	}
	release, ok := b.lease(ctx, 200)
	if !ok {
		t.Error("the fill's temporary bytes were counted twice")
	}
	release()
}

func TestCheck(t *testing.T) {
	ctx := context.Background()
	b := newLimited(t, 0)
	b.put(t, "local", 1, 300, time.Unix(1, 0))
	b.put(t, "center", 2, 200, time.Unix(10, 0))
	b.put(t, "center", 3, 200, time.Unix(20, 0))
	steps := []struct {
		size int64
		ok   bool
		left int // revisions of the cache
	}{
		{100, true, 2},
		{-1, true, 2},
		{501, false, 2}, // all of the cache would not be enough
		{101, true, 1},
		{500, true, 0},
		{501, false, 0},
	}
	for _, s := range steps {
		err := b.budget.Check(ctx, s.size)
		if s.ok && err != nil || !s.ok && !errors.Is(err, conan.ErrNoSpace) {
			t.Errorf("Check(%d): %v", s.size, err)
		}
		if got := len(b.left(t, "center")); got != s.left {
			t.Errorf("Check(%d): %d revisions left, want %d", s.size, got, s.left)
		}
	}
	if _, ok := b.lease(ctx, 501); ok {
		t.Error("LeaseCache ignores min_free")
	}
	release, ok := b.lease(ctx, 500)
	if !ok {
		t.Error("LeaseCache finds no room")
	}
	if err := b.budget.Check(ctx, 1); !errors.Is(err, conan.ErrNoSpace) {
		t.Errorf("Check ignores what is leased: %v", err)
	}
	release()
}

// New bounds hold for the next lease, and are shown.
func TestSetBounds(t *testing.T) {
	ctx := context.Background()
	reg := prometheus.NewRegistry()
	b := newBench(t, func(o *Options) { o.MaxSize, o.Metrics = 1000, NewMetrics(reg) })
	b.put(t, "center", 1, 300, time.Unix(10, 0))
	b.put(t, "center", 2, 300, time.Unix(20, 0))
	b.budget.SetBounds(500, 7)
	release, ok := b.lease(ctx, 200)
	if diff := cmp.Diff(map[string]bool{"2.0": true}, b.left(t, "center")); diff != "" || !ok {
		t.Errorf("%v; left (-want +got):\n%s", ok, diff)
	}
	release()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] += m.GetGauge().GetValue()
		}
	}
	if got["conanproxy_cache_max_size_bytes"] != 500 || got["conanproxy_cache_min_free_bytes"] != 7 {
		t.Errorf("metrics: %v", got)
	}
}

// watched calls back right before a blob is deleted.
type watched struct {
	*blob.Disk
	deleting func()
}

func (w *watched) Delete(ctx context.Context, d blob.Digest, named func() (bool, error)) (int64, error) {
	return w.Disk.Delete(ctx, d, func() (bool, error) {
		ok, err := named()
		w.deleting()
		return ok, err
	})
}

// What is evicted counts until it is off the disk: no other file takes its space before.
func TestEvictedBytesCountUntilDeleted(t *testing.T) {
	ctx := context.Background()
	var disk watched
	b := newBench(t, func(o *Options) {
		q := o
		disk.Disk = o.Blobs.(*blob.Disk)
		q.Blobs, q.MaxSize = &disk, 1000
	})
	b.put(t, "center", 1, 300, time.Unix(10, 0))
	b.put(t, "center", 2, 400, time.Unix(20, 0))
	looks := 0
	disk.deleting = func() {
		looks++
		u, err := b.budget.usage(ctx)
		if err != nil || u.size < b.onDisk(t)+700 {
			t.Errorf("%d bytes count while %d are on the disk and 700 are leased: %v", u.size, b.onDisk(t), err)
		}
	}
	release, ok := b.lease(ctx, 700)
	if !ok || looks != 2 {
		t.Errorf("room: %v, after %d blobs were deleted", ok, looks)
	}
	release()
	if u, err := b.budget.usage(ctx); err != nil || u.size != 0 {
		t.Errorf("%d bytes count at the end: %v", u.size, err)
	}
}

// The caller may leave while space is made: no bytes are left on the disk that nothing counts.
func TestEvictionIsFinished(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var disk watched
	b := newBench(t, func(o *Options) {
		q := o
		disk.Disk, disk.deleting = o.Blobs.(*blob.Disk), cancel
		q.Blobs, q.MaxSize = &disk, 1000
	})
	b.put(t, "center", 1, 300, time.Unix(10, 0))
	b.put(t, "center", 2, 400, time.Unix(20, 0))
	release, _ := b.lease(ctx, 1000)
	release()
	if ctx.Err() == nil || len(b.left(t, "center")) != 0 || b.onDisk(t) != 0 {
		t.Errorf("left: %v, and %d bytes on the disk", b.left(t, "center"), b.onDisk(t))
	}
}

// A blob that cannot be deleted does not keep the others from it, and is tried again.
func TestDeleteUnusedGoesOn(t *testing.T) {
	ctx := t.Context()
	b := newBench(t, func(*Options) {})
	var ids []int64
	for version := range 3 {
		row, err := b.index.Find(ctx, b.members["center"], b.put(t, "center", version, 300, time.Unix(10, 0)))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, row.RowID)
	}
	if err := b.index.RemoveRevisions(ctx, ids); err != nil {
		t.Fatal(err)
	}
	garbage, err := b.index.Garbage(ctx, 10)
	if err != nil || len(garbage) != 3 {
		t.Fatalf("garbage %q, %v", garbage, err)
	}
	// A folder that is not empty cannot be removed like a file.
	path := filepath.Join(b.dir, "blobs", "sha256", garbage[0][:2], garbage[0][2:])
	inTheWay := filepath.Join(path, "in the way")
	if err := errors.Join(os.Remove(path), os.MkdirAll(inTheWay, 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.budget.DeleteUnused(ctx); err == nil {
			t.Error("no error although a blob could not be deleted")
		}
		if n := b.onDisk(t); n != 0 {
			t.Errorf("%d bytes of other blobs are left", n)
		}
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	if err := b.budget.DeleteUnused(ctx); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the blob was not deleted later: %v", err)
	}
}

// Many at once never get more than there is.
func TestLeaseCacheProperty(t *testing.T) {
	b := newBench(t, func(q *Options) { q.MaxSize = 1000 })
	rapid.Check(t, func(rt *rapid.T) {
		for i := range rapid.IntRange(0, 5).Draw(rt, "held") {
			b.put(t, "center", i, rapid.IntRange(1, 300).Draw(rt, "size"), time.Now())
		}
		if err := b.budget.deleteUnused(context.Background()); err != nil { // what was replaced just now
			rt.Fatal(err)
		}
		wants := rapid.SliceOfN(rapid.Int64Range(0, 700), 1, 8).Draw(rt, "wants")
		var all sync.WaitGroup
		var mu sync.Mutex
		var releases []func()
		granted := int64(0)
		for _, n := range wants {
			all.Go(func() {
				release, ok := b.lease(context.Background(), n)
				if !ok {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				granted += n
				releases = append(releases, release)
			})
		}
		all.Wait()
		cached, err := b.index.CachedBytes(context.Background())
		if err != nil {
			rt.Fatal(err)
		}
		if granted+cached > 1000 {
			rt.Errorf("%d granted beside %d", granted, cached)
		}
		if cached != b.onDisk(t) {
			rt.Errorf("%d bytes are counted, %d on disk", cached, b.onDisk(t))
		}
		for _, release := range releases {
			release()
		}
		if u, err := b.budget.usage(context.Background()); err != nil || u.size != cached {
			rt.Errorf("%+v after all was released: %v", u, err)
		}
	})
}

// A dry run counts bytes that several revisions share as the run does: once, and only if all of
// them go.
func TestCollectCountsSharedBytes(t *testing.T) {
	ctx := context.Background()
	b := newBench(t, func(q *Options) { q.MaxSize = 1000 })
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	b.put(t, "center", 1, 300, at(10))
	b.put(t, "gone", 1, 300, at(20)) // the same bytes
	b.put(t, "center", 2, 200, at(30))
	b.put(t, "center", 3, 800, at(40))
	plan, err := b.budget.Collect(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	done, err := b.budget.Collect(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Revisions != done.Revisions || plan.Bytes != done.Bytes || done.Revisions != 2 || done.Bytes != 300 || done.Over != 0 {
		t.Errorf("the dry run said %+v, the run %+v", plan, done)
	}
}

// Uploads at the same time are never leased the same room, and what they wrote is not counted
// twice.
func TestLeaseUpload(t *testing.T) {
	ctx := context.Background()
	b := newLimited(t, 0)
	var admitted atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	var held []*Lease
	for range 50 {
		wg.Go(func() {
			a, err := b.budget.LeaseUpload(ctx, 100)
			if err != nil {
				if !errors.Is(err, conan.ErrNoSpace) {
					t.Errorf("LeaseUpload: %v", err)
				}
				return
			}
			admitted.Add(1)
			mu.Lock()
			defer mu.Unlock()
			held = append(held, a)
		})
	}
	wg.Wait()
	if n := admitted.Load(); n > 8 {
		t.Errorf("%d uploads of 100 bytes were admitted where 800 are free", n)
	}
	for _, a := range held {
		a.Release()
		a.Release()
	}

	a, err := b.budget.LeaseUpload(ctx, 800)
	if err != nil {
		t.Fatalf("LeaseUpload(800) after all were released: %v", err)
	}
	if err := a.Grow(ctx, 1); !errors.Is(err, conan.ErrNoSpace) {
		t.Errorf("Grow beyond the limit: %v", err)
	}
	a.Used(800)
	if got := b.budget.leased.unused(4096); got != 4096 {
		t.Errorf("%d bytes are leased still, though all are written but for the end of a block", got)
	}
	a.Release()
	if _, err := b.budget.LeaseUpload(ctx, 1000); !errors.Is(err, conan.ErrNoSpace) {
		t.Errorf("LeaseUpload(1000): %v", err)
	}
	if got := b.budget.leased; got != (leased{}) {
		t.Errorf("%+v is left of released and refused leases", got)
	}
}

// The disk gives whole blocks: each file under way may need one more than its bytes tell.
// An upload empties the trash, the oldest removal first, if that helps; a download does not.
func TestTheTrashMakesWayForUploads(t *testing.T) {
	ctx := t.Context()
	b := newLimited(t, 0) // 800 bytes may be used
	noon := time.Unix(1e9, 0)
	remove := func(rev conan.Revision, at time.Time) {
		t.Helper()
		o := index.RemoveOptions{Audit: index.Audit{Action: "remove"}, Now: at, Trash: true}
		if _, err := b.index.RemovePinned(ctx, b.members["local"], []conan.Revision{rev}, o); err != nil {
			t.Fatal(err)
		}
	}
	b.put(t, "local", 1, 300, noon) // stays published
	first, second := b.put(t, "local", 2, 200, noon), b.put(t, "local", 3, 200, noon)
	remove(second, noon)
	remove(first, noon.Add(time.Hour))
	trash := func() (left []string) {
		t.Helper()
		rows, err := b.index.Trash(ctx, b.members["local"], 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			left = append(left, row.Revision.Version)
		}
		return left
	}
	steps := []struct {
		what  string
		lease func(context.Context, int64) (*Lease, error)
		bytes int64
		ok    bool
		left  []string
	}{
		{"a download", b.budget.LeaseCache, 200, false, []string{"2.0", "3.0"}},
		{"an upload that would not fit either way", b.budget.LeaseUpload, 600, false, []string{"2.0", "3.0"}},
		{"an upload that fits beside the trash", b.budget.LeaseUpload, 100, true, []string{"2.0", "3.0"}},
		{"an upload that needs the oldest removal", b.budget.LeaseUpload, 200, true, []string{"2.0"}},
		{"an upload that needs all of them", b.budget.LeaseUpload, 400, true, nil},
	}
	for _, step := range steps {
		l, err := step.lease(ctx, step.bytes)
		if (err == nil) != step.ok || err != nil && !errors.Is(err, conan.ErrNoSpace) {
			t.Fatalf("%s: %v", step.what, err)
		}
		if diff := cmp.Diff(step.left, trash()); diff != "" {
			t.Errorf("%s: the trash (-want +got):\n%s", step.what, diff)
		}
		if err == nil {
			l.Release()
		}
	}
}

func TestBlocks(t *testing.T) {
	ctx := context.Background()
	b := newLimited(t, 100)
	if _, err := b.budget.LeaseUpload(ctx, 701); !errors.Is(err, conan.ErrNoSpace) {
		t.Errorf("an upload of 701 bytes and a block: %v", err)
	}
	a, err := b.budget.LeaseUpload(ctx, 500)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := b.lease(ctx, 101); ok {
		t.Error("a fill of 101 bytes and a block found room beside 500 and a block")
	}
	release, ok := b.lease(ctx, 100)
	if !ok {
		t.Error("a fill of 100 bytes and a block found no room beside 500 and a block")
	}
	release()
	a.Release()
}
