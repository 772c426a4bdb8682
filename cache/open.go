package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// Open implements conan.Source. A file that is held costs no question; another one is listed, fetched and verified,
// and large ones are handed out while they arrive. A file that upstream lists but does not deliver is unavailable, never not found.
func (c *Cache) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	f, origin, err := c.open(ctx, rev, name)
	return answer(c, f, origin, err)
}

func (c *Cache) open(ctx context.Context, rev conan.Revision, name string) (*conan.File, conan.Origin, error) {
	if !mayChange(rev, name) {
		f, err := c.openHeld(ctx, rev, name)
		if err != nil || f != nil {
			return f, c.immutable(conan.StateHit), err
		}
	}
	list, origin, err := c.listed(ctx, rev)
	if err != nil {
		return nil, origin, err
	}
	want, ok := list.Find(name)
	if !ok {
		return nil, origin, fmt.Errorf("%s of %s in %s: %w", name, rev, c.o.Name, conan.ErrNotFound)
	}
	if mayChange(rev, name) {
		return c.openMutable(ctx, rev, want, origin)
	}
	if c.o.Mode == Offline {
		return nil, conan.Origin{}, c.unavailable(offlineReason)
	}
	if c.isMissing(rev, name) {
		return nil, conan.Origin{}, c.unavailable(missingReason)
	}
	f, err := c.fetch(ctx, rev, want)
	return f, c.immutable(conan.StateMiss), err
}

// mayChange tells whether a file's bytes may become others under the same name.
func mayChange(rev conan.Revision, name string) bool {
	return rev.Mutable() || conan.IsMetadata(name)
}

// openHeld opens a file that is held, or returns nil. Its revision stays until it is closed.
func (c *Cache) openHeld(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	endUse, err := c.o.Budget.Use(ctx, c.o.Member, rev)
	if err != nil {
		return nil, err
	}
	held, err := c.held(ctx, rev)
	info, ok := held.find(name)
	if err != nil || !ok {
		endUse()
		return nil, err
	}
	f, err := c.openStored(ctx, info, endUse)
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		c.o.Memory.Remove(c.heldKey(rev)) // its bytes are lost
		return nil, nil
	}
	c.touch(held)
	return f, nil
}

// openMutable opens a file whose bytes may have changed. Those of a mutable revision are current as long as its list
// is; a file below metadata/ has a time of its own.
func (c *Cache) openMutable(ctx context.Context, rev conan.Revision, want conan.FileInfo, listed conan.Origin) (*conan.File, conan.Origin, error) {
	origin, current := listed, true
	fetched := c.o.Now().Add(-listed.Age)
	if conan.IsMetadata(want.Name) {
		fetched, current = c.bytesFetched(ctx, rev, want.Name)
		origin = c.fresh(fetched, false)
	}
	held, err := c.openHeld(ctx, rev, want.Name)
	if err != nil || held != nil && current {
		return held, origin, err
	}
	got, err := (*conan.File)(nil), c.unavailable(offlineReason)
	if c.o.Mode != Offline {
		got, err = c.fetch(ctx, rev, want)
	}
	if err == nil {
		if held != nil {
			held.Close()
		}
		return got, c.fresh(c.o.Now(), true), nil
	}
	if held != nil && errors.Is(err, conan.ErrUnavailable) && c.isUsable(fetched) {
		return held, c.stale(fetched, reason(err)), nil
	}
	if held != nil {
		held.Close()
	}
	return nil, conan.Origin{}, err
}

// bytesFetched tells when a held file that may change was last fetched, and whether that is still fresh.
func (c *Cache) bytesFetched(ctx context.Context, rev conan.Revision, name string) (fetched time.Time, fresh bool) {
	doc, err := load(ctx, c, bytesQuestion(rev, name))
	if err != nil || doc == nil {
		return time.Time{}, false
	}
	return doc.Fetched, c.isFresh(doc.Fetched)
}

// bytesQuestion names the document that remembers which bytes a file below metadata/ had, by sha256.
func bytesQuestion(rev conan.Revision, name string) question[string] {
	return question[string]{kind: kindBytes, key: rev.String() + "/" + name, about: rev}
}

// Store has a file fetched unless it is held. When it returns nil the file is durable here.
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
	held, err := c.openHeld(ctx, rev, name)
	if err != nil {
		return err
	}
	if held == nil {
		return c.unavailable("its answer could not be stored here")
	}
	return held.Close()
}

// fetch gets a file that is listed but not held.
func (c *Cache) fetch(ctx context.Context, rev conan.Revision, want conan.FileInfo) (*conan.File, error) {
	const tries = 3
	for range tries {
		f, err := c.join(rev, want)
		if err != nil {
			return nil, err
		}
		file, err := f.open(ctx)
		switch {
		case errors.Is(err, errNoSpace):
			return c.pass(ctx, rev, want)
		case errors.Is(err, errEvicted):
			continue
		}
		return file, err
	}
	return nil, c.unavailable("the cache is too small to keep what it fetched")
}
