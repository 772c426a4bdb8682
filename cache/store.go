package cache

import (
	"context"

	"conanproxy/internal/conan"
)

// Store has a file fetched unless it is stored. When it returns nil the file is durable here.
func (c *Cache) Store(ctx context.Context, rev conan.Revision, name string) error {
	file, _, err := c.open(ctx, rev, name)
	if err != nil {
		return err
	}
	defer file.Close()
	c.mu.Lock()
	f := c.fills[fillKey{rev, name}]
	c.mu.Unlock()
	if f != nil {
		if err := f.done(ctx); err != nil {
			return err
		}
	}
	stored, err := c.openStored(ctx, rev, name)
	if err != nil {
		return err
	}
	if stored == nil {
		return c.unavailable("its answer could not be stored here")
	}
	return stored.Close()
}
