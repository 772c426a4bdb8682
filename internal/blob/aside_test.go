package blob_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"conanproxy/internal/blob"
	"conanproxy/internal/blob/blobtest"
)

func TestOrphanedBlobIsTakenBackUnlessItIsDamaged(t *testing.T) {
	dir := t.TempDir()
	s := newDisk(t, dir, blob.DiskOptions{})
	wantEmpty(t, s, true)
	good, bad := blobtest.Put(t, s, []byte("good")), blobtest.Put(t, s, []byte("bad"))
	for _, d := range []blob.Digest{good.SHA256, bad.SHA256} {
		if err := s.SetAside(t.Context(), d, blob.Orphaned); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Stat(t.Context(), d); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("a blob that was set aside is in its place: %v", err)
		}
	}
	wantEmpty(t, s, true)
	aside, err := filepath.Glob(filepath.Join(dir, "orphaned", string(bad.SHA256)+"-*"))
	if err != nil || len(aside) != 1 {
		t.Fatalf("set aside: %v, %v", aside, err)
	}
	if err := os.Remove(aside[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(aside[0], []byte("other bytes"), 0o400); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[blob.Digest]bool{good.SHA256: true, bad.SHA256: false, "no digest": false} {
		back, err := s.TakeBack(t.Context(), d)
		if err != nil || back != want {
			t.Errorf("TakeBack(%.8s) = %v, %v; want %v", d, back, err, want)
		}
		if _, err := s.Stat(t.Context(), d); (err == nil) != want {
			t.Errorf("after TakeBack(%.8s): %v", d, err)
		}
	}
	wantEmpty(t, s, false)
	if back, err := s.TakeBack(t.Context(), good.SHA256); err != nil || !back {
		t.Errorf("TakeBack of a blob in its place = %v, %v", back, err)
	}
}

func wantEmpty(t *testing.T, s *blob.Disk, want bool) {
	t.Helper()
	if got, err := s.Empty(t.Context()); err != nil || got != want {
		t.Errorf("Empty = %v, %v; want %v", got, err, want)
	}
}
