package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/memory"
)

// heldRevision is what the cache has stored of a pinned revision, as memory keeps it.
type heldRevision struct {
	index.Held
	touched atomic.Int64 // Unix seconds when its use was last noted
}

// held returns what the cache has stored of a pinned revision, nil if nothing.
func (c *Cache) held(ctx context.Context, rev conan.Revision) (*heldRevision, error) {
	k := c.heldKey(rev)
	if held, ok := memory.Get[*heldRevision](c.o.Memory, k); ok {
		return held, nil
	}
	stamp := c.o.Index.Changes().Of(rev.Ref)
	row, err := c.o.Index.Held(ctx, c.o.Member, rev)
	if errors.Is(err, conan.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	held := &heldRevision{Held: row}
	c.o.Memory.Put(k, held, 400*len(row.Files), stamp)
	return held, nil
}

func (c *Cache) heldKey(rev conan.Revision) memory.Key {
	return memory.Key{Member: c.o.Name, Kind: "stored", Rev: rev}
}

// find looks for a file among what is held; a nil h holds nothing.
func (h *heldRevision) find(name string) (conan.FileInfo, bool) {
	if h == nil {
		return conan.FileInfo{}, false
	}
	return h.Files.Find(name)
}

// touch notes the use of a held revision, at most once a minute.
func (c *Cache) touch(held *heldRevision) {
	now := c.o.Now()
	last := held.touched.Load()
	if now.Unix()-last < 60 || !held.touched.CompareAndSwap(last, now.Unix()) {
		return
	}
	c.o.Budget.Touch(held.RowID, now)
}

// suffices tells whether an install finds all it needs among the held files. Sources may be missing: they are
// needed to build only.
func (c *Cache) suffices(ctx context.Context, held *heldRevision) bool {
	m, err := c.heldManifest(ctx, held)
	if err != nil || m == nil {
		return false
	}
	for _, name := range m.Missing(held.Files, held.IsPackage()) {
		if !strings.HasPrefix(name, conan.SourcesPrefix) {
			return false
		}
	}
	return true
}

// heldManifest returns the manifest of a revision if the cache holds it, else nil.
func (c *Cache) heldManifest(ctx context.Context, held *heldRevision) (*conan.Manifest, error) {
	if held == nil {
		return nil, nil
	}
	info, ok := held.Files.Find(conan.ManifestFile)
	if !ok {
		return nil, nil
	}
	r, err := c.openBlob(ctx, info)
	if err != nil || r == nil {
		return nil, err
	}
	defer r.Close()
	return readManifest(r, held.Revision)
}

func readManifest(r io.Reader, rev conan.Revision) (*conan.Manifest, error) {
	text, err := io.ReadAll(io.LimitReader(r, conan.MaxManifestSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s: %w", rev, err)
	}
	if len(text) > conan.MaxManifestSize {
		return nil, fmt.Errorf("%w: the manifest of %s is longer than %d bytes", conan.ErrInvalid, rev, conan.MaxManifestSize)
	}
	return conan.ParseManifest(text)
}

// openBlob opens held bytes. It returns nil if they are not there or cut short; then they are to be fetched again.
func (c *Cache) openBlob(ctx context.Context, info conan.FileInfo) (blob.Reader, error) {
	r, err := blob.OpenSized(ctx, c.o.Blobs, blob.Digest(info.SHA256), info.Size)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", info.Name, err)
	}
	return r, nil
}

// openStored opens the bytes of a revision that the caller has in use, or returns nil if they are not there. That use
// goes over to the file, and ends with the call if there is none.
func (c *Cache) openStored(ctx context.Context, info conan.FileInfo, endUse func()) (*conan.File, error) {
	r, err := c.openBlob(ctx, info)
	if err != nil || r == nil {
		endUse()
		return nil, err
	}
	return &conan.File{FileInfo: info, ReadCloser: r, OnClose: endUse}, nil
}
