package cache

import (
	"context"
	"errors"

	"conanproxy/internal/conan"
)

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
		err := f.done(ctx)
		switch {
		case errors.Is(err, errEvicted):
			return false, c.unavailable("what it sent was purged meanwhile")
		case err != nil && !errors.Is(err, errNoSpace):
			return false, err
		}
	}
	stored, err := c.openStored(ctx, rev, name)
	if err != nil || stored == nil {
		return false, err
	}
	return true, stored.Close()
}
