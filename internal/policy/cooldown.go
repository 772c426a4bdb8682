package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"conanproxy/internal/conan"
)

// CoolDownOptions are the arguments of NewCoolDown.
type CoolDownOptions struct {
	Member      string           // the upstream's name, for errors
	MinAge      time.Duration    // how old a revision is when clients first get it
	Except      Globs            // references without a cool-down
	AllowPinned bool             // too young revisions are served to clients that name them
	Now         func() time.Time // nil: time.Now
}

// CoolDown is a Source that gives revisions only when they are old enough. Younger ones are absent
// from answers about the newest, from searches and lists of packages. In lists of revisions they
// stand after the others, marked as hidden, and their files are a conan.HiddenError.
//
// An answer expires no later than the moment at which another revision becomes old enough.
type CoolDown struct {
	source conan.Source
	o      CoolDownOptions

	// known is when a pinned revision becomes old enough, or the first one of a reference or
	// package id, so that what was old enough once costs no question.
	known *lru.Cache[conan.Revision, time.Time]
}

var _ conan.Source = (*CoolDown)(nil)

// maxKnown bounds CoolDown.known.
const maxKnown = 1 << 15

// NewCoolDown puts a cool-down before a source.
func NewCoolDown(source conan.Source, o CoolDownOptions) *CoolDown {
	if o.Now == nil {
		o.Now = time.Now
	}
	known, _ := lru.New[conan.Revision, time.Time](maxKnown) // fails only without a size
	return &CoolDown{source: source, o: o, known: known}
}

// matureAt is when a revision becomes old enough.
func (c *CoolDown) matureAt(r conan.RevisionTime) time.Time { return r.Appeared().Add(c.o.MinAge) }

func (c *CoolDown) isMature(at time.Time) bool { return !c.o.Now().Before(at) }

// until is the origin of an answer that changes at a time, unless that is zero.
func until(o conan.Origin, change time.Time) conan.Origin {
	if !change.IsZero() && change.Before(o.Expires) {
		o.Expires = change
	}
	return o
}

// earlier is the earlier of two times of which zero ones do not count.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Latest implements conan.Source: the newest revision that is old enough.
func (c *CoolDown) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	newest, err := c.source.Latest(ctx, rev)
	if err != nil || c.o.Except.Match(rev.Ref) {
		return newest, err
	}
	at := c.matureAt(newest.Value)
	c.known.Add(rev.With(newest.Value.ID), at)
	if c.isMature(at) {
		return newest, nil
	}
	list, err := c.Revisions(ctx, rev)
	a := conan.Answer[conan.RevisionTime]{Origin: list.Origin}
	if err != nil {
		return a, err
	}
	for _, r := range list.Value {
		if !r.Hidden && r.Dropped == newest.Value.Dropped {
			a.Value = r
			return a, nil
		}
	}
	return a, fmt.Errorf("%s: %w: all of it is younger than min_age of upstream %q", rev, conan.ErrNotFound, c.o.Member)
}

// Revisions implements conan.Source. Too young revisions stand at the end.
func (c *CoolDown) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	list, err := c.source.Revisions(ctx, rev)
	if err != nil || c.o.Except.Match(rev.Ref) {
		return list, err
	}
	var visible, hidden []conan.RevisionTime
	var first, next time.Time // when the first of all, and of the hidden ones, is old enough
	for _, r := range list.Value {
		at := c.matureAt(r)
		first = earlier(first, at)
		c.known.Add(rev.With(r.ID), at)
		if c.isMature(at) {
			visible = append(visible, r)
			continue
		}
		r.Hidden = true
		hidden = append(hidden, r)
		next = earlier(next, at)
	}
	c.known.Add(rev.With(""), first)
	list.Value = append(visible, hidden...)
	list.Origin = until(list.Origin, next)
	return list, nil
}

// Snapshot implements conan.Source.
func (c *CoolDown) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	if origin, err := c.refused(ctx, rev); err != nil {
		return conan.Answer[conan.Snapshot]{Origin: origin}, err
	}
	return c.source.Snapshot(ctx, rev)
}

// Open implements conan.Source.
func (c *CoolDown) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	if origin, err := c.refused(ctx, rev); err != nil {
		return conan.Answer[*conan.File]{Origin: origin}, err
	}
	return c.source.Open(ctx, rev, name)
}

// refused tells why a pinned revision is not served, nil if it is or if the source says why not. Of
// "not found" the origin tells how long that may be remembered.
func (c *CoolDown) refused(ctx context.Context, rev conan.Revision) (conan.Origin, error) {
	if c.o.AllowPinned || c.o.Except.Match(rev.Ref) || !rev.Pinned() {
		return conan.Origin{}, nil
	}
	at, known := c.known.Get(rev)
	if !known {
		list, err := c.Revisions(ctx, rev.With(""))
		if err != nil && !errors.Is(err, conan.ErrNotFound) {
			return list.Origin, err
		}
		at, known = c.known.Get(rev)
	}
	switch {
	case known && c.isMature(at):
		return conan.Origin{}, nil
	case known:
		return conan.Origin{}, c.hidden(fmt.Sprintf("it is younger than %v and becomes available at %s",
			c.o.MinAge, at.UTC().Format("2006-01-02 15:04 MST")))
	}
	if files, err := c.source.Snapshot(ctx, rev); err != nil {
		return files.Origin, err
	}
	return conan.Origin{}, c.hidden("its age is unknown, since the upstream does not list it")
}

func (c *CoolDown) hidden(why string) error {
	return &conan.HiddenError{Member: c.o.Member, Reason: why + " (setting min_age); the server's administrator can except it"}
}
