package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// Open implements conan.Source. A file that is stored costs no question; another one is listed,
// downloaded and verified, and large ones are handed out while they arrive. A file that upstream
// lists but does not have is not found.
func (c *Cache) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	f, origin, err := c.open(ctx, rev, name)
	return answer(c, f, origin, err)
}

func (c *Cache) open(ctx context.Context, rev conan.Revision, name string) (*conan.File, conan.Origin, error) {
	if !mayChange(rev, name) {
		// In this order, since a fill ends after its file is stored: the file is found in one of
		// them.
		if f := c.underWay(rev, name); f != nil {
			file, err := f.open(ctx)
			if !errors.Is(err, errNoSpace) && !errors.Is(err, errEvicted) {
				return c.fetched(rev, name, file, c.immutable(conan.StateMiss), err)
			}
		}
		f, err := c.openStored(ctx, rev, name)
		if err != nil || f != nil {
			return f, c.immutable(conan.StateHit), err
		}
	}
	list, origin, err := c.listed(ctx, rev)
	if err != nil {
		return nil, origin, err
	}
	listed, ok := list.Find(name)
	if !ok {
		return nil, origin, fmt.Errorf("%s of %s in %s: %w", name, rev, c.o.Name, conan.ErrNotFound)
	}
	var f *conan.File
	if mayChange(rev, name) {
		f, origin, err = c.openMutable(ctx, rev, listed, origin)
	} else {
		f, err = c.fetch(ctx, rev, listed)
		origin = c.immutable(conan.StateMiss)
	}
	return c.fetched(rev, name, f, origin, err)
}

// fetched is the result of a download. "Not found" has the origin of what upstream said.
func (c *Cache) fetched(rev conan.Revision, name string, f *conan.File, origin conan.Origin, err error) (*conan.File, conan.Origin, error) {
	if !errors.Is(err, conan.ErrNotFound) {
		return f, origin, err
	}
	if r, ok := c.refusals.Get(fileID(rev, name)); ok {
		return nil, c.absence(r.said, false), err
	}
	return nil, c.absence(c.o.Now(), true), err
}

// mayChange tells whether a file's bytes may become others under the same name.
func mayChange(rev conan.Revision, name string) bool {
	return rev.Mutable() || conan.IsMetadata(name)
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

// openMutable opens a file whose bytes may have changed. Those of a mutable revision are current as
// long as its list is; a file below metadata/ has a time of its own.
func (c *Cache) openMutable(ctx context.Context, rev conan.Revision, want conan.FileInfo, listed conan.Origin) (*conan.File, conan.Origin, error) {
	origin, current := listed, true
	fetched := c.o.Now().Add(-listed.Age)
	if conan.IsMetadata(want.Name) {
		fetched, current = c.bytesFetched(ctx, rev, want.Name)
		origin = c.fresh(fetched, false)
	}
	stored, err := c.openStored(ctx, rev, want.Name)
	if err != nil || stored != nil && current {
		return stored, origin, err
	}
	got, err := c.fetch(ctx, rev, want)
	if err == nil {
		if stored != nil {
			stored.Close()
		}
		return got, c.fresh(c.o.Now(), true), nil
	}
	if stored != nil && errors.Is(err, conan.ErrUnavailable) && c.isUsable(fetched) {
		return stored, c.stale(fetched, reason(err)), nil
	}
	if stored != nil {
		stored.Close()
	}
	return nil, conan.Origin{}, err
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

// Store has a file fetched unless it is stored. When it returns nil the file is durable here.
func (c *Cache) Store(ctx context.Context, rev conan.Revision, name string) error {
	ok, err := c.storeFile(ctx, rev, name)
	if err == nil && !ok {
		err = c.unavailable("its answer could not be stored here")
	}
	return err
}

// storeFile is Store; it is false for a file that upstream gives and that there is no space for.
func (c *Cache) storeFile(ctx context.Context, rev conan.Revision, name string) (ok bool, err error) {
	file, _, err := c.open(ctx, rev, name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	c.mu.Lock()
	f := c.fills[fillKey{rev, name}]
	c.mu.Unlock()
	if f != nil {
		if err := f.done(ctx); err != nil && !errors.Is(err, errNoSpace) {
			return false, err
		}
	}
	stored, err := c.openStored(ctx, rev, name)
	if err != nil || stored == nil {
		return false, err
	}
	return true, stored.Close()
}

// fetch downloads a file that is listed but not stored, unless it is known that upstream does not
// give it.
func (c *Cache) fetch(ctx context.Context, rev conan.Revision, listed conan.FileInfo) (*conan.File, error) {
	if c.o.Mode == Offline {
		return nil, c.offline()
	}
	if r, ok := c.refusedFile(rev, listed); ok {
		return nil, r.err
	}
	const tries = 3
	for range tries {
		f, err := c.join(rev, listed)
		if err != nil {
			return nil, err
		}
		file, err := f.open(ctx)
		switch {
		case errors.Is(err, errNoSpace):
			return c.pass(ctx, rev, listed)
		case errors.Is(err, errEvicted):
			continue
		}
		return file, err
	}
	return nil, c.unavailable("the cache is too small to keep what it fetched")
}
