package cache

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/internal/space"
)

// noMemory is the bounds of checks of which nothing is left for small ones.
func noMemory(t testing.TB) *conan.Checks {
	checks := conan.NewChecks()
	var taken []*conan.Check
	t.Cleanup(func() {
		for _, k := range taken {
			k.End()
		}
	})
	for {
		k := checks.Begin(context.Background())
		taken = append(taken, k)
		l := checks.NewLister("conan_package.tgz")
		l.Write(tgz(t, map[string]string{"a": "a"}))
		l.Close()
		list, err := l.List()
		l.End()
		if err != nil {
			t.Fatal(err)
		}
		if list == nil {
			return checks
		}
		const most = 64 << 10
		if _, err := k.ReadManifest(strings.NewReader(strings.Repeat("x", most)), most); !errors.Is(err, conan.ErrInvalid) {
			t.Fatal(err)
		}
	}
}

// TestArchiveListedAfterArrival: an archive that could not be listed while it arrived is listed
// from the stored bytes before it is handed out. One that is not stored is not handed out then.
func TestArchiveListedAfterArrival(t *testing.T) {
	cases := map[string]struct {
		content string // of the archive
		maxSize int64
		good    bool
	}{
		"right":                {content: "lib", good: true},
		"wrong":                {content: "other"},
		"right, without space": {content: "lib", maxSize: 10},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			up := newFake()
			rev := up.addPackage(t, up.addRecipe(t, "zlib/1.3", "one", 100), "[settings]\n", "lib", 200)
			up.files[rev][archive] = tgz(t, map[string]string{"lib/liba.a": c.content})
			b := newBench(t, up, func(o *Options, q *space.Options) { o.Checks, q.MaxSize = noMemory(t), c.maxSize })
			defer b.end(t)
			got, err := readAll(t.Context(), b.Cache, rev, archive)
			switch {
			case !c.good && !errors.Is(err, conan.ErrUnavailable):
				t.Errorf("got %v, want unavailable", err)
			case c.good && (err != nil || !bytes.Equal(got, up.files[rev][archive])):
				t.Errorf("read: %v", err)
			}
		})
	}
}
