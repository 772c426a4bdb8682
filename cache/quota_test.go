package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// limited is a blob store on a medium of a given size.
type limited struct {
	*blob.Disk
	size int64
}

func (l *limited) Free(ctx context.Context) (int64, error) {
	used := l.TempBytes()
	err := l.Walk(ctx, func(_ blob.Digest, size int64) error { used += size; return nil })
	return l.size - used, err
}

// newLimited makes a cache over a medium of 1000 bytes, of which 200 have to stay free, that gives files blocks of that size.
func newLimited(t testing.TB, block int64) *bench {
	t.Helper()
	return newBench(t, newFake(), func(o *Options, q *QuotaOptions) {
		q.Blobs, q.MinFree, q.Block = &limited{Disk: o.Blobs.(*blob.Disk), size: 1000}, 200, block
	})
}

// put stores n bytes as a file of a revision of a member, last used at a time.
func (b *bench) put(t testing.TB, member string, version, n int, used time.Time) conan.Revision {
	t.Helper()
	ctx := context.Background()
	rev := conan.Revision{Ref: ref(fmt.Sprintf("lib/%d.0", version)), RRev: "aa"}
	w, err := b.blobs.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte(strings.Repeat(string(rune('a'+version%26)), n))); err != nil {
		t.Fatal(err)
	}
	err = w.Commit(ctx, func(s blob.Sums) error {
		return b.index.PutRevision(ctx, member, rev, index.PutOptions{Time: used, Files: []conan.FileInfo{
			{Name: conan.RecipeFile, Size: s.Size, MD5: s.MD5, SHA1: s.SHA1, SHA256: string(s.SHA256)}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	row, err := b.index.Find(ctx, member, rev)
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
	refs, err := b.index.Refs(context.Background(), member)
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

func TestReserve(t *testing.T) {
	ctx := context.Background()
	b := newBench(t, newFake(), func(_ *Options, q *QuotaOptions) { q.MaxSize = 1000 })
	defer b.end(t)
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	b.put(t, "center", 1, 300, at(30))
	b.put(t, "center", 2, 300, at(10))
	b.put(t, "gone", 3, 300, at(20))
	b.put(t, index.LocalMember, 4, 5000, at(1)) // neither counted nor evicted
	b.put(t, index.LocalMember, 1, 300, at(1))  // shares its bytes with the first: that one frees nothing, and does not count

	release, ok := b.quota.Reserve(ctx, 400) // 300+300+400
	if !ok || len(b.left(t, "center")) != 2 || len(b.left(t, "gone")) != 1 {
		t.Fatalf("the first: %v; left %v %v", ok, b.left(t, "center"), b.left(t, "gone"))
	}
	second, ok := b.quota.Reserve(ctx, 100)
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
	if _, ok := b.quota.Reserve(ctx, 600); ok {
		t.Error("room beyond max_size")
	}
	if len(b.left(t, "gone")) != 1 {
		t.Error("something was evicted although that could not help")
	}
	release()
	release()
	second()
	release, ok = b.quota.Reserve(ctx, 1000)
	if !ok {
		t.Error("no room after all was released")
	}
	release()
	if len(b.left(t, index.LocalMember)) != 2 || b.onDisk(t) != 300+5000 {
		t.Errorf("local rows: %v, %d bytes on disk", b.left(t, index.LocalMember), b.onDisk(t))
	}
}

// Temporary files of uploads count; those of fills are what was reserved, and count once.
func TestReserveBesideUploads(t *testing.T) {
	ctx := context.Background()
	temp := int64(0)
	b := newBench(t, newFake(), func(_ *Options, q *QuotaOptions) {
		q.MaxSize, q.TempBytes = 1000, func() int64 { return temp }
	})
	defer b.end(t)
	r, ok := b.quota.reserve(ctx, 500)
	if !ok {
		t.Fatal("no room")
	}
	defer r.release()
	temp = 400 // the fill's own
	r.wrote(400)
	if _, ok := b.quota.Reserve(ctx, 501); ok {
		t.Error("room beyond max_size")
	}
	temp = 700 // and an upload's
	if _, ok := b.quota.Reserve(ctx, 201); ok {
		t.Error("room beyond max_size beside an upload")
	}
	release, ok := b.quota.Reserve(ctx, 200)
	if !ok {
		t.Error("the fill's temporary bytes were counted twice")
	}
	release()
}

func TestRoom(t *testing.T) {
	ctx := context.Background()
	b := newLimited(t, 0)
	defer b.end(t)
	b.put(t, index.LocalMember, 1, 300, time.Unix(1, 0))
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
		err := b.quota.Room(ctx, s.size)
		if s.ok && err != nil || !s.ok && !errors.Is(err, conan.ErrNoSpace) {
			t.Errorf("Room(%d): %v", s.size, err)
		}
		if got := len(b.left(t, "center")); got != s.left {
			t.Errorf("Room(%d): %d revisions left, want %d", s.size, got, s.left)
		}
	}
	if _, ok := b.quota.Reserve(ctx, 501); ok {
		t.Error("Reserve ignores min_free")
	}
	release, ok := b.quota.Reserve(ctx, 500)
	if !ok {
		t.Error("Reserve finds no room")
	}
	if err := b.quota.Room(ctx, 1); !errors.Is(err, conan.ErrNoSpace) {
		t.Errorf("Room ignores what is promised: %v", err)
	}
	release()
}

// watched calls back right before a blob is unlinked.
type watched struct {
	*blob.Disk
	unlinking func()
}

func (w *watched) Delete(ctx context.Context, d blob.Digest, named func() (bool, error)) (int64, error) {
	return w.Disk.Delete(ctx, d, func() (bool, error) {
		ok, err := named()
		w.unlinking()
		return ok, err
	})
}

// What is evicted counts until it is off the disk: nobody fills its room before.
func TestEvictedBytesCountUntilUnlinked(t *testing.T) {
	ctx := context.Background()
	var disk watched
	b := newBench(t, newFake(), func(o *Options, q *QuotaOptions) {
		disk.Disk = o.Blobs.(*blob.Disk)
		q.Blobs, q.MaxSize = &disk, 1000
	})
	defer b.end(t)
	b.put(t, "center", 1, 300, time.Unix(10, 0))
	b.put(t, "center", 2, 400, time.Unix(20, 0))
	looks := 0
	disk.unlinking = func() {
		looks++
		u, err := b.quota.usage(ctx)
		if err != nil || u.size < b.onDisk(t)+700 {
			t.Errorf("%d bytes count while %d are on the disk and 700 are promised: %v", u.size, b.onDisk(t), err)
		}
	}
	release, ok := b.quota.Reserve(ctx, 700)
	if !ok || looks != 2 {
		t.Errorf("room: %v, after %d blobs were unlinked", ok, looks)
	}
	release()
	if u, err := b.quota.usage(ctx); err != nil || u.size != 0 {
		t.Errorf("%d bytes count at the end: %v", u.size, err)
	}
}

// Who asked for room may leave while it is made: no bytes are left on the disk that nothing counts.
func TestEvictionIsFinished(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var disk watched
	b := newBench(t, newFake(), func(o *Options, q *QuotaOptions) {
		disk.Disk, disk.unlinking = o.Blobs.(*blob.Disk), cancel
		q.Blobs, q.MaxSize = &disk, 1000
	})
	defer b.end(t)
	b.put(t, "center", 1, 300, time.Unix(10, 0))
	b.put(t, "center", 2, 400, time.Unix(20, 0))
	release, _ := b.quota.Reserve(ctx, 1000)
	release()
	if ctx.Err() == nil || len(b.left(t, "center")) != 0 || b.onDisk(t) != 0 {
		t.Errorf("left: %v, and %d bytes on the disk", b.left(t, "center"), b.onDisk(t))
	}
}

// Many at once never get more than there is.
func TestReserveProperty(t *testing.T) {
	b := newBench(t, newFake(), func(_ *Options, q *QuotaOptions) { q.MaxSize = 1000 })
	defer b.end(t)
	rapid.Check(t, func(rt *rapid.T) {
		for i := range rapid.IntRange(0, 5).Draw(rt, "held") {
			b.put(t, "center", i, rapid.IntRange(1, 300).Draw(rt, "size"), time.Now())
		}
		if err := b.quota.unlink(context.Background()); err != nil { // what was replaced just now
			rt.Fatal(err)
		}
		wants := rapid.SliceOfN(rapid.Int64Range(0, 700), 1, 8).Draw(rt, "wants")
		var all sync.WaitGroup
		var mu sync.Mutex
		var releases []func()
		granted := int64(0)
		for _, n := range wants {
			all.Go(func() {
				release, ok := b.quota.Reserve(context.Background(), n)
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
		if u, err := b.quota.usage(context.Background()); err != nil || u.size != cached {
			rt.Errorf("%+v after all was released: %v", u, err)
		}
	})
}

// Without room files are handed through: right ones whole, wrong ones short, nothing stored.
func TestPassThrough(t *testing.T) {
	up := newFake()
	pkg, content := large(t, up, 2<<20)
	recipe := pkg.Recipe()
	b := newBench(t, up, func(_ *Options, q *QuotaOptions) { q.MaxSize = 10 })
	defer b.end(t)
	for range 2 {
		if got := b.read(t, pkg, archive); !bytes.Equal(got, content) {
			t.Error("wrong bytes")
		}
	}
	for name, want := range up.files[recipe] {
		f, err := b.Open(context.Background(), recipe, name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) || !f.Verified() || f.MD5 != md5Of(want) {
			t.Errorf("%s: %v, %+v", name, err, f.FileInfo)
		}
		if _, ok := f.ReadCloser.(io.Seeker); !ok {
			t.Errorf("%s cannot seek", name)
		}
		f.Close()
	}
	f, err := b.Open(context.Background(), pkg, archive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Wait(context.Background()); !errors.Is(err, conan.ErrUnavailable) {
		t.Errorf("Wait: %v", err)
	}
	f.Close()
	for _, r := range []struct {
		rev  conan.Revision
		name string
	}{{pkg, archive}, {recipe, conan.ManifestFile}} {
		if err := b.Store(context.Background(), r.rev, r.name); !errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("Store of %s: %v", r.name, err)
		}
	}
	if n := b.onDisk(t); n != 0 {
		t.Errorf("%d bytes are stored", n)
	}

	for name, bad := range map[string]func([]byte) (io.Reader, int64){
		"flipped": func(c []byte) (io.Reader, int64) {
			c = bytes.Clone(c)
			c[len(c)/2] ^= 1
			return bytes.NewReader(c), int64(len(c))
		},
		"cut":     func(c []byte) (io.Reader, int64) { return bytes.NewReader(c[:len(c)-1]), int64(len(c)) },
		"longer":  func(c []byte) (io.Reader, int64) { return bytes.NewReader(append(c, 1)), int64(len(c)) },
		"unknown": func(c []byte) (io.Reader, int64) { return bytes.NewReader(c), -1 },
	} {
		up.set(func() { up.body = onlyArchive(bad) })
		f, err := b.Open(context.Background(), pkg, archive)
		if name == "unknown" {
			if !errors.Is(err, conan.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); !errors.Is(err, conan.ErrUnavailable) || len(got) >= len(content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		f.Close()
	}
	up.set(func() {
		up.body = func(_ conan.Revision, _ string, c []byte) (io.Reader, int64) {
			return bytes.NewReader(append([]byte("#"), c...)), -1
		}
	})
	if _, err := b.Open(context.Background(), recipe, conan.RecipeFile); !errors.Is(err, conan.ErrUnavailable) {
		t.Errorf("a wrong small file: %v", err)
	}
}

// The sweeper writes uses, evicts to its low mark what was unused longest, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		reg := prometheus.NewRegistry()
		m := NewMetrics(reg)
		b := newBench(t, up, func(o *Options, q *QuotaOptions) {
			o.Metrics, q.Metrics, q.MaxSize = m, m, 100_000
		})
		defer b.end(t)
		b.read(t, recipe, conan.RecipeFile)
		time.Sleep(time.Hour)
		for i := range 9 {
			b.put(t, "center", i, 10_000, time.Now())
		}
		time.Sleep(time.Hour)
		b.read(t, recipe, conan.RecipeFile) // the oldest is used again
		ctx, cancel := context.WithCancel(context.Background())
		var run sync.WaitGroup
		run.Go(func() { b.quota.Run(ctx) })
		synctest.Wait()
		if got := len(b.left(t, "center")); got != 10 {
			t.Errorf("below the high mark %d revisions are left, want 10", got)
		}
		b.put(t, "center", 9, 10_000, time.Now())
		time.Sleep(time.Minute + time.Second)
		left := b.left(t, "center")
		if left["0.0"] || left["1.0"] || !left["2.0"] || !left["9.0"] || !left["1.3"] {
			t.Errorf("left: %v", left)
		}
		time.Sleep(time.Hour)
		b.read(t, recipe, conan.RecipeFile)
		used := time.Now()
		cancel()
		run.Wait()
		cold, err := b.index.Coldest(context.Background(), 100)
		if err != nil || !cold[len(cold)-1].Used.Equal(used) || cold[len(cold)-1].Revision != recipe {
			t.Errorf("the last use is not written: %v, %v", cold[len(cold)-1], err)
		}
		if n := b.onDisk(t); n > 90_000 {
			t.Errorf("%d bytes on disk", n)
		}
		want := map[string]float64{"conanproxy_cache_evicted_revisions_total": 2, "conanproxy_cache_evicted_bytes_total": 20_000,
			"conanproxy_cache_unlinked_bytes_total": 20_000, "conanproxy_cache_fills_in_flight": 0, "conanproxy_cache_reserved_bytes": 0}
		for name, value := range want {
			if got := sum(t, reg, name); got != value {
				t.Errorf("%s = %v, want %v", name, got, value)
			}
		}
	})
}

// sum adds up all series of a metric.
func sum(t testing.TB, reg *prometheus.Registry, name string, labels ...string) (total float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			values := ""
			for _, l := range m.GetLabel() {
				values += l.GetValue() + " "
			}
			if len(labels) > 0 && values != strings.Join(labels, " ")+" " {
				continue
			}
			found = true
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if !found {
		t.Errorf("no metric %s %v", name, labels)
	}
	return total
}

func TestMetrics(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	reg := prometheus.NewRegistry()
	b := newBench(t, up, func(o *Options, _ *QuotaOptions) { o.Metrics, o.FreshFor = NewMetrics(reg), 0 })
	defer b.end(t)
	answers := func(result string) float64 {
		return sum(t, reg, "conanproxy_cache_answers_total", "center", result)
	}
	for _, result := range []string{"hit", "miss", "stale", "negative", "unavailable"} {
		if got := answers(result); got != 0 {
			t.Errorf("%s begins at %v", result, got)
		}
	}
	ctx := context.Background()
	b.read(t, recipe, conan.RecipeFile) // a miss; the manifest behind it is not counted
	b.read(t, recipe, conan.RecipeFile)
	b.Latest(ctx, recipe)
	b.Latest(ctx, conan.Revision{Ref: ref("other/1.0")})
	up.set(func() { up.fail = down("503") })
	b.Latest(ctx, conan.Revision{Ref: ref("third/1.0")})
	want := map[string]float64{"hit": 1, "miss": 2, "negative": 1, "unavailable": 1, "stale": 0}
	for result, n := range want {
		if got := answers(result); got != n {
			t.Errorf("%s = %v, want %v", result, got, n)
		}
	}
	size := len(up.files[recipe][conan.RecipeFile]) + len(up.files[recipe][conan.ManifestFile])
	if got := sum(t, reg, "conanproxy_cache_fill_bytes_total"); got != float64(size) {
		t.Errorf("%v bytes filled, want %d", got, size)
	}
	if got := sum(t, reg, "conanproxy_cache_fills_total", "center", fillStored); got != 2 {
		t.Errorf("%v files stored, want 2", got)
	}
}

func TestOptions(t *testing.T) {
	b := newBench(t, newFake(), nil)
	defer b.end(t)
	good := Options{Member: "a", Upstream: b.up, Index: b.index, Blobs: b.blobs}
	for name, change := range map[string]func(*Options){
		"no member":   func(o *Options) { o.Member = "" },
		"local":       func(o *Options) { o.Member = index.LocalMember },
		"no index":    func(o *Options) { o.Index = nil },
		"no blobs":    func(o *Options) { o.Blobs = nil },
		"no upstream": func(o *Options) { o.Upstream = nil },
		"mode":        func(o *Options) { o.Mode = "sometimes" },
	} {
		o := good
		change(&o)
		if c, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
			c.Close()
		}
	}
	c, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// A dry run counts bytes that several revisions share as the run does: once, and only if all of them go.
func TestCollectCountsSharedBytes(t *testing.T) {
	ctx := context.Background()
	b := newBench(t, newFake(), func(_ *Options, q *QuotaOptions) { q.MaxSize = 1000 })
	defer b.end(t)
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	b.put(t, "center", 1, 300, at(10))
	b.put(t, "gone", 1, 300, at(20)) // the same bytes
	b.put(t, "center", 2, 200, at(30))
	b.put(t, "center", 3, 800, at(40))
	plan, err := b.quota.Collect(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	done, err := b.quota.Collect(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Revisions != done.Revisions || plan.Bytes != done.Bytes || done.Revisions != 2 || done.Bytes != 300 || done.Over != 0 {
		t.Errorf("the dry run said %+v, the run %+v", plan, done)
	}
}
