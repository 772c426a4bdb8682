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

	"github.com/prometheus/client_golang/prometheus"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/space"
)

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
		return b.index.PutRevision(ctx, b.member(t, member), rev, index.PutOptions{Time: used, Files: []conan.FileInfo{
			index.FileInfo(conan.RecipeFile, s)}})
	})
	if err != nil {
		t.Fatal(err)
	}
	row, err := b.index.Find(ctx, b.member(t, member), rev)
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
	refs, err := b.index.Refs(context.Background(), b.member(t, member))
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

// Without room files are handed through: right ones whole, wrong ones short, nothing stored.
func TestPassThrough(t *testing.T) {
	up := newFake()
	pkg, content := large(t, up, 2<<20)
	recipe := pkg.Recipe()
	b := newBench(t, up, func(_ *Options, q *space.Options) { q.MaxSize = 10 })
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
		up.set(func() {
			up.body = onlyArchive(bad)
			up.validator = func() string { return name }
		})
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

// The sweeper writes uses, evicts to its low mark what was unused longest, and ends with its
// context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		reg := prometheus.NewRegistry()
		b := newBench(t, up, func(o *Options, q *space.Options) {
			o.Metrics, q.Metrics, q.MaxSize = NewMetrics(reg), space.NewMetrics(reg), 100_000
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
		run.Go(func() { b.budget.Run(ctx) })
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
	b := newBench(t, up, func(o *Options, _ *space.Options) { o.Metrics, o.FreshFor = NewMetrics(reg), 0 })
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
	good := Options{Name: "a", Member: b.member(t, "a"), Remote: b.up, Index: b.index, Blobs: b.blobs}
	for name, change := range map[string]func(*Options){
		"no name":   func(o *Options) { o.Name = "" },
		"no row":    func(o *Options) { o.Member = 0 },
		"no index":  func(o *Options) { o.Index = nil },
		"no blobs":  func(o *Options) { o.Blobs = nil },
		"no remote": func(o *Options) { o.Remote = nil },
		"mode":      func(o *Options) { o.Mode = "sometimes" },
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
