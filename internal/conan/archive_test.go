package conan

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// tarOf makes a tar of headers whose content is given in PAXRecords["content"].
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := h.PAXRecords["content"]
		h.PAXRecords, h.Size, h.Mode = nil, int64(len(content)), 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func regular(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, PAXRecords: map[string]string{"content": content}}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}

func hardlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

func folder(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name + "/"} }

func pack(t testing.TB, ending string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ending {
	case "tgz":
		w = gzip.NewWriter(&b)
	case "txz":
		w, err = xz.NewWriter(&b)
	case "tzst":
		w, err = zstd.NewWriter(&b)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// listOf lists an archive within bounds of its own.
func listOf(name string, r io.Reader) ([]Member, error) {
	c := NewChecks().Begin(context.Background())
	defer c.End()
	l, err := c.List(name, r)
	if err != nil {
		return nil, err
	}
	return slices.Collect(l.Members()), nil
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestList(t *testing.T) {
	long := strings.Repeat("d/", 60) + strings.Repeat("n", 200)
	content := tarOf(t,
		folder("lib"),
		regular("./lib/a b", "hello"),
		symlink("link", "/abs/olute"),
		hardlink("again", "lib/a b"),
		hardlink("third", "again"),
		regular("Foo::Bar.3", ""),
		regular("ä\\b", strings.Repeat("x", 1<<18)),
		regular(long, "y"),
		tar.Header{Typeflag: tar.TypeDir, Name: "./"},
	)
	hello, none := md5Hex("hello"), md5Hex("")
	want := []Member{
		{Path: "lib", Type: DirMember, Mode: 0o644},
		{Path: "lib/a b", Type: RegularMember, Mode: 0o644, MD5: hello},
		{Path: "link", Type: SymlinkMember, Target: "/abs/olute"},
		{Path: "again", Type: HardlinkMember, Mode: 0o644, MD5: hello, Target: "lib/a b"},
		{Path: "third", Type: HardlinkMember, Mode: 0o644, MD5: hello, Target: "again"},
		{Path: "Foo::Bar.3", Type: RegularMember, Mode: 0o644, MD5: none},
		{Path: `ä\b`, Type: RegularMember, Mode: 0o644, MD5: md5Hex(strings.Repeat("x", 1<<18))},
		{Path: long, Type: RegularMember, Mode: 0o644, MD5: md5Hex("y")},
	}
	for _, ending := range []string{"tgz", "txz", "tzst"} {
		packed := pack(t, ending, content)
		for how, r := range map[string]io.Reader{
			"whole":     bytes.NewReader(packed),
			"byte-wise": iotest.OneByteReader(bytes.NewReader(packed)),
			"data+EOF":  iotest.DataErrReader(bytes.NewReader(packed)),
		} {
			got, err := listOf("conan_package."+ending, r)
			if err != nil {
				t.Errorf("%s, %s: %v", ending, how, err)
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s: (-want +got)\n%s", ending, how, diff)
			}
		}
	}
}

func TestListEmpty(t *testing.T) {
	for _, ending := range []string{"tgz", "txz", "tzst"} {
		members, err := listOf("conan_sources."+ending, bytes.NewReader(pack(t, ending, make([]byte, 10240))))
		if err != nil || len(members) != 0 {
			t.Errorf("%s: got %v, %v", ending, members, err)
		}
	}
}

func TestListRefuses(t *testing.T) {
	plain := tarOf(t, regular("a", "hello"), regular("b", strings.Repeat("x", 5000)))
	of := func(headers ...tar.Header) []byte { return pack(t, "tgz", tarOf(t, headers...)) }
	tests := []struct {
		name    string
		archive string
		bytes   []byte
		word    string // in the error
	}{
		{"empty file", "conan_package.tgz", nil, "too early"},
		{"one byte", "conan_package.tgz", []byte{0x1f}, "too early"},
		{"HTML page", "conan_package.tgz", []byte("<html>sign in</html>"), "neither"},
		{"plain tar", "conan_package.tgz", plain, "neither"},
		{"gzip named txz", "conan_package.txz", pack(t, "tgz", plain), "name says otherwise"},
		{"xz named tgz", "conan_package.tgz", pack(t, "txz", plain), "name says otherwise"},
		{"zstd named tgz", "conan_package.tgz", pack(t, "tzst", plain), "name says otherwise"},
		{"no archive's name", "conanfile.py", pack(t, "tgz", plain), "name says otherwise"},
		{"no tar inside", "conan_package.tgz", pack(t, "tgz", []byte(strings.Repeat("no tar ", 200))), "tar"},
		{"half a tar", "conan_package.tgz", pack(t, "tgz", plain[:1600]), "too early"},
		{"hidden behind the end", "conan_package.tgz", pack(t, "tgz", append(append([]byte{}, plain...), "hidden"...)), "follows"},
		{"second tar behind the end", "conan_package.tgz", append(pack(t, "tgz", plain), pack(t, "tgz", plain)...), "follows"},
		{"absolute", "conan_package.tgz", of(regular("/etc/passwd", "x")), "leaves"},
		{"parent", "conan_package.tgz", of(regular("../x", "x")), "leaves"},
		{"parent inside", "conan_package.tgz", of(regular("a/../b", "x")), "leaves"},
		{"parent of a folder", "conan_package.tgz", of(folder("a/..")), "leaves"},
		{"parent on Windows", "conan_package.tgz", of(regular(`a\..\..\b`, "x")), "leaves"},
		{"root on Windows", "conan_package.tgz", of(regular(`\b`, "x")), "leaves"},
		{"drive on Windows", "conan_package.tgz", of(regular(`c:\b`, "x")), "leaves"},
		{"too deep", "conan_package.tgz", of(regular(strings.Repeat("a/", 256)+"b", "x")), "deeper"},
		{"name too long", "conan_package.tgz", of(regular(strings.Repeat("a", 4097), "x")), "longer"},
		{"target too long", "conan_package.tgz", of(symlink("a", strings.Repeat("a", 4097))), "longer"},
		{"below a symlink", "conan_package.tgz", of(symlink("a", "/etc"), regular("a/passwd", "x")), "below a symlink"},
		{"deep below a symlink", "conan_package.tgz", of(symlink("a/b", "/etc"), regular("a/c", ""), regular("a/b/c/passwd", "x")), "below a symlink"},
		{"folder that becomes a symlink", "conan_package.tgz", of(symlink("z", "y"), regular("a/b", "x"), symlink("a", "/etc"), regular("a/b", "x")), "below a symlink"},
		{"hard link to nothing", "conan_package.tgz", of(hardlink("a", "b")), "names no file"},
		{"hard link to what comes later", "conan_package.tgz", of(hardlink("a", "b"), regular("b", "")), "names no file"},
		{"hard link to a symlink", "conan_package.tgz", of(symlink("b", "c"), hardlink("a", "b")), "names no file"},
		{"hard link outside", "conan_package.tgz", of(regular("b", ""), hardlink("a", "../b")), "leaves"},
		{"fifo", "conan_package.tgz", of(tar.Header{Typeflag: tar.TypeFifo, Name: "a"}), "special"},
		{"device", "conan_package.tgz", of(tar.Header{Typeflag: tar.TypeChar, Name: "a"}), "special"},
	}
	for _, ending := range []string{"tgz", "txz", "tzst"} {
		packed := pack(t, ending, plain)
		name := "conan_package." + ending
		tests = append(tests, []struct {
			name    string
			archive string
			bytes   []byte
			word    string
		}{
			{"cut " + ending, name, packed[:len(packed)/2], "too early"},
			{"cut by a byte " + ending, name, packed[:len(packed)-1], "too early"},
			{"garbage behind " + ending, name, append(append([]byte{}, packed...), "garbage behind the end"...), "archive"},
		}...)
	}
	for _, tt := range tests {
		members, err := listOf(tt.archive, bytes.NewReader(tt.bytes))
		if !errors.Is(err, ErrInvalid) || members != nil {
			t.Errorf("%s: got %v, %v; want ErrInvalid", tt.name, members, err)
		} else if !strings.Contains(err.Error(), tt.word) || strings.Contains(err.Error(), "EOF") || len(err.Error()) > 300 {
			t.Errorf("%s: the error %q has no %q", tt.name, err, tt.word)
		}
	}
}

// TestListFlipped flips every byte of small archives: nothing panics, and no list is
// made in which a file differs silently but for the header fields that Conan does not sum.
func TestListFlipped(t *testing.T) {
	plain := tarOf(t, regular("a", "hello"), symlink("b", "a"))
	for _, ending := range []string{"tgz", "txz", "tzst"} {
		packed := pack(t, ending, plain)
		for i := range packed {
			bad := bytes.Clone(packed)
			bad[i] ^= 0x40
			_, err := listOf("conan_package."+ending, bytes.NewReader(bad))
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, byte %d: %v is not ErrInvalid", ending, i, err)
			}
		}
	}
}

func TestListReadFailure(t *testing.T) {
	packed := pack(t, "tgz", tarOf(t, regular("a", strings.Repeat("x", 1<<16))))
	failure := errors.New("disk on fire")
	_, err := listOf("conan_package.tgz", io.MultiReader(bytes.NewReader(packed[:len(packed)/2]), iotest.ErrReader(failure)))
	if !errors.Is(err, failure) || errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want the failure of the reader", err)
	}
}

// streamed runs write in a goroutine and gives what it writes as a reader.
func streamed(write func(w io.Writer) error) io.Reader {
	r, w := io.Pipe()
	go func() { w.CloseWithError(write(w)) }()
	return r
}

// TestListImageOfZeros: an image of zeros shrinks a thousandfold and is a legitimate file.
func TestListImageOfZeros(t *testing.T) {
	const size = 64 << 20
	content := tarOf(t, regular("disk.img", strings.Repeat("\x00", size)))
	for _, ending := range []string{"tgz", "txz", "tzst"} {
		if _, err := listOf("conan_package."+ending, bytes.NewReader(pack(t, ending, content))); err != nil {
			t.Errorf("%s: %v", ending, err)
		}
	}
}

func TestWorkGuard(t *testing.T) {
	tests := []struct {
		name             string
		unpacked, packed int64
		large            bool
		refused          bool
	}{
		{"below the size of small ones", smallUnpacked - 4, 1, false, false},
		{"an image of zeros", 5 << 30, 19 << 20, true, false},
		{"a large image of zeros, packed by gzip", 200 << 30, 200 << 20, true, false},
		{"a large package in proportion", 60 << 30, 5 << 30, false, false},
		{"a bomb", maxUnpacked, 8 << 20, true, true},
	}
	for _, tt := range tests {
		c := NewChecks().Begin(t.Context())
		g := &workGuard{check: c, r: strings.NewReader("more"), packed: &packedReader{count: tt.packed}, count: tt.unpacked}
		_, err := io.Copy(io.Discard, g)
		if (err != nil) != tt.refused || !tt.refused && c.large != tt.large {
			t.Errorf("%s: large %v, %v", tt.name, c.large, err)
		}
		c.End()
	}
}

func TestListManyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("lists 200,000 files")
	}
	const files = 200_000
	archive := streamed(func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		tw := tar.NewWriter(z)
		for i := range files {
			h := tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("include/boost/mpl/aux_/preprocessed/%d/file_%d.hpp", i%100, i), Size: 1}
			if err := tw.WriteHeader(&h); err != nil {
				return err
			}
			if _, err := tw.Write([]byte{byte(i)}); err != nil {
				return err
			}
		}
		if err := tw.Close(); err != nil {
			return err
		}
		return z.Close()
	})
	members, err := listOf("conan_package.tgz", archive)
	if err != nil || len(members) != files {
		t.Errorf("got %d members, %v; want %d", len(members), err, files)
	}
}

