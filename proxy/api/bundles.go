package api

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"conanproxy/internal/bundle"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/selection"
	"conanproxy/internal/transfer"
)

// createBundle answers a bundle of what a selection names in a store, upstream or view, as far as
// the caller may read it.
func (a *API) createBundle(c *Call) (any, error) {
	var body struct {
		From      string         `json:"from"`
		Since     bundle.Since   `json:"since"`
		Selection selection.Spec `json:"selection"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	source, ok := c.Source(body.From)
	if !ok {
		return nil, fmt.Errorf("%w: there is no store, upstream or view %.64q", conan.ErrInvalid, body.From)
	}
	sel, err := body.Selection.Parse()
	if err != nil {
		return nil, err
	}
	revs, err := transfer.Resolve(c.Context, source, sel, selection.AsUpload, nil)
	if err != nil {
		return nil, err
	}
	plan, err := bundle.NewPlan(c.Context, source, revs, body.Since)
	if err != nil {
		return nil, err
	}
	line := index.Audit{By: c.Actor, Action: index.ActionBundle, Member: body.From, Target: index.Targets(revs)}
	if err := a.Audit.WriteAudit(c.Context, line, time.Now()); err != nil {
		return nil, err
	}
	return Stream{"application/x-tar", func(w io.Writer) error { return plan.Write(c.Context, w) }}, nil
}

// applyBundle takes the revisions of a bundle into a store: all or nothing, or each by itself, as
// an import does.
func (a *API) applyBundle(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
	}
	to := c.Query.Get("to")
	store, err := a.store("to", to)
	if err != nil {
		return nil, err
	}
	dry, err := c.flag("dry_run")
	if err != nil {
		return nil, err
	}
	each, err := c.flag("each")
	if err != nil {
		return nil, err
	}
	b, err := a.Stores.OpenBundle(c.Body)
	if err != nil {
		return nil, err
	}
	if err := store.CheckDisk(c.Context, b.Bytes); err != nil {
		return nil, err
	}
	moved, err := a.takeBundle(c, b, to, each, dry)
	if err != nil {
		return nil, err
	}
	return report(dry, moved, "copied"), nil
}

// takeBundle takes what a bundle has into a store, and reads the bundle to its end.
func (a *API) takeBundle(c *Call, b *bundle.Reader, to string, each, dry bool) ([]conan.Moved, error) {
	revs := make([]conan.Revision, len(b.Items()))
	for i, item := range b.Items() {
		revs[i] = item.Revision
		if err := a.Stores.MayCome(to, item.Ref); err != nil {
			return nil, err
		}
	}
	in := transfer.Incoming{From: b, Name: "bundle " + b.Index, Verified: b.Verified}
	if !each {
		in.Complete = b.Complete
	}
	sink, ok := a.Stores.Import(in, to)
	if !ok {
		return nil, noStore(to)
	}
	moved, err := sink.Take(c.Context, revs, c.Actor, dry)
	if err == nil && each {
		err = b.Complete()
	}
	return moved, err
}

// flag reads a query argument that is true or false; false if it is not given.
func (c *Call) flag(name string) (bool, error) {
	text := c.Query.Get(name)
	if text == "" {
		return false, nil
	}
	set, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%w: %s is neither true nor false", conan.ErrInvalid, name)
	}
	return set, nil
}
