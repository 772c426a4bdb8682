package blob_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/blob"
	"conanproxy/internal/blob/blobtest"
)

func newDisk(t testing.TB, dir string, o blob.DiskOptions) *blob.Disk {
	t.Helper()
	d, err := blob.NewDisk(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDiskContract(t *testing.T) {
	for name, o := range map[string]blob.DiskOptions{"defaults": {}, "hashed beside": {InlineHash: 1}} {
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, func(t *testing.T) blob.Store { return newDisk(t, t.TempDir(), o) })
		})
	}
}

func TestDiskLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "blobs")
	s := newDisk(t, dir, blob.DiskOptions{})
	d := blobtest.Put(t, s, []byte("hello")).SHA256
	want := filepath.Join(dir, "sha256", "2c", "f24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
	info, err := os.Stat(want)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o440 {
		t.Errorf("mode of a blob is %v, want read-only", got)
	}
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, ok := r.(*os.File); !ok {
		t.Errorf("Open gives a %T, want an *os.File", r)
	}
	wantTemp(t, dir, 0)
}

// wantTemp checks the number of files in dir/tmp.
func wantTemp(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != want {
		t.Errorf("%d files in tmp, want %d", len(entries), want)
	}
}

func TestDiskReopen(t *testing.T) {
	dir := t.TempDir()
	s := newDisk(t, dir, blob.DiskOptions{})
	d := blobtest.Put(t, s, []byte("kept")).SHA256
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("cut by a crash")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp", "folder", "of"), 0o700); err != nil {
		t.Fatal(err)
	}
	wantTemp(t, dir, 2)

	again := newDisk(t, dir, blob.DiskOptions{})
	wantTemp(t, dir, 0)
	if n, err := again.Stat(t.Context(), d); n != 4 || err != nil {
		t.Errorf("Stat = %d, %v", n, err)
	}
}

func TestDiskReplacesDamaged(t *testing.T) {
	for name, damaged := range map[string]string{"shorter": "who", "empty": "", "longer": "whole and more"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newDisk(t, dir, blob.DiskOptions{})
			d := string(blobtest.SumsOf([]byte("whole")).SHA256)
			path := filepath.Join(dir, "sha256", d[:2], d[2:])
			if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(damaged), 0o440); err != nil {
				t.Fatal(err)
			}
			blobtest.Put(t, s, []byte("whole"))
			got, err := os.ReadFile(path)
			if err != nil || string(got) != "whole" {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
}

func TestDiskKeepsFirstCopy(t *testing.T) {
	dir := t.TempDir()
	s := newDisk(t, dir, blob.DiskOptions{})
	d := string(blobtest.Put(t, s, []byte("same")).SHA256)
	path := filepath.Join(dir, "sha256", d[:2], d[2:])
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	blobtest.Put(t, s, []byte("same"))
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("the second commit replaced the file")
	}
	wantTemp(t, dir, 0)
}

func TestDiskWalkSkipsStrangers(t *testing.T) {
	dir := t.TempDir()
	s := newDisk(t, dir, blob.DiskOptions{})
	sums := blobtest.Put(t, s, []byte("blob"))
	if err := os.Mkdir(filepath.Join(dir, "sha256", "ab"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sha256/README", "sha256/ab/short", "sha256/ab/" + strings.Repeat("Z", 62)} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sha256", "ab", strings.Repeat("0", 62)), 0o700); err != nil {
		t.Fatal(err)
	}
	got := map[blob.Digest]int64{}
	if err := s.Walk(t.Context(), func(d blob.Digest, n int64) error { got[d] = n; return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[blob.Digest]int64{sums.SHA256: 4}, got); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
}

func TestDiskTempBytes(t *testing.T) {
	s := newDisk(t, t.TempDir(), blob.DiskOptions{})
	var writers [2]blob.Writer
	for i := range writers {
		w, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		if _, err := w.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		writers[i] = w
	}
	steps := []struct {
		name string
		do   func() error
		want int64
	}{
		{"written", func() error { return nil }, 2000},
		{"one aborted", func() error { writers[0].Abort(); return nil }, 1000},
		{"aborted again", func() error { writers[0].Abort(); return nil }, 1000},
		{"other being recorded", func() error {
			return writers[1].Commit(t.Context(), func(blob.Sums) error {
				if got := s.TempBytes(); got != 0 {
					t.Errorf("TempBytes in record = %d, want 0", got)
				}
				return nil
			})
		}, 0},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := s.TempBytes(); got != step.want {
			t.Errorf("%s: TempBytes = %d, want %d", step.name, got, step.want)
		}
	}
}

func TestNewDiskFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.NewDisk(filepath.Join(file, "blobs"), blob.DiskOptions{}); err == nil {
		t.Error("NewDisk below a file succeeded")
	}
}

func TestDigestValid(t *testing.T) {
	good := strings.Repeat("0123456789abcdef", 4)
	for d, want := range map[string]bool{
		good: true, "": false, good[1:]: false, good + "0": false, strings.ToUpper(good): false,
		good[:63] + "g": false, good[:63] + "/": false, good[:63] + "`": false,
	} {
		if got := blob.Digest(d).Valid(); got != want {
			t.Errorf("Digest(%q).Valid() = %v", d, got)
		}
	}
}

// After Close no file stays open, whether the writer was read before its end, after it, or not at
// all, and whether the end comes before Close or after.
func TestWriterClose(t *testing.T) {
	open := func() int {
		t.Helper()
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("this system does not list open files")
		}
		return len(entries)
	}
	s := newDisk(t, t.TempDir(), blob.DiskOptions{})
	for _, steps := range []string{"commit close", "read commit close", "commit read close", "read close commit", "read abort close", "read close abort"} {
		w, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := open() - 1 // without the writer's own
		if _, err := w.Write([]byte(steps)); err != nil {
			t.Fatal(err)
		}
		for _, step := range strings.Fields(steps) {
			var err error
			switch step {
			case "commit":
				err = w.Commit(t.Context(), nil)
			case "read":
				_, err = w.ReadAt(make([]byte, 4), 0)
			case "abort":
				w.Abort()
			case "close":
				w.Close()
			}
			if err != nil {
				t.Errorf("%s: %s: %v", steps, step, err)
			}
		}
		if n := open(); n > before { // fewer: what earlier tests left is closed when it is garbage
			t.Errorf("%s: %d files are open, %d were", steps, n, before)
		}
		if _, err := w.ReadAt(make([]byte, 1), 0); err == nil {
			t.Errorf("%s: it can be read still", steps)
		}
	}
}

// A slow Verify does not keep the bytes of a deleted blob on the disk.
func TestVerifyEndsWithItsBlob(t *testing.T) {
	s := newDisk(t, t.TempDir(), blob.DiskOptions{})
	d := blobtest.Put(t, s, blobtest.Content(1, 2<<20)).SHA256
	waits := 0
	wait := func(ctx context.Context, _ int) error {
		if waits++; waits == 3 {
			_, err := s.Delete(ctx, d, func() (bool, error) { return false, nil })
			return err
		}
		return nil
	}
	if _, err := s.Verify(t.Context(), d, wait); !errors.Is(err, blob.ErrNotFound) || waits != 3 {
		t.Errorf("Verify of a blob that was deleted at its third wait: %v after %d", err, waits)
	}
}
