package api

import (
	"fmt"

	"conanproxy/internal/conan"
	"conanproxy/internal/selection"
	"conanproxy/internal/transfer"
)

// importFrom copies revisions from another server into a store, one after the other: what is copied
// stays when a later one fails, and is skipped when the call is made again.
func (a *API) importFrom(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
	}
	var body struct {
		From      string         `json:"from"` // URL
		To        string         `json:"to"`
		Username  string         `json:"username"`
		Password  string         `json:"password"`
		DryRun    dryRun         `json:"dry_run"`
		Selection selection.Spec `json:"selection"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if _, err := a.store("to", body.To); err != nil {
		return nil, err
	}
	sel, err := body.Selection.Parse()
	if err != nil {
		return nil, err
	}
	source, end, err := a.Stores.Remote(body.From, body.Username, body.Password)
	if err != nil {
		return nil, fmt.Errorf("%w: from: %w", conan.ErrInvalid, err)
	}
	defer end()
	const ahead = 4 // hides the time of the way there; the connections of the source have a bound of their own
	sink, ok := a.Stores.Import(transfer.Incoming{From: source, Name: body.From, Ahead: ahead}, body.To)
	if !ok {
		return nil, noStore(body.To)
	}
	o := transfer.Options{By: c.Actor, Dry: bool(body.DryRun), Allowed: func(ref conan.Ref) error { return a.Stores.MayCome(body.To, ref) }}
	moved, err := transfer.Copy(c.Context, source, sel, sink, o)
	if err != nil {
		return nil, err
	}
	return report(bool(body.DryRun), moved, "copied"), nil
}
