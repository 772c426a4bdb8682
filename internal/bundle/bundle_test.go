package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

var published = time.Date(2024, 2, 3, 4, 5, 6, 123456000, time.UTC)

// zlib are two recipe revisions of one moment, and a package of the first with metadata.
func zlib() []conantest.Set {
	first := conantest.Recipe("zlib", "1.3", conantest.Code("a"), conantest.Published(published))
	second := conantest.Recipe("zlib", "1.3", conantest.Code("b"), conantest.Published(published))
	pkg := conantest.Package(first, conantest.File("lib/a", "a"), conantest.Metadata("logs/build.log", ""), conantest.Published(published.Add(time.Second)))
	return []conantest.Set{first, second, pkg}
}

func write(t testing.TB, since Since, sets ...conantest.Set) []byte {
	t.Helper()
	var revs []conan.Revision
	for _, set := range sets {
		revs = append(revs, set.Revision)
	}
	plan, err := NewPlan(context.Background(), conantest.NewSource("dev", conan.StateLocal, sets...), revs, since)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := plan.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns everything that a bundle tells.
func read(text []byte, keys ...Key) (string, error) {
	b, err := NewReader(bytes.NewReader(text), keys)
	if err != nil {
		return "", err
	}
	var all strings.Builder
	fmt.Fprintln(&all, b.Index, b.Since, b.Bytes, b.Verified)
	for _, item := range b.Items() {
		fmt.Fprintln(&all, item.Revision, item.Time)
		list, err := b.Snapshot(context.Background(), item.Revision)
		if err != nil {
			return "", err
		}
		for _, f := range list.Value {
			fmt.Fprintln(&all, f)
			if place, here := b.places[f.SHA256]; !here || place < b.next {
				continue
			}
			file, err := b.Open(context.Background(), item.Revision, f.Name)
			if err != nil {
				return "", err
			}
			content, err := io.ReadAll(file.Value)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&all, "%q\n", content)
		}
	}
	return all.String(), b.Complete()
}

func TestBundleHasRevisionsTimesAndBytes(t *testing.T) {
	sets := zlib()
	text := write(t, Since{}, sets...)
	if again := write(t, Since{}, sets...); !bytes.Equal(text, again) {
		t.Error("the same revisions gave another bundle")
	}
	b, err := NewReader(bytes.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := b.Revisions(t.Context(), conan.Revision{Ref: sets[0].Ref})
	if err != nil {
		t.Fatal(err)
	}
	want := []conan.RevisionTime{{ID: sets[1].RRev, Time: published}, {ID: sets[0].RRev, Time: published}}
	if diff := cmp.Diff(want, list.Value); diff != "" {
		t.Errorf("revisions, newest first: %s", diff)
	}
	all, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		for name, content := range set.Files {
			if !strings.Contains(all, fmt.Sprintf("%q\n", content)) {
				t.Errorf("%s of %s is not there", name, set.Revision)
			}
		}
	}
}

// TestEntries: the names and their order are what the package says.
func TestEntries(t *testing.T) {
	in := tar.NewReader(bytes.NewReader(write(t, Since{}, zlib()...)))
	var names []string
	for {
		head, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, head.Name)
	}
	if len(names) < 7 || !slices.Equal(names[:2], []string{indexName, layoutName}) {
		t.Errorf("entries %q", names)
	}
	for _, name := range names[2:] {
		if !strings.HasPrefix(name, blobFolder) || len(name) != len(blobFolder)+64 {
			t.Errorf("entry %q", name)
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	text := write(t, Since{}, zlib()...)
	for n := range text {
		if _, err := read(text[:n]); !errors.Is(err, conan.ErrInvalid) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(text), err)
		}
	}
}

// TestEveryFlippedBitIsRefused, or changes nothing that is read: padding, and the ends of fields of
// tar headers. Of a zero byte one bit is flipped.
func TestEveryFlippedBitIsRefused(t *testing.T) {
	sets := zlib()
	text := write(t, Since{}, sets[0], sets[2])
	whole, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	meaningless := 0
	for n, b := range bytes.Clone(text) {
		for bit := range 8 {
			if b == 0 && bit != n%8 {
				continue
			}
			text[n] ^= 1 << bit
			all, err := read(text)
			switch {
			case err == nil && all != whole:
				t.Errorf("bit %d of byte %d of %d: it was taken, and read as something else", bit, n, len(text))
			case err == nil:
				meaningless++
			case !errors.Is(err, conan.ErrInvalid):
				t.Errorf("bit %d of byte %d: %v", bit, n, err)
			}
			text[n] ^= 1 << bit
		}
	}
	if without := withoutMeaning(t, text); meaningless > without {
		t.Errorf("%d flipped bits were not noticed, and only %d mean nothing", meaningless, without)
	}
}

