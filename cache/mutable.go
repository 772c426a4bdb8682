package cache

import (
	"context"
	"errors"
	"time"

	"conanproxy/internal/conan"
)

// mayChange tells whether a file's bytes may become others under the same name.
func mayChange(rev conan.Revision, name string) bool {
	return rev.Mutable() || conan.IsMetadata(name)
}

// openMutable opens a file whose bytes may have changed: as it is stored while that is current,
// else as upstream has it now, and if upstream fails, as it is stored.
func (c *Cache) openMutable(ctx context.Context, rev conan.Revision, name string) (*conan.File, conan.Origin, error) {
	listed, origin, err := c.listedFile(ctx, rev, name)
	if err != nil {
		return nil, origin, err
	}
	// The bytes of a mutable revision are current as long as its list is; a file below metadata/
	// has a time of its own.
	fetched, current := c.o.Now().Add(-origin.Age), true
	if conan.IsMetadata(name) {
		fetched, current = c.bytesFetched(ctx, rev, name)
		origin = c.fresh(fetched, false)
	}
	stored, err := c.openStored(ctx, rev, name)
	if err != nil || stored != nil && current {
		return stored, origin, err
	}
	got, origin, err := c.fetch(ctx, rev, listed)
	if stored != nil && errors.Is(err, conan.ErrUnavailable) && c.isUsable(fetched) {
		return stored, c.stale(fetched, reason(err)), nil
	}
	if stored != nil {
		stored.Close()
	}
	if err == nil {
		origin = c.fresh(c.o.Now(), true)
	}
	return got, origin, err
}

// bytesFetched tells when a stored file that may change was last fetched, and whether that is still
// fresh.
func (c *Cache) bytesFetched(ctx context.Context, rev conan.Revision, name string) (fetched time.Time, fresh bool) {
	doc, err := load(ctx, c, bytesQuestion(rev, name))
	if err != nil || doc == nil {
		return time.Time{}, false
	}
	return doc.Fetched, c.isFresh(doc.Fetched)
}

// bytesQuestion names the document that remembers which bytes a file below metadata/ had, by
// sha256.
func bytesQuestion(rev conan.Revision, name string) question[string] {
	return question[string]{kind: kindBytes, key: rev.String() + "/" + name, about: rev}
}
