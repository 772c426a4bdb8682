package bundle

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"conanproxy/internal/conan"
)

// Open implements transfer.From. The bytes are checked while they are read: wrong ones end in an
// error.
func (b *Reader) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	var answer conan.Answer[*conan.File]
	info, ok := b.files[rev].Find(name)
	if !ok {
		return answer, fmt.Errorf("%s of %s in the bundle: %w", name, rev, conan.ErrNotFound)
	}
	if b.left[info.SHA256] {
		return answer, fmt.Errorf("%w: the bytes of %s of %s are not here and not in this bundle; apply the bundle %s first",
			conan.ErrConflict, name, rev, b.Since)
	}
	place := b.places[info.SHA256]
	if place < b.next {
		return answer, fmt.Errorf("%w: the bundle is past the bytes of %s of %s, which were removed here meanwhile; try again", conan.ErrConflict, name, rev)
	}
	if err := b.skipTo(place); err != nil {
		return answer, err
	}
	if err := b.openNext(); err != nil {
		return answer, err
	}
	answer.Value = &conan.File{FileInfo: info, ReadCloser: b.open, Wait: func(context.Context) (*conan.File, error) {
		return nil, errors.New("a file of a bundle can only be read")
	}}
	return answer, nil
}

// Complete reads and checks what is left of the bundle, to the end of the tar.
func (b *Reader) Complete() error {
	if err := b.skipTo(len(b.blobs)); err != nil {
		return err
	}
	const block, trailer, padding = 512, 2 * 512, 1 << 20
	end := (b.in.n + block - 1) / block * block
	if _, err := b.tar.Next(); err == nil {
		return damaged("something follows its last file")
	} else if !errors.Is(err, io.EOF) {
		return damaged("%w", err)
	}
	if b.in.n < end+trailer {
		return damaged("the end of the tar is missing")
	}
	rest, err := io.ReadAll(io.LimitReader(b.in, padding+1))
	if err != nil {
		return damaged("%w", err)
	}
	for _, c := range rest {
		if c != 0 || len(rest) > padding {
			return damaged("something follows the end of the tar")
		}
	}
	return nil
}

// skipTo reads and checks the files before a place.
func (b *Reader) skipTo(place int) error {
	for {
		if b.open != nil {
			if _, err := io.Copy(io.Discard, b.open); err != nil {
				return err
			}
			b.open = nil
		}
		if b.next == place {
			return nil
		}
		if err := b.openNext(); err != nil {
			return err
		}
	}
}

func (b *Reader) openNext() error {
	next := b.blobs[b.next]
	head, err := b.tar.Next()
	if err != nil {
		return damaged("%w", err)
	}
	if err := checkHeader(head, blobFolder+next.digest); err != nil {
		return err
	}
	if head.Size != next.size {
		return damaged("%s does not have the length that its manifest says", head.Name)
	}
	b.next++
	b.open = &blobReader{blob: next, r: b.tar, sum: sha256.New()}
	return nil
}

// blobReader reads a file to its end and checks its digest there.
type blobReader struct {
	blob
	r   io.Reader
	sum hash.Hash
	err error // of the end
}

// Read implements io.Reader.
func (r *blobReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.r.Read(p)
	r.sum.Write(p[:n])
	switch {
	case err == io.EOF && hex.EncodeToString(r.sum.Sum(nil)) != r.digest:
		r.err = damaged("the bytes of %s were changed", r.digest)
	case err != nil && err != io.EOF:
		r.err = damaged("%w", err)
	default:
		r.err = err
	}
	return n, r.err
}

// Close implements io.Closer. What was not read is read before the next file.
func (r *blobReader) Close() error { return nil }

// readEntry reads the next entry, which must have that name and at most so many bytes.
func readEntry(in *tar.Reader, name string, most int64) ([]byte, error) {
	head, err := in.Next()
	if err != nil {
		return nil, damaged("%s is missing: %w", name, err)
	}
	return contentOf(in, head, name, most)
}

func contentOf(in *tar.Reader, head *tar.Header, name string, most int64) ([]byte, error) {
	if err := checkHeader(head, name); err != nil {
		return nil, err
	}
	if head.Size > most {
		return nil, damaged("%s is larger than %d bytes", name, most)
	}
	text := make([]byte, head.Size)
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, damaged("%s: %w", name, err)
	}
	return text, nil
}

// checkHeader refuses everything but a plain file of a name.
func checkHeader(head *tar.Header, name string) error {
	if head.Typeflag != tar.TypeReg || head.Name != name || head.Linkname != "" {
		return damaged("it has %.100q where %s should be", head.Name, name)
	}
	for key := range head.PAXRecords {
		if key != "size" { // which only large files need
			return damaged("the header of %s has more than a name and a size", name)
		}
	}
	return nil
}