// withoutMeaning counts bits that were flipped and mean nothing: one of each byte behind the files
// of a tar, and nine of each header, in the two bytes that end the field of its sum.
func withoutMeaning(t *testing.T, text []byte) (n int) {
	in := tar.NewReader(bytes.NewReader(text))
	for {
		head, err := in.Next()
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n += int((512-head.Size%512)%512) + 9
	}
}

func TestSignature(t *testing.T) {
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain := write(t, Since{}, zlib()...)
	var signed bytes.Buffer
	if err := Sign(&signed, bytes.NewReader(plain), private); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(signed.Bytes(), plain) {
		t.Error("signing changed more than the beginning")
	}
	if _, err := read(signed.Bytes()); err != nil {
		t.Errorf("without keys: %v", err)
	}
	if all, err := read(signed.Bytes(), other, public); err != nil || !strings.Contains(all, "true\n") {
		t.Errorf("by a known key: %v", err)
	}
	for name, tc := range map[string]struct {
		text []byte
		key  Key
	}{"by an unknown key": {signed.Bytes(), other}, "without a signature": {plain, public}} {
		if _, err := read(tc.text, tc.key); !errors.Is(err, conan.ErrInvalid) || !strings.Contains(err.Error(), "sign") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Sign(io.Discard, bytes.NewReader(signed.Bytes()), private); !errors.Is(err, conan.ErrInvalid) {
		t.Errorf("signing again: %v", err)
	}
}

func TestSince(t *testing.T) {
	sets := zlib()
	first := write(t, Since{}, sets[0])
	b, err := NewReader(bytes.NewReader(first), nil)
	if err != nil {
		t.Fatal(err)
	}
	second := write(t, b.Blobs(), sets...)
	later, err := NewReader(bytes.NewReader(second), nil)
	if err != nil {
		t.Fatal(err)
	}
	if later.Since != b.Index || later.Bytes >= int64(len(write(t, Since{}, sets...))) {
		t.Errorf("since %q with %d bytes, want %q and less than all", later.Since, later.Bytes, b.Index)
	}
	if _, err := later.Open(t.Context(), sets[0].Revision, conan.RecipeFile); !errors.Is(err, conan.ErrConflict) || !strings.Contains(err.Error(), b.Index) {
		t.Errorf("bytes of the earlier bundle: %v", err)
	}
	if file, err := later.Open(t.Context(), sets[2].Revision, conan.InfoFile); err != nil {
		t.Error(err)
	} else if content, err := io.ReadAll(file.Value); err != nil || string(content) != string(sets[2].Files[conan.InfoFile]) {
		t.Errorf("its own bytes: %q, %v", content, err)
	}
	if err := later.Complete(); err != nil {
		t.Error(err)
	}
	if got, want := len(later.Blobs().Blobs), len(mapOfDigests(sets)); got != want {
		t.Errorf("%d blobs for a third bundle, want %d", got, want)
	}
	if _, err := NewPlan(t.Context(), later, nil, Since{Index: "../x"}); !errors.Is(err, conan.ErrInvalid) {
		t.Errorf("a strange name: %v", err)
	}
}

func mapOfDigests(sets []conantest.Set) map[string]bool {
	digests := make(map[string]bool)
	for _, set := range sets {
		for _, f := range set.Snapshot() {
			digests[f.SHA256] = true
		}
	}
	return digests
}

// TestManyFilesAreSeveralManifests: no manifest is larger than standard tools accept.
func TestManyFilesAreSeveralManifests(t *testing.T) {
	recipe := conantest.Recipe("zlib", "1.3")
	sets := []conantest.Set{recipe}
	long := strings.Repeat("x", 900)
	for i := range 400 {
		pkg := conantest.Package(recipe, conantest.Setting("os", fmt.Sprint("Linux", i)), conantest.File("a", "a"))
		for n := range 10 {
			pkg = pkg.With(fmt.Sprint("metadata/", n, long), "m")
		}
		sets = append(sets, pkg)
	}
	text := write(t, Since{}, sets...)
	b, err := NewReader(bytes.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Items()) != len(sets) {
		t.Errorf("%d revisions, want %d", len(b.Items()), len(sets))
	}
	if err := b.Complete(); err != nil {
		t.Error(err)
	}
}

// FuzzReader: whatever a bundle has, reading it ends, with an error of the bundle or none.
func FuzzReader(f *testing.F) {
	sets := zlib()
	text := write(f, Since{}, sets[0], sets[2])
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := read(text); err != nil && !errors.Is(err, conan.ErrInvalid) && !errors.Is(err, conan.ErrConflict) {
			t.Error(err)
		}
	})
}
