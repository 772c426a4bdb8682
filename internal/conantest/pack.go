package conantest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// entry is a member of an archive: a file, or a symlink if it has a target.
type entry struct {
	path    string
	content []byte
	target  string
}

// packArchive makes the same bytes of the same entries. Conan 1 writes GNU tars, Conan 2 PAX ones.
func packArchive(ending string, conan1 bool, entries []entry) []byte {
	var tarred bytes.Buffer
	w := tar.NewWriter(&tarred)
	entries = slices.SortedFunc(slices.Values(entries), func(a, b entry) int { return strings.Compare(a.path, b.path) })
	for _, e := range entries {
		h := tar.Header{Typeflag: tar.TypeReg, Name: e.path, Size: int64(len(e.content)), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if e.target != "" {
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.target, 0o777
		}
		if conan1 {
			h.Format = tar.FormatGNU
		}
		must(w.WriteHeader(&h))
		_, err := w.Write(e.content)
		must(err)
	}
	must(w.Close())

	var packed bytes.Buffer
	c, err := compressor(ending, &packed)
	must(err)
	_, err = c.Write(tarred.Bytes())
	must(err)
	must(c.Close())
	return packed.Bytes()
}

func compressor(ending string, w io.Writer) (io.WriteCloser, error) {
	switch ending {
	case "tgz":
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case "txz":
		return xz.NewWriter(w)
	case "tzst":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	}
	panic("conantest: compression " + ending + " is none of tgz, txz, tzst")
}

// manifestSum is the md5 in an entry's line, or "" if it has none: symlinks to folders.
func manifestSum(e entry, all []entry, conan1 bool) string {
	for seen := 0; e.target != ""; seen++ {
		to := path.Join(path.Dir(e.path), e.target)
		below := func(other entry) bool { return strings.HasPrefix(other.path, to+"/") }
		if slices.ContainsFunc(all, below) {
			return ""
		}
		i := slices.IndexFunc(all, func(other entry) bool { return other.path == to })
		if !conan1 || i < 0 || seen == len(all) {
			return md5Of([]byte(e.target))
		}
		e = all[i]
	}
	return md5Of(e.content)
}

// noise is content that does not shrink and depends on name and size only.
func noise(name string, size int) []byte {
	b := make([]byte, size)
	_, err := rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b)
	must(err)
	return b
}

func must(err error) {
	if err != nil {
		panic("conantest: " + err.Error())
	}
}
