package blob_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"testing"

	"conanproxy/internal/blob"
	"conanproxy/internal/blob/blobtest"
)

// BenchmarkCommit is one new blob of each size, written in the pieces that io.Copy makes.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := newDisk(b, b.TempDir(), blob.DiskOptions{})
			content := blobtest.Content(1, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				copy(content, fmt.Sprint(i))
				commit(b, s, content)
			}
		})
	}
}

// BenchmarkBaseline is what the commit of a large blob is measured by: write, fsync and one sha256
// after each other.
func BenchmarkBaseline(b *testing.B) {
	const size = 64 << 20
	dir, content := b.TempDir(), blobtest.Content(1, size)
	b.SetBytes(size)
	for b.Loop() {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			b.Fatal(err)
		}
		hash := sha256.New()
		for at := 0; at < size; at += 32 << 10 {
			if _, err := f.Write(content[at : at+32<<10]); err != nil {
				b.Fatal(err)
			}
			hash.Write(content[at : at+32<<10])
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// BenchmarkCommitParallel is many new small blobs at once.
func BenchmarkCommitParallel(b *testing.B) {
	s := newDisk(b, b.TempDir(), blob.DiskOptions{})
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		content := blobtest.Content(1, 4096)
		for i := 0; pb.Next(); i++ {
			copy(content, fmt.Sprintf("%p %d", pb, i))
			commit(b, s, content)
		}
	})
}

// BenchmarkCommitSame is a blob that is stored already.
func BenchmarkCommitSame(b *testing.B) {
	s := newDisk(b, b.TempDir(), blob.DiskOptions{})
	content := blobtest.Content(1, 4096)
	for b.Loop() {
		commit(b, s, content)
	}
}

func commit(b *testing.B, s blob.Store, content []byte) {
	w, err := s.Create(context.Background())
	if err != nil {
		b.Error(err)
		return
	}
	defer w.Abort()
	for len(content) > 0 {
		n := min(len(content), 32<<10)
		if _, err := w.Write(content[:n]); err != nil {
			b.Error(err)
			return
		}
		content = content[n:]
	}
	if err := w.Commit(context.Background(), nil); err != nil {
		b.Error(err)
	}
}
