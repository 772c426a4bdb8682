package conan

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArchiveLister(t *testing.T) {
	noise := make([]byte, 1<<20) // does not shrink
	rand.NewChaCha8([32]byte{1}).Read(noise)
	packed := pack(t, "tgz", tarOf(t, regular("noise", string(noise)), regular("z", "1")))
	want, err := listOf("conan_package.tgz", bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []int{32 << 10, len(packed)} {
		l := NewChecks().NewLister("conan_package.tgz")
		buffer := make([]byte, piece)
		for rest := packed; len(rest) > 0; {
			n := copy(buffer, rest)
			if written, err := l.Write(buffer[:n]); written != n || err != nil {
				t.Fatalf("pieces of %d: wrote %d, %v", piece, written, err)
			}
			clear(buffer) // the writer may use its buffer again at once
			rest = rest[n:]
		}
		l.Close()
		l.Close()
		got, err := l.List()
		if err != nil {
			t.Errorf("pieces of %d: %v", piece, err)
		} else if diff := cmp.Diff(want, slices.Collect(got.Members())); diff != "" {
			t.Errorf("pieces of %d: (-want +got)\n%s", piece, diff)
		}
	}
}

// TestArchiveListerAfterFailure: what is no archive is still taken to its end, however long.
func TestArchiveListerAfterFailure(t *testing.T) {
	l := NewChecks().NewLister("conan_package.tgz")
	n, err := io.Copy(l, io.LimitReader(neverEnding('x'), 1<<20))
	if n != 1<<20 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	<-l.Done()
	l.Close()
	if list, err := l.List(); !errors.Is(err, ErrInvalid) || list != nil {
		t.Errorf("got %v, %v; want ErrInvalid", list, err)
	}
}

func TestArchiveListerCut(t *testing.T) {
	packed := pack(t, "tgz", tarOf(t, regular("a", strings.Repeat("x", 1<<16))))
	for _, n := range []int{0, 1, len(packed) / 2, len(packed) - 1} {
		l := NewChecks().NewLister("conan_package.tgz")
		l.Write(packed[:n])
		l.Close()
		if _, err := l.List(); !errors.Is(err, ErrInvalid) {
			t.Errorf("cut at %d: got %v, want ErrInvalid", n, err)
		}
	}
}

type neverEnding byte

func (c neverEnding) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}
