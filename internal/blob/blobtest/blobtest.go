// Package blobtest is the contract suite of blob.Store: every implementation and every wrapper runs
// it.
package blobtest

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/blob"
)

// Run checks that the stores that newStore makes keep the contract. Each call of newStore gives an
// empty store.
func Run(t *testing.T, newStore func(t *testing.T) blob.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, blob.Store)
	}{
		{"Commit", testCommit},
		{"CommitTwice", testCommitTwice},
		{"CommitEnds", testCommitEnds},
		{"RecordFails", testRecordFails},
		{"RecordSeesBlob", testRecordSeesBlob},
		{"SumsMidway", testSumsMidway},
		{"ReadAlong", testReadAlong},
		{"ReadAfterCommit", testReadAfterCommit},
		{"Abort", testAbort},
		{"Missing", testMissing},
		{"MalformedDigest", testMalformedDigest},
		{"Stage", testStage},
		{"StageThenCommit", testStageThenCommit},
		{"Keep", testKeep},
		{"Delete", testDelete},
		{"DeleteAndCommitAgain", testDeleteAndCommitAgain},
		{"OpenSurvivesDelete", testOpenSurvivesDelete},
		{"Walk", testWalk},
		{"Free", testFree},
		{"CancelledContext", testCancelledContext},
		{"LockHonoursContext", testLockHonoursContext},
		{"OneDigestConcurrently", testOneDigestConcurrently},
		{"ManyDigestsConcurrently", testManyDigestsConcurrently},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newStore(t)) })
	}
}