// TestListXZDictionary checks that a file cannot make us take memory: the header of
// its block asks for a dictionary of 4 GiB.
func TestListXZDictionary(t *testing.T) {
	header := []byte{2, 0, 0x21, 1, 40, 0, 0, 0}
	if _, err := parseXZBlockHeader(withCRC(header)); err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("4 GiB: got %v", err)
	}
	header[4] = 30 // 128 MiB
	if size, err := parseXZBlockHeader(withCRC(header)); err != nil || size != 128<<20 {
		t.Errorf("128 MiB: got %d, %v", size, err)
	}
}

func FuzzList(f *testing.F) {
	plain := tarOf(f, regular("a", "hello"), symlink("b", "a"), hardlink("c", "a"), folder("d"))
	for _, ending := range []string{"tgz", "txz", "tzst"} {
		f.Add("conan_package."+ending, pack(f, ending, plain), false)
	}
	f.Add("", plain, true)
	for _, name := range []string{"conan1/recipe/conan_export.tgz", "conan2/package/conan_package.tgz"} {
		f.Add("conan_package.tgz", readTestdata(f, name), false)
	}
	f.Fuzz(func(t *testing.T, name string, b []byte, bare bool) {
		if bare { // a tar that is packed here, so that the fuzzer gets behind the check sums
			name, b = "conan_package.tgz", pack(t, "tgz", b)
		}
		members, err := listOf(name, bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("not ErrInvalid: %v", err)
			}
			return
		}
		for _, m := range members {
			if m.Path == "" || m.Path[0] == '/' || strings.Contains("/"+m.Path+"/", "/../") || filepath.ToSlash(filepath.Clean(m.Path)) != m.Path {
				t.Fatalf("path %q", m.Path)
			}
			if (m.Type == RegularMember || m.Type == HardlinkMember) != IsMD5(m.MD5) {
				t.Fatalf("member %+v", m)
			}
		}
	})
}

// BenchmarkList is the check that every archive goes through, by the bytes that a client sends.
func BenchmarkList(b *testing.B) {
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "int value_%d = %d;\n", i, i*i)
	}
	var members []tar.Header
	for i := range 20 {
		members = append(members, regular(fmt.Sprintf("include/%d.h", i), text.String()))
	}
	unpacked := tarOf(b, members...)
	for _, ending := range []string{"tgz", "txz", "tzst"} {
		b.Run(ending, func(b *testing.B) {
			packed := pack(b, ending, unpacked)
			b.SetBytes(int64(len(packed)))
			b.ReportAllocs()
			for b.Loop() {
				list, err := listOf("conan_package."+ending, bytes.NewReader(packed))
				if err != nil || len(list) != len(members) {
					b.Fatalf("%d members, %v", len(list), err)
				}
			}
		})
	}
}
