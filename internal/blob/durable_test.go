package blob

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// syncLog notes what is synced and which names the folder of blobs has at that time.
type syncLog struct {
	steps   []string
	failing map[string]error // by the beginning of the step
}

func (l *syncLog) note(step string) error {
	l.steps = append(l.steps, step)
	for prefix, err := range l.failing {
		if strings.HasPrefix(step, prefix) {
			return err
		}
	}
	return nil
}

func (l *syncLog) file(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return l.note("file " + filepath.Base(filepath.Dir(f.Name())) + " " + info.Mode().Perm().String())
}

func (l *syncLog) dir(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	step := "dir " + filepath.Base(path)
	for _, e := range entries {
		step += " " + e.Name()[:min(4, len(e.Name()))]
	}
	return l.note(step)
}

func loggedDisk(t *testing.T) (*Disk, *syncLog) {
	t.Helper()
	d, err := NewDisk(t.TempDir(), DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	log := &syncLog{failing: map[string]error{}}
	d.sync = log
	return d, log
}

func commit(t *testing.T, d *Disk, content string, record func(Sums) error) error {
	t.Helper()
	w, err := d.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	return w.Commit(t.Context(), record)
}

func stage(t *testing.T, d *Disk, content string) error {
	t.Helper()
	w, err := d.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	return w.Stage(t.Context(), nil)
}

const helloDigest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

// A staged blob is synced when its set is, once, by whichever call needs it durable first.
func TestStagedBlobIsSyncedOnce(t *testing.T) {
	for name, use := range map[string]func(*Disk) error{
		"Sync":   func(d *Disk) error { return d.Sync(t.Context(), helloDigest) },
		"Keep":   func(d *Disk) error { return d.Keep(t.Context(), helloDigest, func() error { return nil }) },
		"Commit": func(d *Disk) error { return commit(t, d, "hello", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			d, log := loggedDisk(t)
			if err := stage(t, d, "hello"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"dir sha256 2c"}, log.steps); diff != "" {
				t.Errorf("steps of staging (-want +got):\n%s", diff)
			}
			log.steps = nil
			for range 2 {
				if err := use(d); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff([]string{"file 2c -rw-r-----", "dir 2c f24d"}, log.steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			info, err := os.Stat(d.path(helloDigest))
			if err != nil || info.Mode().Perm() != 0o440 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

// What was staged before a power failure is believed only if its bytes are right.
func TestStagedBlobOfAnEarlierProcess(t *testing.T) {
	for name, tt := range map[string]struct {
		left string
		want error
	}{"whole": {"hello", nil}, "zeros": {"\x00\x00\x00\x00\x00", ErrNotFound}, "empty": {"", ErrNotFound}} {
		t.Run(name, func(t *testing.T) {
			first, _ := loggedDisk(t)
			if err := stage(t, first, "hello"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(first.path(helloDigest), []byte(tt.left), 0); err != nil {
				t.Fatal(err)
			}
			d, err := NewDisk(first.dir, DiskOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Sync(t.Context(), helloDigest); !errors.Is(err, tt.want) {
				t.Errorf("Sync = %v, want %v", err, tt.want)
			}
			for _, again := range []func() error{
				func() error { return stage(t, d, "hello") },
				func() error { return d.Sync(t.Context(), helloDigest) },
			} {
				if err := again(); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := os.ReadFile(d.path(helloDigest)); err != nil || string(got) != "hello" {
				t.Errorf("stored %q, %v", got, err)
			}
		})
	}
}

// After a failed fsync the bytes may be lost although they can be read, so the blob is removed and
// has to be sent again.
func TestSyncFails(t *testing.T) {
	d, log := loggedDisk(t)
	if err := stage(t, d, "hello"); err != nil {
		t.Fatal(err)
	}
	log.failing["file"] = syscall.EIO
	if err := d.Sync(t.Context(), helloDigest); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync = %v, want %v", err, syscall.EIO)
	}
	delete(log.failing, "file")
	if err := d.Sync(t.Context(), helloDigest); !errors.Is(err, ErrNotFound) {
		t.Errorf("Sync again = %v, want ErrNotFound", err)
	}
	if err := commit(t, d, "hello", nil); err != nil {
		t.Error(err)
	}
}

func TestCommitOrder(t *testing.T) {
	d, log := loggedDisk(t)
	record := func(Sums) error { return log.note("record") }
	for range 2 {
		if err := commit(t, d, "hello", record); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"dir sha256 2c",       // the folder that the blob goes to
		"file tmp -r--r-----", // the bytes, read-only, while they have no name
		"dir 2c f24d",         // the name
		"record",
		"record", // the second copy finds all of it durable
	}
	if diff := cmp.Diff(want, log.steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// A process that ended between rename and fsync leaves a name that is not durable yet.
func TestFoundBlobIsSettledOnce(t *testing.T) {
	first, _ := loggedDisk(t)
	if err := commit(t, first, "hello", nil); err != nil {
		t.Fatal(err)
	}
	d, err := NewDisk(first.dir, DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	log := &syncLog{}
	d.sync = log
	if err := d.Keep(t.Context(), helloDigest, func() error { return log.note("keep") }); err != nil {
		t.Fatal(err)
	}
	if err := commit(t, d, "hello", func(Sums) error { return log.note("commit") }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"dir 2c f24d", "keep", "commit"}, log.steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestCommitFails(t *testing.T) {
	tests := []struct {
		name   string
		step   string
		err    error
		want   error
		stored bool
	}{
		{"fsync", "file", syscall.EIO, syscall.EIO, false},
		{"fsync without space", "file", &fs.PathError{Op: "sync", Err: syscall.ENOSPC}, ErrNoSpace, false},
		{"fsync over quota", "file", syscall.EDQUOT, ErrNoSpace, false},
		{"fsync of the folder", "dir 2c", syscall.EIO, syscall.EIO, true},
		{"fsync of the folder above", "dir sha256", syscall.EIO, syscall.EIO, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, log := loggedDisk(t)
			log.failing[tt.step] = tt.err
			err := commit(t, d, "hello", func(Sums) error { t.Error("record called"); return nil })
			if !errors.Is(err, tt.want) || !errors.Is(err, tt.err) {
				t.Errorf("Commit = %v, want %v", err, tt.want)
			}
			entries, err := os.ReadDir(d.tempDir())
			if err != nil || len(entries) != 0 {
				t.Errorf("tmp holds %v, %v", entries, err)
			}
			if d.TempBytes() != 0 {
				t.Errorf("TempBytes = %d", d.TempBytes())
			}
			_, err = os.Stat(d.path("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"))
			if (err == nil) != tt.stored {
				t.Errorf("Stat = %v, want stored: %v", err, tt.stored)
			}

			clear(log.failing)
			log.steps = nil
			if err := commit(t, d, "hello", func(Sums) error { return log.note("record") }); err != nil {
				t.Fatal(err)
			}
			if got := log.steps[len(log.steps)-2]; got != "dir 2c f24d" {
				t.Errorf("after the failure the name was not synced again before record: %v", log.steps)
			}
			if tt.step == "dir sha256" && log.steps[0] != "dir sha256 2c" {
				t.Errorf("after the failure the name of the folder was not synced again: %v", log.steps)
			}
		})
	}
}

func TestWriteFailureSticks(t *testing.T) {
	d, _ := loggedDisk(t)
	w, err := d.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte("head")); err != nil {
		t.Fatal(err)
	}
	w.(*diskWriter).file.Close()
	_, first := w.Write([]byte("tail"))
	_, second := w.Write([]byte("tail"))
	if first == nil || first != second {
		t.Errorf("Write = %v, then %v; want one failure twice", first, second)
	}
	if err := w.Commit(t.Context(), nil); err != first {
		t.Errorf("Commit = %v, want %v", err, first)
	}
	if d.TempBytes() != 0 {
		t.Errorf("TempBytes = %d", d.TempBytes())
	}
}

func TestHandlesAreClosed(t *testing.T) {
	d, _ := loggedDisk(t)
	for name, end := range map[string]func(Writer){
		"commit": func(w Writer) {
			if err := w.Commit(t.Context(), nil); err != nil {
				t.Error(err)
			}
		},
		"abort": Writer.Abort,
	} {
		for _, read := range []bool{false, true} {
			w, err := d.Create(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(name)); err != nil {
				t.Fatal(err)
			}
			if read {
				if _, err := w.ReadAt(make([]byte, 1), 0); err != nil {
					t.Fatal(err)
				}
			}
			end(w)
			if open := w.(*diskWriter).file != nil; open != read {
				t.Errorf("after %s the file is open: %v, although it was read: %v", name, open, read)
			}
		}
	}
}

func TestLocksAreForgotten(t *testing.T) {
	d, _ := loggedDisk(t)
	for _, content := range []string{"one", "two", "one"} {
		if err := commit(t, d, content, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.locks.used); n != 0 {
		t.Errorf("%d locks are kept without users", n)
	}
}

// Uploads of the same bytes do not wait for each other's row; a removal waits for all.
func TestSameBytesAreRecordedTogether(t *testing.T) {
	d, _ := loggedDisk(t)
	entered, leave := make(chan Sums, 3), make(chan struct{})
	done := make(chan error, 3)
	record := func(s Sums) error {
		entered <- s
		<-leave
		return nil
	}
	go func() { done <- commit(t, d, "hello", record) }()
	first := <-entered
	go func() { done <- d.Keep(t.Context(), first.SHA256, func() error { return record(first) }) }()
	go func() { done <- commit(t, d, "hello", record) }()
	<-entered
	<-entered
	deleted := make(chan error, 1)
	go func() {
		_, err := d.Delete(t.Context(), first.SHA256, func() (bool, error) { return true, nil })
		deleted <- err
	}()
	select {
	case <-deleted:
		t.Error("the removal looked while rows were being written")
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := <-deleted; err != nil {
		t.Error(err)
	}
}

// All folders are made ahead and known to be there, so that no blob makes its own.
func TestMakeFolders(t *testing.T) {
	dir := t.TempDir()
	d, err := NewDisk(dir, DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // they may be there
		if err := d.MakeFolders(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(d.root())
	if err != nil || len(entries) != 256 {
		t.Fatalf("%d folders, %v", len(entries), err)
	}
	for _, e := range entries {
		f := d.fanoutOf(Digest(e.Name() + strings.Repeat("0", 62)))
		if !f.made {
			t.Errorf("%s is not known to be there", e.Name())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.MakeFolders(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