// Content makes n reproducible bytes that depend on seed.
func Content(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// SumsOf computes what a store must tell of b.
func SumsOf(b []byte) blob.Sums {
	s256, s1, m5 := sha256.Sum256(b), sha1.Sum(b), md5.Sum(b)
	return blob.Sums{
		Size:   int64(len(b)),
		SHA256: blob.Digest(hex.EncodeToString(s256[:])),
		SHA1:   hex.EncodeToString(s1[:]),
		MD5:    hex.EncodeToString(m5[:]),
	}
}

// Put commits b and returns its sums.
func Put(t testing.TB, s blob.Store, b []byte) blob.Sums {
	t.Helper()
	w := create(t, s)
	defer w.Abort()
	write(t, w, b)
	var got blob.Sums
	if err := w.Commit(t.Context(), func(sums blob.Sums) error { got = sums; return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

func create(t testing.TB, s blob.Store) blob.Writer {
	t.Helper()
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t testing.TB, w io.Writer, b []byte) {
	t.Helper()
	if n, err := w.Write(b); err != nil || n != len(b) {
		t.Fatalf("Write of %d bytes = %d, %v", len(b), n, err)
	}
}

func read(t testing.TB, s blob.Store, d blob.Digest) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func walk(t testing.TB, s blob.Store) map[blob.Digest]int64 {
	t.Helper()
	got := map[blob.Digest]int64{}
	err := s.Walk(t.Context(), func(d blob.Digest, size int64) error { got[d] = size; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantMissing(t testing.TB, s blob.Store, d blob.Digest) {
	t.Helper()
	if _, err := s.Stat(t.Context(), d); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Stat(%.8s) = %v, want ErrNotFound", d, err)
	}
	r, err := s.Open(t.Context(), d)
	if !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Open(%.8s) = %v, want ErrNotFound", d, err)
	}
	if r != nil {
		t.Errorf("Open(%.8s) returned a reader beside its error", d)
	}
}

func testCommit(t *testing.T, s blob.Store) {
	for _, size := range []int{0, 1, 4096, 256 << 10, 256<<10 + 1, 3<<20 + 17} {
		for _, piece := range []int{max(size, 1), 1000, 32 << 10} {
			b := Content(uint64(size), size)
			w := create(t, s)
			for p := range slices.Chunk(b, piece) {
				write(t, w, p)
			}
			var got blob.Sums
			if err := w.Commit(t.Context(), func(sums blob.Sums) error { got = sums; return nil }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(SumsOf(b), got); diff != "" {
				t.Errorf("sums of %d bytes in pieces of %d (-want +got):\n%s", size, piece, diff)
			}
			if n, err := s.Stat(t.Context(), got.SHA256); err != nil || n != int64(size) {
				t.Errorf("Stat = %d, %v; want %d", n, err, size)
			}
			if !bytes.Equal(read(t, s, got.SHA256), b) {
				t.Errorf("%d bytes in pieces of %d read back differ", size, piece)
			}
		}
	}
}

func testCommitTwice(t *testing.T, s blob.Store) {
	b := Content(1, 10_000)
	first, second := Put(t, s, b), Put(t, s, b)
	if first != second {
		t.Errorf("sums differ: %v and %v", first, second)
	}
	if diff := cmp.Diff(map[blob.Digest]int64{first.SHA256: 10_000}, walk(t, s)); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	if !bytes.Equal(read(t, s, first.SHA256), b) {
		t.Error("bytes read back differ")
	}
}

func testCommitEnds(t *testing.T, s blob.Store) {
	w := create(t, s)
	write(t, w, []byte("once"))
	if err := w.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	called := false
	if err := w.Commit(t.Context(), func(blob.Sums) error { called = true; return nil }); err == nil || called {
		t.Errorf("second Commit = %v, record called: %v", err, called)
	}
	if _, err := w.Write([]byte("more")); err == nil {
		t.Error("Write after Commit succeeded")
	}
	if got := read(t, s, SumsOf([]byte("once")).SHA256); string(got) != "once" {
		t.Errorf("read %q", got)
	}
}

func testRecordFails(t *testing.T, s blob.Store) {
	failure := errors.New("no row")
	w := create(t, s)
	write(t, w, []byte("orphan"))
	if err := w.Commit(t.Context(), func(blob.Sums) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("Commit = %v, want record's error", err)
	}
	w.Abort()
	d := SumsOf([]byte("orphan")).SHA256
	if _, err := s.Delete(t.Context(), d, func() (bool, error) { return false, nil }); err != nil {
		t.Errorf("Delete of a possible orphan: %v", err)
	}
	wantMissing(t, s, d)
}

func testRecordSeesBlob(t *testing.T, s blob.Store) {
	w := create(t, s)
	write(t, w, []byte("seen"))
	err := w.Commit(t.Context(), func(sums blob.Sums) error {
		if got := read(t, s, sums.SHA256); string(got) != "seen" {
			t.Errorf("record reads %q", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testSumsMidway(t *testing.T, s blob.Store) {
	b := Content(2, 2<<20)
	w := create(t, s)
	defer w.Abort()
	for from := 0; from < len(b); from += 300_000 {
		to := min(from+300_000, len(b))
		write(t, w, b[from:to])
		if diff := cmp.Diff(SumsOf(b[:to]), w.Sums()); diff != "" {
			t.Fatalf("sums of the first %d bytes (-want +got):\n%s", to, diff)
		}
	}
}

func testReadAlong(t *testing.T, s blob.Store) {
	b := Content(3, 2<<20)
	w := create(t, s)
	written := make(chan int, 1)
	result := make(chan error, 1)
	go func() {
		at := 0
		for n := range written {
			got := make([]byte, n-at)
			if _, err := w.ReadAt(got, int64(at)); err != nil && !errors.Is(err, io.EOF) {
				result <- err
				return
			}
			if !bytes.Equal(got, b[at:n]) {
				result <- errors.New("bytes read along differ")
				return
			}
			at = n
		}
		result <- nil
	}()
	for from := 0; from < len(b); from += 100_000 {
		to := min(from+100_000, len(b))
		write(t, w, b[from:to])
		written <- to
	}
	close(written)
	if err := w.Commit(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func testReadAfterCommit(t *testing.T, s blob.Store) {
	for _, before := range []bool{false, true} {
		b := Content(4, 5000)
		w := create(t, s)
		write(t, w, b)
		got := make([]byte, 5000)
		if before {
			if _, err := w.ReadAt(got[:10], 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if n, err := w.ReadAt(got, 0); n != 5000 || (err != nil && !errors.Is(err, io.EOF)) || !bytes.Equal(got, b) {
			t.Errorf("ReadAt after Commit, also before: %v = %d, %v", before, n, err)
		}
	}
}

func testAbort(t *testing.T, s blob.Store) {
	b := Content(5, 1<<20)
	w := create(t, s)
	write(t, w, b)
	got := make([]byte, len(b))
	if _, err := w.ReadAt(got[:100], 0); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if len(walk(t, s)) != 0 {
		t.Error("an aborted blob is stored")
	}
	wantMissing(t, s, SumsOf(b).SHA256)
	if err := w.Commit(t.Context(), nil); err == nil {
		t.Error("Commit after Abort succeeded")
	}
	if _, err := w.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, b) {
		t.Errorf("a reader from before Abort cannot go on: %v", err)
	}
}

// testStage has blobs staged, read, synced, and staged again.
func testStage(t *testing.T, s blob.Store) {
	contents := [][]byte{Content(1, 10), Content(2, 300_000)}
	var digests []blob.Digest
	for range 2 {
		for _, b := range contents {
			sums := stage(t, s, b)
			if diff := cmp.Diff(SumsOf(b), sums); diff != "" {
				t.Errorf("sums (-want +got):\n%s", diff)
			}
			if !bytes.Equal(read(t, s, sums.SHA256), b) {
				t.Error("a staged blob reads back differently")
			}
			digests = append(digests, sums.SHA256)
		}
		if err := s.Sync(t.Context(), digests...); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(walk(t, s)); n != len(contents) {
		t.Errorf("%d blobs, want %d", n, len(contents))
	}
	missing := SumsOf([]byte("never stored")).SHA256
	if err := s.Sync(t.Context(), digests[0], missing); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Sync of a missing blob = %v, want ErrNotFound", err)
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Errorf("Sync of nothing = %v", err)
	}
	if n, err := s.Delete(t.Context(), stage(t, s, []byte("gone")).SHA256, func() (bool, error) { return false, nil }); n != 4 || err != nil {
		t.Errorf("Delete of a staged blob = %d, %v", n, err)
	}
}

// testStageThenCommit has the same bytes staged and committed, in both orders.
func testStageThenCommit(t *testing.T, s blob.Store) {
	b := Content(3, 5000)
	staged, committed := stage(t, s, b), Put(t, s, b)
	if staged != committed || stage(t, s, b) != staged {
		t.Error("sums differ")
	}
	if !bytes.Equal(read(t, s, staged.SHA256), b) || len(walk(t, s)) != 1 {
		t.Error("the blob is not stored once")
	}
}

func stage(t testing.TB, s blob.Store, b []byte) (sums blob.Sums) {
	t.Helper()
	w := create(t, s)
	defer w.Abort()
	write(t, w, b)
	err := w.Stage(t.Context(), func(got blob.Sums) error {
		sums = got
		_, err := s.Stat(t.Context(), got.SHA256)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

func testMissing(t *testing.T, s blob.Store) {
	d := SumsOf([]byte("never stored")).SHA256
	wantMissing(t, s, d)
	err := s.Keep(t.Context(), d, func() error { t.Error("record called for a missing blob"); return nil })
	if !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Keep = %v, want ErrNotFound", err)
	}
	asked := false
	n, err := s.Delete(t.Context(), d, func() (bool, error) { asked = true; return false, nil })
	if n != 0 || err != nil || !asked {
		t.Errorf("Delete = %d, %v, named asked: %v; want 0, nil, true", n, err, asked)
	}
}

func testMalformedDigest(t *testing.T, s blob.Store) {
	good := string(Put(t, s, []byte("x")).SHA256)
	for _, d := range []string{"", "a", good[:63], good + "0", strings.ToUpper(good), "../" + good[3:], good[:60] + "/../", good[:63] + "\x00"} {
		wantMissing(t, s, blob.Digest(d))
		if err := s.Keep(t.Context(), blob.Digest(d), func() error { return nil }); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Keep(%q) = %v, want ErrNotFound", d, err)
		}
		if n, err := s.Delete(t.Context(), blob.Digest(d), func() (bool, error) { return false, nil }); n != 0 || err != nil {
			t.Errorf("Delete(%q) = %d, %v", d, n, err)
		}
	}
	if len(walk(t, s)) != 1 {
		t.Error("the good blob is gone")
	}
}

func testKeep(t *testing.T, s blob.Store) {
	d := Put(t, s, []byte("kept")).SHA256
	called := 0
	if err := s.Keep(t.Context(), d, func() error { called++; return nil }); err != nil || called != 1 {
		t.Errorf("Keep = %v, record called %d times", err, called)
	}
	failure := errors.New("no row")
	if err := s.Keep(t.Context(), d, func() error { return failure }); !errors.Is(err, failure) {
		t.Errorf("Keep = %v, want record's error", err)
	}
	other := Put(t, s, []byte("also kept")).SHA256
	err := s.Keep(t.Context(), d, func() error { return s.Keep(t.Context(), other, func() error { return nil }) })
	if err != nil {
		t.Errorf("Keep of one blob inside Keep of another = %v", err)
	}
}

func testDelete(t *testing.T, s blob.Store) {
	d := Put(t, s, Content(6, 1234)).SHA256
	n, err := s.Delete(t.Context(), d, func() (bool, error) { return true, nil })
	if n != 0 || err != nil {
		t.Errorf("Delete of a named blob = %d, %v", n, err)
	}
	failure := errors.New("index is gone")
	n, err = s.Delete(t.Context(), d, func() (bool, error) { return false, failure })
	if n != 0 || !errors.Is(err, failure) {
		t.Errorf("Delete = %d, %v; want 0 and named's error", n, err)
	}
	if size, err := s.Stat(t.Context(), d); size != 1234 || err != nil {
		t.Errorf("Stat = %d, %v", size, err)
	}
	n, err = s.Delete(t.Context(), d, func() (bool, error) { return false, nil })
	if n != 1234 || err != nil {
		t.Errorf("Delete = %d, %v; want 1234", n, err)
	}
	wantMissing(t, s, d)
	if len(walk(t, s)) != 0 {
		t.Error("a deleted blob is walked")
	}
}

func testDeleteAndCommitAgain(t *testing.T, s blob.Store) {
	b := Content(7, 100_000)
	d := Put(t, s, b).SHA256
	if _, err := s.Delete(t.Context(), d, func() (bool, error) { return false, nil }); err != nil {
		t.Fatal(err)
	}
	Put(t, s, b)
	if !bytes.Equal(read(t, s, d), b) {
		t.Error("bytes read back differ")
	}
}

func testOpenSurvivesDelete(t *testing.T, s blob.Store) {
	b := Content(8, 200_000)
	d := Put(t, s, b).SHA256
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := s.Delete(t.Context(), d, func() (bool, error) { return false, nil }); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("an open blob cannot be read after its deletion: %d bytes, %v", len(got), err)
	}
}

func testWalk(t *testing.T, s blob.Store) {
	want := map[blob.Digest]int64{}
	for i := range 50 {
		sums := Put(t, s, Content(uint64(i), i*10))
		want[sums.SHA256] = sums.Size
	}
	w := create(t, s)
	defer w.Abort()
	write(t, w, []byte("not committed"))
	if diff := cmp.Diff(want, walk(t, s)); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	enough, seen := errors.New("enough"), 0
	err := s.Walk(t.Context(), func(blob.Digest, int64) error {
		seen++
		if seen == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || seen != 3 {
		t.Errorf("Walk = %v after %d blobs, want fn's error after 3", err, seen)
	}
}

func testFree(t *testing.T, s blob.Store) {
	if n, err := s.Free(t.Context()); err != nil || n <= 0 {
		t.Errorf("Free = %d, %v", n, err)
	}
}

func testCancelledContext(t *testing.T, s blob.Store) {
	d := Put(t, s, []byte("there")).SHA256
	w := create(t, s)
	write(t, w, []byte("not there"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never := func() (bool, error) { t.Error("named called"); return false, nil }
	calls := map[string]func() error{
		"Create": func() error { _, err := s.Create(ctx); return err },
		"Commit": func() error {
			return w.Commit(ctx, func(blob.Sums) error { t.Error("record called by Commit"); return nil })
		},
		"Open":   func() error { _, err := s.Open(ctx, d); return err },
		"Stat":   func() error { _, err := s.Stat(ctx, d); return err },
		"Keep":   func() error { return s.Keep(ctx, d, func() error { t.Error("record called by Keep"); return nil }) },
		"Delete": func() error { _, err := s.Delete(ctx, d, never); return err },
		"Walk":   func() error { return s.Walk(ctx, func(blob.Digest, int64) error { return nil }) },
		"Free":   func() error { _, err := s.Free(ctx); return err },
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if err := calls[name](); !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want context.Canceled", name, err)
		}
	}
	if diff := cmp.Diff(map[blob.Digest]int64{d: 5}, walk(t, s)); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
}

func testLockHonoursContext(t *testing.T, s blob.Store) {
	d := Put(t, s, []byte("busy")).SHA256
	err := s.Keep(t.Context(), d, func() error {
		ctx, cancel := context.WithCancel(t.Context())
		waiting := make(chan error, 1)
		go func() {
			_, err := s.Delete(ctx, d, func() (bool, error) { return false, nil })
			waiting <- err
		}()
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("Delete of a blob that is being kept = %v, want context.Canceled", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got := read(t, s, d); string(got) != "busy" {
		t.Errorf("read %q", got)
	}
}
