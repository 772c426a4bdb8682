package conan

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// manyMembers is an archive of empty files, which is about a hundredth of its list.
func manyMembers(t testing.TB, count int) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for i := range count {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("f%07d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// manyLines is a manifest of about 30 MiB, made as it is read, and its size.
func manyLines() (io.Reader, int64) {
	const first, count, perLine = "1795346689\n", 730_000, len("f0000000: \n") + len(sumA)
	return streamed(func(w io.Writer) error {
		b := bufio.NewWriter(w)
		b.WriteString(first)
		for i := range count {
			fmt.Fprintf(b, "f%07d: %s\n", i, sumA)
		}
		return b.Flush()
	}), int64(len(first) + count*perLine)
}

// highest notes the most memory that the process has while work runs.
func highest(work func()) (bytes uint64) {
	var most atomic.Uint64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.Sys-m.HeapReleased))
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	work()
	close(done)
	<-ended
	return most.Load()
}

// TestChecksBoundMemory checks three hostile archives, while they arrive and again afterwards, and
// three large manifests at once. Their number does not matter, since large checks wait for each
// other.
func TestChecksBoundMemory(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("lists millions of members, and measures memory")
	}
	const members = 500_000
	archive := manyMembers(t, members)
	checks := NewChecks()
	most := highest(func() {
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				l := checks.NewLister("conan_package.tgz")
				defer l.End()
				if _, err := io.Copy(struct{ io.Writer }{l}, bytes.NewReader(archive)); err != nil {
					t.Error(err)
				}
				l.Close()
				list, err := l.List()
				if err != nil {
					t.Error(err)
				}
				c := checks.Begin(t.Context())
				defer c.End()
				m, err := c.ReadManifest(manyLines())
				if err != nil {
					t.Error(err)
					return
				}
				if list == nil {
					list, err = c.List("conan_package.tgz", bytes.NewReader(archive))
				}
				if err != nil || list.Len() != members {
					t.Error(err)
					return
				}
				if err := c.CompareArchive(m, "conan_package.tgz", list); !errors.Is(err, ErrInvalid) {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
	const bound = 190 << 20
	t.Logf("took %d MB", most>>20)
	if most > bound {
		t.Errorf("took %d MB, want at most %d", most>>20, bound>>20)
	}
	if left := checks.left.Load(); left != sharedMemory {
		t.Errorf("%d bytes of %d came back", left, sharedMemory)
	}
}

// TestChecksWait: what finds no shared memory waits for its turn, but not while its archive
// arrives.
func TestChecksWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checks := NewChecks()
		first, second, small := checks.Begin(t.Context()), checks.Begin(t.Context()), checks.Begin(t.Context())
		if err := first.need(2 * sharedMemory); err != nil {
			t.Fatal(err)
		}
		var got atomic.Bool
		go func() {
			if err := second.need(2 * sharedMemory); err != nil {
				t.Error(err)
			}
			got.Store(true)
		}()
		synctest.Wait()
		if got.Load() {
			t.Error("two large checks at a time")
		}
		if err := small.need(sharedMemory); err != nil {
			t.Error(err)
		}
		arriving := Check{checks: checks}
		if err := arriving.need(1); !errors.Is(err, errLarge) {
			t.Errorf("got %v, want %v", err, errLarge)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := checks.Begin(ended).need(1); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the context", err)
		}
		first.End()
		first.End()
		synctest.Wait()
		if !got.Load() {
			t.Error("the second large check still waits")
		}
		second.End()
		small.End()
		if checks.left.Load() != sharedMemory || len(checks.large) != 0 {
			t.Errorf("left are %d bytes, %d large checks", checks.left.Load(), len(checks.large))
		}
	})
}

// TestListerGivesUp: without memory the list is made later, and the bytes are taken nevertheless.
func TestListerGivesUp(t *testing.T) {
	checks := NewChecks()
	if err := checks.Begin(t.Context()).need(sharedMemory); err != nil {
		t.Fatal(err)
	}
	l := checks.NewLister("conan_package.tgz")
	defer l.End()
	if _, err := l.Write(manyMembers(t, 10)); err != nil {
		t.Error(err)
	}
	l.Close()
	if list, err := l.List(); list != nil || err != nil {
		t.Errorf("got %v, %v; want nothing", list, err)
	}
}

func TestListingContent(t *testing.T) {
	base := []Member{
		{Path: "a", Mode: 0o644, MD5: sumA},
		{Path: "b", Type: SymlinkMember, Target: "a"},
		{Path: "c", Type: HardlinkMember, Mode: 0o644, MD5: sumA, Target: "a"},
		{Path: "d", Type: DirMember, Mode: 0o755},
	}
	with := func(i int, change func(*Member)) []Member {
		out := append([]Member{}, base...)
		change(&out[i])
		return out
	}
	want := listing(t, base...).Content()
	reversed := listing(t, base[3], base[2], base[1], base[0])
	if got := reversed.Content(); got != want {
		t.Errorf("another order: got %s, want %s", got, want)
	}
	text, err := reversed.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != reversed.TextSize() {
		t.Errorf("%d bytes, want %d", len(text), reversed.TextSize())
	}
	again, err := NewChecks().Begin(t.Context()).ParseListing(string(text))
	if err != nil || again.Content() != want {
		t.Errorf("read again: got %v, %v", again, err)
	}
	for name, members := range map[string][]Member{
		"name":         with(0, func(m *Member) { m.Path = "x" }),
		"mode":         with(0, func(m *Member) { m.Mode = 0o755 }),
		"content":      with(0, func(m *Member) { m.MD5 = sumB }),
		"target":       with(1, func(m *Member) { m.Target = "x" }),
		"hard target":  with(2, func(m *Member) { m.Target = "x" }),
		"kind":         with(3, func(m *Member) { m.Type = RegularMember }),
		"empty folder": base[:3],
		"twice":        append([]Member{base[0]}, base...),
	} {
		if listing(t, members...).Content() == want {
			t.Errorf("another %s is the same content", name)
		}
	}
	for _, text := range []string{"", "[]", "Ag=="} {
		if _, err := NewChecks().Begin(t.Context()).ParseListing(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v, want ErrInvalid", text, err)
		}
	}
}

// TestHardLinksOfOnePath: links by the hundred thousand to one path that stands in the archive as
// often end soon.
func TestHardLinksOfOnePath(t *testing.T) {
	const links = 100_000
	l, c := new(Listing), NewChecks().Begin(t.Context())
	defer c.End()
	var at []position
	for i := range 2 * links {
		m := Member{Path: "a", Type: SymlinkMember, Target: "x"}
		switch {
		case i == 0:
			m = Member{Path: "a", MD5: sumA}
		case i >= links:
			m = Member{Path: "b", Type: HardlinkMember, Target: "a"}
		}
		p, err := l.add(c, m)
		if err != nil {
			t.Fatal(err)
		}
		if i >= links {
			at = append(at, p)
		}
	}
	if err := l.setHardLinks(c, at); err != nil {
		t.Fatal(err)
	}
	if got := l.at(at[links-1]).member(); got.MD5 != sumA {
		t.Errorf("got %+v", got)
	}
	if r, ok := l.last(strings.Repeat("b", 1)); !ok || r.kind != HardlinkMember || l.before([]byte("c"), math.MaxUint32) != -1 {
		t.Errorf("last b: got %+v, %v", r, ok)
	}
}
