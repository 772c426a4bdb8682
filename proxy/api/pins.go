package api

import (
	"context"
	"fmt"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/selection"
	"conanproxy/internal/transfer"
)

// Member is a store or upstream of which revisions can be pinned.
type Member interface {
	// Pin pins revisions and the recipes of packages for an owner, all or nothing. What an
	// upstream's cache lacks is downloaded first.
	Pin(ctx context.Context, revs []conan.Revision, owner string, by conan.Actor, dry bool) ([]conan.Moved, error)
	// Unpin ends pins of an owner; an empty owner is all.
	Unpin(ctx context.Context, revs []conan.Revision, owner string, by conan.Actor, dry bool) ([]conan.Moved, error)
	// PinSource is what an owner has pinned; an empty owner is all.
	PinSource(owner string) conan.Source
	// Pins lists pins, the last one first, with an ID below before unless it is 0.
	Pins(ctx context.Context, before int64, limit int) ([]index.Pin, error)
}

// member finds the store or upstream that a request names.
func (a *API) member(name string) (Member, error) {
	m, ok := a.Members.Member(name)
	if !ok {
		return nil, fmt.Errorf("%w: there is no store or upstream %.64q", conan.ErrInvalid, name)
	}
	return m, nil
}

// pin pins revisions of a member for the caller, who is an administrator.
func (a *API) pin(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
	}
	var body inStore
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	m, err := a.member(body.In)
	if err != nil {
		return nil, err
	}
	source, err := of(c.Source, body.In)
	if err != nil {
		return nil, err
	}
	revs, err := resolve(c, body.Selection, source, selection.AsUpload, nil)
	if err != nil {
		return nil, err
	}
	moved, err := m.Pin(c.Context, revs, c.Caller.Name, c.Actor, bool(body.DryRun))
	if err != nil {
		return nil, err
	}
	return c.done(report(bool(body.DryRun), moved, "pinned")), nil
}

// unpin ends pins of the caller, or of others: an administrator.
func (a *API) unpin(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
	}
	var body struct {
		inStore
		Owner string `json:"owner"`
		All   bool   `json:"all"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	owner := body.Owner
	switch {
	case body.All && owner != "":
		return nil, fmt.Errorf("%w: give either \"owner\" or \"all\": true", conan.ErrInvalid)
	case !body.All && owner == "":
		owner = c.Caller.Name
	}
	m, err := a.member(body.In)
	if err != nil {
		return nil, err
	}
	revs, err := resolve(c, body.Selection, m.PinSource(owner), selection.AsRemove, nil)
	if err != nil {
		return nil, err
	}
	moved, err := m.Unpin(c.Context, revs, owner, c.Actor, bool(body.DryRun))
	if err != nil {
		return nil, err
	}
	return report(bool(body.DryRun), moved, "unpinned"), nil
}

// resolve lists the revisions that a selection names in a source. allowed refuses references; nil
// allows all.
func resolve(c *Call, spec selection.Spec, source conan.Source, purpose selection.Purpose, allowed func(conan.Ref) error) ([]conan.Revision, error) {
	sel, err := spec.Parse()
	if err != nil {
		return nil, err
	}
	return transfer.Resolve(c.Context, source, sel, purpose, allowed)
}

// PinLine is one pin.
type PinLine struct {
	ID       int64     `json:"id"`
	Revision string    `json:"revision"`
	Owner    string    `json:"owner"` // a user
	Time     time.Time `json:"time"`
}

// pins lists the pins in a member, the last one first, for administrators.
func (a *API) pins(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
	}
	m, err := a.member(c.Query.Get("in"))
	if err != nil {
		return nil, err
	}
	before, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	rows, err := m.Pins(c.Context, before, limit)
	if err != nil {
		return nil, err
	}
	page := Page[PinLine]{Lines: []PinLine{}}
	for _, p := range rows {
		page.Lines = append(page.Lines, PinLine{p.ID, p.Revision.String(), p.Owner, p.Time})
	}
	if len(rows) == limit {
		page.Next = rows[limit-1].ID
	}
	return page, nil
}
