package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"conanproxy/internal/conan"
	"conanproxy/internal/space"
)

// What upstream refuses is told as upstream told it, and not asked again for a time; it says
// nothing about other things.
func TestRefusedThing(t *testing.T) {
	refused := &conan.UnavailableError{Member: "center", Reason: "blocked by policy", Permanent: true, Refused: true}
	ctx := context.Background()
	recipe := conan.Revision{Ref: ref("zlib/1.3")}
	for name, c := range map[string]struct {
		asked    string // the question to upstream
		question func(b *bench, pinned conan.Revision) error
	}{
		"revisions": {"revisions", func(b *bench, _ conan.Revision) error { _, err := b.Revisions(ctx, recipe); return err }},
		"files":     {"files", func(b *bench, pinned conan.Revision) error { _, err := b.Snapshot(ctx, pinned); return err }},
		"packages":  {"packages", func(b *bench, pinned conan.Revision) error { _, err := b.Packages(ctx, pinned, false); return err }},
		"search":    {"search", func(b *bench, _ conan.Revision) error { _, err := b.Search(ctx, pattern(t, "zlib*")); return err }},
		"file": {"open", func(b *bench, pinned conan.Revision) error {
			_, err := readAll(ctx, b.Cache, pinned, conan.ManifestFile)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFake()
				pinned := up.addRecipe(t, "zlib/1.3", "one", 100)
				up.packages[pinned] = []conan.Package{}
				other := up.addRecipe(t, "boost/1.80", "two", 100)
				b := newBench(t, up, nil)
				defer b.end(t)
				if name == "file" {
					snapshotNames(t, b, pinned)
					snapshotNames(t, b, other)
				}
				up.set(func() { up.fail = refused })
				for range 6 {
					var got *conan.UnavailableError
					if err := c.question(b, pinned); !errors.As(err, &got) || got.Reason != refused.Reason || !got.Permanent {
						t.Errorf("%v", err)
					}
				}
				if n := up.times(c.asked); n != 1 {
					t.Errorf("upstream was asked %d times, want once", n)
				}
				up.set(func() { up.fail = nil })
				b.read(t, other, conan.ManifestFile)
				time.Sleep(time.Minute)
				if err := c.question(b, pinned); err != nil {
					t.Errorf("after not_found_for: %v", err)
				}
			})
		})
	}
}

// While upstream refuses, what it said before is used.
func TestRefusedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		b := newBench(t, up, nil)
		defer b.end(t)
		rev := conan.Revision{Ref: recipe.Ref}
		b.Latest(context.Background(), rev)
		time.Sleep(6 * time.Minute)
		up.set(func() {
			up.fail = &conan.UnavailableError{Member: "center", Reason: "blocked by policy", Refused: true}
		})
		for range 3 {
			origin, err := traced(t, latest(b, rev))
			if err != nil || origin.State != conan.StateStale || origin.Reason != "blocked by policy" {
				t.Errorf("%+v, %v", origin, err)
			}
		}
		if n := up.times("revisions"); n != 2 {
			t.Errorf("upstream was asked %d times, want 2", n)
		}
	})
}

// Wrong bytes are sent twice, since the first ones may have been damaged on their way, and then no
// more, however often clients try: as long as upstream's validator says that they are the same, or
// for a time if it gives none. Each way of storing does so.
func TestWrongBytesAreSentTwice(t *testing.T) {
	for name, c := range map[string]struct {
		validator bool
		maxSize   int64 // 1: nothing can be stored
	}{
		"validator":              {validator: true},
		"no validator":           {},
		"validator, no space":    {validator: true, maxSize: 1},
		"no validator, no space": {maxSize: 1},
	} {
		for what, damage := range map[string]func([]byte) []byte{
			"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"longer":  func(b []byte) []byte { return append(b, 1) },
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testWrongBytes(t, c.validator, c.maxSize, damage) })
			})
		}
	}
}

func testWrongBytes(t *testing.T, validator bool, maxSize int64, damage func([]byte) []byte) {
	up := newFake()
	pkg, content := large(t, up, 2<<20)
	wrong := damage(bytes.Clone(content))
	good := false
	up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
		if good {
			return bytes.NewReader(content), int64(len(content))
		}
		return bytes.NewReader(wrong), int64(len(content))
	})
	if validator {
		up.validator = func() string { return map[bool]string{false: "wrong", true: "good"}[good] }
	}
	reg := prometheus.NewRegistry()
	b := newBench(t, up, func(o *Options, q *space.Options) { o.Metrics, q.MaxSize = NewMetrics(reg), maxSize })
	defer b.end(t)
	for i := range 6 {
		var got *conan.UnavailableError
		_, err := readAll(context.Background(), b.Cache, pkg, archive)
		if !errors.As(err, &got) || got.Permanent != (i > 0) {
			t.Errorf("try %d: %v, %+v", i, err, got)
		}
		synctest.Wait()
	}
	if n := sum(t, reg, "conanproxy_cache_fill_bytes_total"); n > 2.5*float64(len(content)) {
		t.Errorf("%v bytes were sent of a file of %d", n, len(content))
	}
	// Clients show why with the list.
	if _, err := b.Snapshot(context.Background(), pkg); !errors.Is(err, conan.ErrUnavailable) {
		t.Errorf("files while the archive is refused: %v", err)
	}
	up.set(func() { good = true })
	if !validator {
		time.Sleep(time.Minute)
	}
	if got := b.read(t, pkg, archive); !bytes.Equal(got, content) {
		t.Error("wrong bytes after the repair")
	}
	if _, err := b.Snapshot(context.Background(), pkg); err != nil {
		t.Errorf("files after the repair: %v", err)
	}
}

// Bytes that were damaged on their way are sent again with the next try.
func TestDamagedOnce(t *testing.T) {
	for name, flips := range map[string][]int{"once": {1000}, "twice, elsewhere": {1000, 2000}} {
		t.Run(name, func(t *testing.T) {
			up := newFake()
			pkg, content := large(t, up, 2<<20)
			up.validator = func() string { return "the same" }
			left := flips
			up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
				sent := bytes.Clone(content)
				if len(left) > 0 {
					sent[left[0]] ^= 1
					left = left[1:]
				}
				return bytes.NewReader(sent), int64(len(sent))
			})
			b := newBench(t, up, nil)
			defer b.end(t)
			for range flips {
				var got *conan.UnavailableError
				if _, err := readAll(context.Background(), b.Cache, pkg, archive); !errors.As(err, &got) || got.Permanent {
					t.Errorf("damaged: %v, %+v", err, got)
				}
				if _, err := b.Snapshot(context.Background(), pkg); err != nil {
					t.Errorf("files after damage: %v", err)
				}
			}
			if got := b.read(t, pkg, archive); !bytes.Equal(got, content) {
				t.Error("wrong bytes")
			}
		})
	}
}

// A refused source archive is none of an install's.
func TestRefusedSources(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	b := newBench(t, up, nil)
	defer b.end(t)
	b.read(t, recipe, conan.ManifestFile)
	up.set(func() { up.fail = &conan.UnavailableError{Member: "center", Reason: "blocked", Refused: true} })
	for _, name := range []string{"conan_sources.tgz", "conan_export.tgz"} {
		if _, err := readAll(context.Background(), b.Cache, recipe, name); !errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := b.Snapshot(context.Background(), recipe); (err == nil) != (name == "conan_sources.tgz") {
			t.Errorf("files while %s is refused: %v", name, err)
		}
	}
}
