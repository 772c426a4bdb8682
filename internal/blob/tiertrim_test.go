package blob

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// hookContext calls a hook once, when its error is asked for the last time of so many.
type hookContext struct {
	context.Context
	left int
	hook func()
}

// Err implements context.Context.
func (c *hookContext) Err() error {
	c.left--
	if c.left == 0 {
		c.hook()
	}
	return c.Context.Err()
}

// fillTier stores bytes in the tier as a fill does.
func fillTier(t *testing.T, s *Tiered, b []byte) {
	t.Helper()
	w, err := s.disk.newWriter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s.grew(w)
}

// inFirstFolder makes bytes whose digest begins with 00, so that a walk is past them at once.
func inFirstFolder() []byte {
	for i := 0; ; i++ {
		b := []byte(fmt.Sprint(i))
		h := NewHasher()
		h.Write(b)
		if strings.HasPrefix(string(h.Sums().SHA256), "00") {
			return b
		}
	}
}

// A copy that is stored while the tier is measured stays counted.
func TestTrimCountsWhatArrives(t *testing.T) {
	disk, err := NewDisk(t.TempDir(), DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := NewTiered(TieredOptions{Disk: disk, Max: 1000})
	defer s.Close()
	fillTier(t, s, make([]byte, 2000))
	late := inFirstFolder()
	const folders = 256 // a walk asks the context at each
	if err := s.trimIfFull(&hookContext{t.Context(), folders, func() { fillTier(t, s, late) }}); err != nil {
		t.Fatal(err)
	}
	var inTier int64
	if err := disk.Walk(t.Context(), func(_ Digest, size int64) error { inTier += size; return nil }); err != nil {
		t.Fatal(err)
	}
	if got := s.used.Load(); got != inTier || got != int64(len(late)) {
		t.Errorf("%d bytes are counted; the tier has %d, of which %d arrived late", got, inTier, len(late))
	}
}

// Whichever bound is exceeded, a tenth of the tier goes too.
func TestTrimSpares(t *testing.T) {
	for _, c := range []struct{ used, bound, lacking, want int64 }{
		{used: 1200, bound: 1000, lacking: -5, want: 300},
		{used: 1200, bound: 1000, lacking: 250, want: 350},
		{used: 800, bound: 1000, lacking: 50, want: 130},
		{used: 800, bound: 1000, lacking: 0, want: 0}, // the count was too high
	} {
		if got := toTrim(c.used, c.bound, c.lacking); got != c.want {
			t.Errorf("of %d bytes in a tier of %d, with %d lacking on the disk, %d go; want %d", c.used, c.bound, c.lacking, got, c.want)
		}
	}
}
