package bundle

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"

	"conanproxy/internal/conan"
	"conanproxy/internal/transfer"
)

// Reader reads a bundle from its beginning to its end. It is a transfer.From: files are opened in
// the order in which the bundle has them, each digest once; what lies between is read and checked
// too. One goroutine uses it.
type Reader struct {
	Index string // sha256 of index.json in hex: the name of the bundle
	Since string // the name of the earlier bundle that has what is left out; empty: nothing is
	Bytes int64  // of the files that it has

	// Verified means that it is signed by one of the given keys. Signed tells that it has a
	// signature at all.
	Verified, Signed bool

	items []transfer.Item
	lists map[conan.Revision][]conan.RevisionTime // newest first, by the node without its own id
	files map[conan.Revision]conan.Snapshot
	left  map[string]bool // digests that are left out

	in     *counter
	tar    *tar.Reader
	blobs  []blob         // the files in their order
	places map[string]int // of blobs, by digest
	next   int            // of blobs, that follows the open one
	open   *blobReader    // nil: none
}

// blob is a file that the tar has.
type blob struct {
	digest string // hex
	size   int64
}

// NewReader reads the beginning of a bundle up to its first file and checks it. With keys a bundle
// that none of them signed is refused. What is wrong with a bundle is conan.ErrInvalid.
func NewReader(r io.Reader, keys []Key) (*Reader, error) {
	const buffer = 16 << 10
	in := &counter{r: bufio.NewReaderSize(r, buffer)}
	b := &Reader{
		in: in, tar: tar.NewReader(in), lists: make(map[conan.Revision][]conan.RevisionTime),
		files: make(map[conan.Revision]conan.Snapshot), left: make(map[string]bool), places: make(map[string]int),
	}
	x, err := b.readIndex(keys)
	if err != nil {
		return nil, err
	}
	text, err := readEntry(b.tar, layoutName, int64(len(layoutText)))
	if err != nil {
		return nil, err
	}
	if string(text) != layoutText {
		return nil, damaged("%s is not that of version 1.0.0", layoutName)
	}
	if err := b.readManifests(x); err != nil {
		return nil, err
	}
	return b, nil
}

// readIndex reads the signature, if there is one, and the index.
func (b *Reader) readIndex(keys []Key) (x index, err error) {
	var signature []byte
	head, err := b.tar.Next()
	if err == nil && head.Name == signatureName {
		b.Signed = true
		if signature, err = contentOf(b.tar, head, signatureName, maxSignature); err != nil {
			return x, err
		}
		head, err = b.tar.Next()
	}
	if err != nil {
		return x, damaged("%v", err)
	}
	text, err := contentOf(b.tar, head, indexName, maxIndex)
	if err != nil {
		return x, err
	}
	switch {
	case len(keys) > 0 && !b.Signed:
		return x, fmt.Errorf("%w: the bundle is not signed, and only bundles that are signed by a known key are taken", conan.ErrInvalid)
	case len(keys) > 0:
		if err := verify(text, signature, keys); err != nil {
			return x, damaged("%w", err)
		}
		b.Verified = true
	}
	b.Index = digestOf(text)
	if err := decode(text, &x); err != nil {
		return x, damaged("%s: %w", indexName, err)
	}
	return x, b.checkIndex(x)
}

func (b *Reader) checkIndex(x index) error {
	if x.SchemaVersion != 2 || x.MediaType != indexType || x.ArtifactType != bundleType || len(x.Manifests) == 0 {
		return damaged("%s is not that of a bundle of version 1", indexName)
	}
	check, err := x.check()
	if err != nil || check != x.Annotations[checkKey] {
		return damaged("%s was changed", indexName)
	}
	size := x.Annotations[bytesKey]
	if b.Bytes, err = strconv.ParseInt(size, 10, 64); err != nil || size != strconv.FormatInt(b.Bytes, 10) {
		return damaged("%s says no number of bytes", indexName)
	}
	known := 2 // the check and the number of bytes
	if b.Since = x.Annotations[sinceKey]; b.Since != "" {
		known++
		if _, err := hexOf(digestPrefix + b.Since); err != nil {
			return damaged("%s names an earlier bundle by something that is not a sha256", indexName)
		}
	}
	if len(x.Annotations) != known {
		return damaged("%s has annotations that no bundle has", indexName)
	}
	return nil
}

// Items are the revisions in the order of the bundle, each recipe before its packages.
func (b *Reader) Items() []transfer.Item { return b.items }

// Blobs is what a later bundle needs to know to leave out the files of this one.
func (b *Reader) Blobs() Since {
	since := Since{Index: b.Index}
	for _, blob := range b.blobs {
		since.Blobs = append(since.Blobs, blob.digest)
	}
	for digest := range b.left {
		since.Blobs = append(since.Blobs, digest)
	}
	return since
}

// Revisions implements transfer.From.
func (b *Reader) Revisions(_ context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	list := b.lists[rev.With("")]
	if len(list) == 0 {
		return conan.Answer[[]conan.RevisionTime]{}, fmt.Errorf("%s in the bundle: %w", rev, conan.ErrNotFound)
	}
	return conan.Answer[[]conan.RevisionTime]{Value: list}, nil
}

// Snapshot implements transfer.From.
func (b *Reader) Snapshot(_ context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	files, ok := b.files[rev]
	if !ok {
		return conan.Answer[conan.Snapshot]{}, fmt.Errorf("%s in the bundle: %w", rev, conan.ErrNotFound)
	}
	return conan.Answer[conan.Snapshot]{Value: files}, nil
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
