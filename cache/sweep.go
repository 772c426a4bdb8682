package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

const (
	// dropAfter is how long documents stay after they were last of any use.
	dropAfter = 24 * time.Hour
	// batch bounds how much one transaction removes.
	batch = 500
)

// Sweep drops what upstream said so long ago that it is not used even if upstream fails. The list
// of files of a revision stays while something of it is stored.
func (c *Cache) Sweep(ctx context.Context) error {
	if c.o.Mode != Normal {
		return nil
	}
	before := c.o.Now().Add(-c.o.FreshFor - c.o.StaleFor - dropAfter)
	for _, kind := range kinds {
		if err := c.sweepKind(ctx, kind, before); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) sweepKind(ctx context.Context, kind string, before time.Time) error {
	after := ""
	for {
		keys, err := c.o.Index.OldDocuments(ctx, c.o.Member, kind, before, after, batch)
		if err != nil || len(keys) == 0 {
			return err
		}
		after = keys[len(keys)-1]
		if kind == kindFiles {
			if keys, err = c.withoutBytes(ctx, keys); err != nil {
				return err
			}
		}
		if err := c.drop(ctx, kind, keys...); err != nil {
			return err
		}
	}
}

// withoutBytes leaves out the keys of revisions that the cache has stored something of.
func (c *Cache) withoutBytes(ctx context.Context, keys []string) ([]string, error) {
	var out []string
	for _, key := range keys {
		rev, err := parseKey(key)
		if err == nil {
			_, err = c.o.Index.Find(ctx, c.o.Member, rev)
		}
		switch {
		case err == nil:
		case errors.Is(err, conan.ErrNotFound), errors.Is(err, conan.ErrInvalid):
			out = append(out, key)
		default:
			return nil, err
		}
	}
	return out, nil
}

// parseKey is the inverse of conan.Revision.String.
func parseKey(key string) (conan.Revision, error) {
	text, ids, _ := strings.Cut(key, "#")
	ref, err := conan.ParseRef(text)
	if err != nil {
		return conan.Revision{}, fmt.Errorf("key of a document: %w", err)
	}
	rrev, pkg, _ := strings.Cut(ids, ":")
	id, prev, _ := strings.Cut(pkg, "#")
	return conan.NewRevision(ref, rrev, id, prev)
}
