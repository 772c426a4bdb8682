package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"conanproxy/internal/conan"
)

// CoolDownOptions are the arguments of NewCoolDown.
type CoolDownOptions struct {
	Member      string           // the upstream's name, for errors
	MinAge      time.Duration    // how old a revision is when clients first get it; 0: it does not matter
	Except      Globs            // references whose age does not matter
	AllowPinned bool             // too young revisions are served to clients that name them
	Now         func() time.Time // nil: time.Now
}

// CoolDown is a Source that gives revisions only when they are old enough: now, or as of a moment
// in the past. Younger ones are absent from answers about the newest, from searches and lists of
// packages. In lists of revisions they stand after the others, marked as hidden, and their files
// are a conan.HiddenError.
//
// As of a moment in the past, a revision that the upstream has dropped since is like any other,
// since it may have been listed then, but it stands after those that are still listed.
//
// An answer expires no later than the moment at which another revision becomes old enough.
type CoolDown struct {
	source conan.Source
	o      CoolDownOptions
	at     time.Time // the moment of which it tells; zero: now

	// known is when a pinned revision appeared, or the first one of a reference or package id, so
	// that what was old enough once costs no question. All moments share it.
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

// At is the source as it was at a moment: without what appeared after it or was too young then.
func (c *CoolDown) At(at time.Time) *CoolDown {
	past := *c
	past.at = at
	return &past
}

// Forget forgets when revisions of some references appeared.
func (c *CoolDown) Forget(matches func(conan.Ref) bool) {
	for _, rev := range c.known.Keys() {
		if matches(rev.Ref) {
			c.known.Remove(rev)
		}
	}
}

// passes tells whether all revisions of a reference are given.
func (c *CoolDown) passes(ref conan.Ref) bool { return c.at.IsZero() && c.o.Except.Match(ref) }

// matureAt is when a revision of a reference that appeared at a time is old enough.
func (c *CoolDown) matureAt(ref conan.Ref, appeared time.Time) time.Time {
	if c.o.Except.Match(ref) {
		return appeared
	}
	return appeared.Add(c.o.MinAge)
}

func (c *CoolDown) isMature(at time.Time) bool {
	now := c.at
	if now.IsZero() {
		now = c.o.Now()
	}
	return !now.Before(at)
}

// until is the origin of an answer that changes at a time, unless that is zero. The past does not
// change.
func (c *CoolDown) until(o conan.Origin, change time.Time) conan.Origin {
	if c.at.IsZero() && !change.IsZero() && change.Before(o.Expires) {
		o.Expires = change
	}
	return o
}

// Latest implements conan.Source: the newest revision that is old enough.
func (c *CoolDown) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	newest, err := c.source.Latest(ctx, rev)
	if err != nil || c.passes(rev.Ref) {
		return newest, err
	}
	appeared := newest.Value.Appeared()
	c.known.Add(rev.With(newest.Value.ID), appeared)
	dropped := newest.Value.Dropped && c.at.IsZero()
	if c.isMature(c.matureAt(rev.Ref, appeared)) {
		newest.Value.Dropped = dropped
		return newest, nil
	}
	list, err := c.Revisions(ctx, rev)
	a := conan.Answer[conan.RevisionTime]{Origin: list.Origin}
	if err != nil {
		return a, err
	}
	if r, ok := newestVisible(list.Value, dropped); ok {
		a.Value = r
		return a, nil
	}
	if !c.at.IsZero() {
		return a, fmt.Errorf("%s: %w: upstream %q had none of it at %s", rev, conan.ErrNotFound, c.o.Member, minute(c.at))
	}
	return a, fmt.Errorf("%s: %w: all of it is younger than min_age of upstream %q", rev, conan.ErrNotFound, c.o.Member)
}

// newestVisible is the newest visible revision of a list, among those that the upstream has dropped
// or among the others.
func newestVisible(list []conan.RevisionTime, dropped bool) (newest conan.RevisionTime, ok bool) {
	i := slices.IndexFunc(list, func(r conan.RevisionTime) bool { return !r.Hidden && r.Dropped == dropped })
	if i < 0 {
		return newest, false
	}
	return list[i], true
}

// Revisions implements conan.Source. Too young revisions stand at the end.
func (c *CoolDown) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	list, _, err := c.judgedRevisions(ctx, rev)
	return list, err
}

// judgedRevisions is Revisions and tells when the first of all appeared, also of those that are too
// young.
func (c *CoolDown) judgedRevisions(ctx context.Context, rev conan.Revision) (list conan.Answer[[]conan.RevisionTime], first time.Time, err error) {
	list, err = c.source.Revisions(ctx, rev)
	if err != nil || c.passes(rev.Ref) {
		return list, time.Time{}, err
	}
	var visible, dropped, hidden []conan.RevisionTime
	var next time.Time // when the first hidden one is old enough
	for _, r := range list.Value {
		appeared := r.Appeared()
		first = conan.Earlier(first, appeared)
		c.known.Add(rev.With(r.ID), appeared)
		isMature, change := c.judge(rev.Ref, appeared)
		switch {
		case !isMature:
			r.Hidden = true
			hidden = append(hidden, r)
			next = conan.Earlier(next, change)
		case r.Dropped && !c.at.IsZero():
			r.Dropped = false
			dropped = append(dropped, r)
		default:
			visible = append(visible, r)
		}
	}
	c.known.Add(rev.With(""), first)
	list.Value = slices.Concat(visible, dropped, hidden)
	list.Origin = c.until(list.Origin, next)
	return list, first, nil
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
	anyAge := c.o.AllowPinned || c.o.Except.Match(rev.Ref)
	if anyAge && c.at.IsZero() || !rev.Pinned() {
		return conan.Origin{}, nil
	}
	appeared, known := c.known.Get(rev)
	if !known {
		list, err := c.Revisions(ctx, rev.With(""))
		if err != nil && !errors.Is(err, conan.ErrNotFound) {
			return list.Origin, err
		}
		appeared, known = c.known.Get(rev)
	}
	mature := c.matureAt(rev.Ref, appeared)
	switch {
	case known && !c.at.IsZero() && appeared.After(c.at):
		return conan.Origin{}, c.hidden(fmt.Sprintf("it appeared at %s, after %s, the time that the URL names", minute(appeared), minute(c.at)))
	case known && (anyAge || c.isMature(mature)):
		return conan.Origin{}, nil
	case known:
		return conan.Origin{}, c.hiddenByAge(fmt.Sprintf("it is younger than %v and becomes available at %s", c.o.MinAge, minute(mature)))
	}
	if files, err := c.source.Snapshot(ctx, rev); err != nil {
		return files.Origin, err
	}
	if !c.at.IsZero() {
		return conan.Origin{}, c.hidden(fmt.Sprintf("whether it was there at %s is unknown, since the upstream does not list it", minute(c.at)))
	}
	return conan.Origin{}, c.hiddenByAge("its age is unknown, since the upstream does not list it")
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func (c *CoolDown) hiddenByAge(why string) error {
	return c.hidden(why + " (setting min_age); the server's administrator can except it")
}

func (c *CoolDown) hidden(why string) error {
	return &conan.HiddenError{Member: c.o.Member, Reason: why}
}
