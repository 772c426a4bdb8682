package cache

import (
	"context"
	"errors"
	"fmt"

	"conanproxy/internal/conan"
)

// Open implements conan.Source. A file that is stored costs no question; another one is listed,
// downloaded and verified, and large ones are handed out while they arrive. A file that upstream
// lists but does not have is not found.
func (c *Cache) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	f, origin, err := c.open(ctx, rev, name)
	return answer(c, f, origin, err)
}

// open takes up to three steps, and the first that gives the file ends it: what is here, what
// upstream lists, what it sends.
func (c *Cache) open(ctx context.Context, rev conan.Revision, name string) (*conan.File, conan.Origin, error) {
	if mayChange(rev, name) {
		return c.openMutable(ctx, rev, name)
	}
	f, origin, err := c.openHere(ctx, rev, name)
	if f != nil || err != nil {
		return f, origin, err
	}
	listed, origin, err := c.listedFile(ctx, rev, name)
	if err != nil {
		return nil, origin, err
	}
	return c.fetch(ctx, rev, listed)
}

// openHere opens a file that is being downloaded or is stored, or returns nil. It looks in this
// order since a fill ends after its file is stored: the file is found in one of the two.
func (c *Cache) openHere(ctx context.Context, rev conan.Revision, name string) (*conan.File, conan.Origin, error) {
	if fill := c.attachRunning(rev, name); fill != nil {
		f, err := fill.open(ctx)
		if !errors.Is(err, errNoSpace) && !errors.Is(err, errEvicted) {
			return f, c.downloadOrigin(err), err
		}
	}
	f, err := c.openStored(ctx, rev, name)
	return f, c.immutable(conan.StateHit), err
}

// listedFile finds a file in the list of its revision. The origin is that of the list.
func (c *Cache) listedFile(ctx context.Context, rev conan.Revision, name string) (conan.FileInfo, conan.Origin, error) {
	list, origin, err := c.listed(ctx, rev)
	if err != nil {
		return conan.FileInfo{}, origin, err
	}
	file, ok := list.Find(name)
	if !ok {
		err = fmt.Errorf("%s of %s in %s: %w", name, rev, c.o.Name, conan.ErrNotFound)
	}
	return file, origin, err
}

// fetch downloads a file that is listed but not stored, unless it is known that upstream does not
// give it.
func (c *Cache) fetch(ctx context.Context, rev conan.Revision, listed conan.FileInfo) (*conan.File, conan.Origin, error) {
	if c.o.Mode == Offline {
		return nil, conan.Origin{}, c.offline()
	}
	if r, ok := c.refusedFile(rev, listed); ok {
		return nil, c.absence(r.said, false), c.refuseFile(rev, r)
	}
	const tries = 3
	for range tries {
		fill, err := c.attach(rev, listed)
		if err != nil {
			return nil, conan.Origin{}, err
		}
		f, err := fill.open(ctx)
		if errors.Is(err, errEvicted) {
			continue
		}
		if errors.Is(err, errNoSpace) {
			f, err = c.pass(ctx, rev, listed)
		}
		return f, c.downloadOrigin(err), err
	}
	return nil, conan.Origin{}, c.unavailable("the cache is too small to keep what it fetched")
}

// downloadOrigin is the origin of what a download gave, or of the "not found" with which it failed.
func (c *Cache) downloadOrigin(err error) conan.Origin {
	if errors.Is(err, conan.ErrNotFound) {
		return c.absence(c.o.Now(), true)
	}
	return c.immutable(conan.StateMiss)
}
