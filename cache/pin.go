package cache

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/space"
)

// PinOptions say how Pin pins.
type PinOptions struct {
	Owner  string // of the pins
	By     conan.Actor
	Target string // what is pinned, for the audit
	Dry    bool   // only tells what would be done
}

// Pin pins revisions, a package with its recipe, all or nothing. Files that are not stored are
// downloaded first. If the pins of all upstreams would take more than their share of the space, it
// is conan.ErrConflict: before anything is downloaded, as far as the upstream tells sizes, else as
// soon as that is seen, at the latest by the transaction that pins. What was downloaded until a
// failure is cached like anything else, so that Pin goes on there when it is called again.
func (c *Cache) Pin(ctx context.Context, revs []conan.Revision, o PinOptions) ([]conan.Moved, error) {
	revs = conan.WithRecipes(revs)
	done, err := c.useAll(ctx, revs) // none of them is evicted until it has its pin
	defer done()
	if err != nil {
		return nil, err
	}
	run := pinRun{c: c, counted: make(map[string]bool)}
	if run.room, err = c.o.Budget.PinRoom(ctx); err != nil {
		return nil, err
	}
	if err := run.list(ctx, revs); err != nil {
		return nil, err
	}
	if o.Dry {
		return c.wouldPin(ctx, revs, o.Owner)
	}
	if err := run.download(ctx); err != nil {
		return nil, err
	}
	audit := index.Audit{By: o.By, Action: index.ActionPin, Member: c.o.Name, Target: o.Target}
	return c.o.Index.Pin(ctx, c.o.Member, revs, o.Owner, audit, c.o.Now(), false, run.room.Fits)
}

// useAll keeps revisions from being evicted until the caller calls done, also after a failure.
func (c *Cache) useAll(ctx context.Context, revs []conan.Revision) (done func(), err error) {
	var ends []func()
	done = func() {
		for _, end := range ends {
			end()
		}
	}
	for _, rev := range revs {
		end, err := c.o.Budget.Use(ctx, c.o.Member, rev)
		if err != nil {
			return done, err
		}
		ends = append(ends, end)
	}
	return done, nil
}

// wouldPin tells which of the revisions have no pin of the owner.
func (c *Cache) wouldPin(ctx context.Context, revs []conan.Revision, owner string) ([]conan.Moved, error) {
	out := make([]conan.Moved, len(revs))
	ofOwner := make(map[conan.Ref]map[conan.Revision]bool)
	for i, rev := range revs {
		if ofOwner[rev.Ref] == nil {
			pins, err := c.o.Index.PinsOf(ctx, c.o.Member, rev.Ref)
			if err != nil {
				return nil, err
			}
			ofOwner[rev.Ref] = make(map[conan.Revision]bool)
			for _, p := range pins {
				if p.Owner == owner {
					ofOwner[rev.Ref][p.Revision] = true
				}
			}
		}
		out[i] = conan.Moved{Revision: rev, Skipped: ofOwner[rev.Ref][rev]}
	}
	return out, nil
}

// pinRun is one call of Pin.
type pinRun struct {
	c *Cache

	mu      sync.Mutex
	missing []missingFile
	room    space.PinRoom   // with what is counted, an estimate
	counted map[string]bool // digests
}

// missingFile is a file to be downloaded.
type missingFile struct {
	fillKey
	size int64 // -1: not known
}

// list counts what is stored of the revisions and what the upstream tells of the rest, which is
// noted.
func (r *pinRun) list(ctx context.Context, revs []conan.Revision) error {
	return each(ctx, r.c, revs, func(ctx context.Context, rev conan.Revision) error {
		_, _, _ = r.c.list(ctx, rev) // so that the upstream's time is known when files are stored
		files, _, err := r.c.listed(ctx, rev)
		if err != nil {
			return err
		}
		stored, err := r.c.stored(ctx, rev)
		if err != nil {
			return err
		}
		for _, f := range files {
			have, isStored := stored.find(f.Name)
			if !isStored {
				r.note(missingFile{fillKey{rev, f.Name}, f.Size})
				have = f
			}
			if err := r.count(ctx, have.SHA256, max(have.Size, 0)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *pinRun) note(f missingFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing = append(r.missing, f)
}

// count adds the bytes of a file that a pin would add, once for each digest that is known.
func (r *pinRun) count(ctx context.Context, digest string, bytes int64) error {
	if digest != "" {
		if adds, err := r.c.o.Index.PinAdds(ctx, digest); err != nil || !adds {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if digest != "" && r.counted[digest] {
		return nil
	}
	r.counted[digest] = true
	r.room.Pinned += bytes
	return r.room.Fits(r.room.Pinned)
}

// download stores what is missing, and counts what was not known before.
func (r *pinRun) download(ctx context.Context) error {
	return each(ctx, r.c, r.missing, func(ctx context.Context, f missingFile) error {
		ok, err := r.c.storeFile(ctx, f.rev, f.name)
		if err == nil && !ok {
			err = fmt.Errorf("%w: there is no space for %s of %s within cache.max_size and cache.min_free: unpin something, or make room", conan.ErrConflict, f.name, f.rev)
		}
		if err != nil || f.size >= 0 {
			return err
		}
		stored, err := r.c.stored(ctx, f.rev)
		if err != nil {
			return err
		}
		info, _ := stored.find(f.name)
		return r.count(ctx, info.SHA256, info.Size)
	})
}

// each calls do for all items, some at a time, until one fails. It leaves half of what may be
// downloaded at a time to clients.
func each[T any](ctx context.Context, c *Cache, items []T, do func(context.Context, T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, c.o.MaxFills/2))
	for _, item := range items {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return do(ctx, item)
		})
	}
	return group.Wait()
}

// pinnedRevisions lists the revisions of a parent that have a pin and that the cache can serve,
// newest first.
func (c *Cache) pinnedRevisions(ctx context.Context, parent conan.Revision) ([]conan.RevisionTime, error) {
	rows, err := c.o.Index.RevisionsOf(ctx, c.o.Member, parent.Ref)
	var out []conan.RevisionTime
	for _, row := range rows {
		if row.Pinned && listParent(row.Revision) == parent && c.isServable(ctx, row.Stored) {
			out = append(out, conan.RevisionTime{ID: row.ID(), Time: row.Time})
		}
	}
	return newestFirst(out), err
}
