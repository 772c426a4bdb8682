package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/memory"
)

// storedRevision is what the cache has stored of a pinned revision, as memory keeps it.
type storedRevision struct {
	index.Held
	touched atomic.Int64 // Unix seconds when its use was last noted
}

// stored returns what the cache has stored of a pinned revision, nil if nothing.
func (c *Cache) stored(ctx context.Context, rev conan.Revision) (*storedRevision, error) {
	k := c.storedKey(rev)
	if stored, ok := memory.Get[*storedRevision](c.o.Memory, k); ok {
		return stored, nil
	}
	stamp := c.o.Index.Changes().Of(rev.Ref)
	row, err := c.o.Index.Held(ctx, c.o.Member, rev)
	if errors.Is(err, conan.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stored := &storedRevision{Held: row}
	c.o.Memory.Put(k, stored, 400*len(row.Files), stamp)
	return stored, nil
}

func (c *Cache) storedKey(rev conan.Revision) memory.Key {
	return memory.Key{Member: c.o.Name, Kind: "stored", Rev: rev}
}

// find looks for a file among what is stored; in a nil h there is none.
func (h *storedRevision) find(name string) (conan.FileInfo, bool) {
	if h == nil {
		return conan.FileInfo{}, false
	}
	return h.Files.Find(name)
}

// touch notes the use of a stored revision, at most once a minute.
func (c *Cache) touch(stored *storedRevision) {
	now := c.o.Now()
	last := stored.touched.Load()
	if now.Unix()-last < 60 || !stored.touched.CompareAndSwap(last, now.Unix()) {
		return
	}
	c.o.Budget.Touch(stored.RowID, now)
}

// suffices tells whether an install finds all it needs among the stored files. Sources may be
// missing: they are needed to build only.
func (c *Cache) suffices(ctx context.Context, stored *storedRevision) bool {
	o, err := c.storedOutline(ctx, stored)
	if err != nil || o == nil {
		return false
	}
	for _, name := range o.Missing(stored.Files, stored.IsPackage()) {
		if !strings.HasPrefix(name, conan.SourcesPrefix) {
			return false
		}
	}
	return true
}

// storedOutline sums up the manifest of a revision if that is stored, else it is nil.
func (c *Cache) storedOutline(ctx context.Context, stored *storedRevision) (*conan.Outline, error) {
	if stored == nil {
		return nil, nil
	}
	info, ok := stored.Files.Find(conan.ManifestFile)
	if !ok {
		return nil, nil
	}
	r, err := c.openBlob(ctx, info)
	if err != nil || r == nil {
		return nil, err
	}
	defer r.Close()
	k := c.o.Checks.Begin(ctx)
	defer k.End()
	m, err := k.ReadManifest(r, info.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", stored.Revision, err)
	}
	o := m.Outline()
	return &o, nil
}

// openStored opens a file that is stored, or returns nil. Its revision stays until it is closed.
func (c *Cache) openStored(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	endUse, err := c.o.Budget.Use(ctx, c.o.Member, rev)
	if err != nil {
		return nil, err
	}
	stored, err := c.stored(ctx, rev)
	info, ok := stored.find(name)
	if err != nil || !ok {
		endUse()
		return nil, err
	}
	f, err := c.openBytes(ctx, info, endUse)
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		c.o.Memory.Remove(c.storedKey(rev)) // its bytes are lost
		return nil, nil
	}
	c.touch(stored)
	return f, nil
}

// openBytes opens the bytes of a revision that the caller has in use, or returns nil if they are
// not there. That use goes over to the file, and ends with the call if there is none.
func (c *Cache) openBytes(ctx context.Context, info conan.FileInfo, endUse func()) (*conan.File, error) {
	r, err := c.openBlob(ctx, info)
	if err != nil || r == nil {
		endUse()
		return nil, err
	}
	f := index.OpenFile(info, r)
	f.OnClose = endUse
	return f, nil
}

// openBlob opens stored bytes. It returns nil if they are not there or cut short; then they are to
// be fetched again.
func (c *Cache) openBlob(ctx context.Context, info conan.FileInfo) (blob.Reader, error) {
	r, err := blob.OpenSized(ctx, c.o.Blobs, blob.Digest(info.SHA256), info.Size)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", info.Name, index.Unavailable(err))
	}
	return r, nil
}
