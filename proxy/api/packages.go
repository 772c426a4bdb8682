package api

import (
	"encoding/json"
	"errors"
	"fmt"

	"conanproxy/internal/conan"
	"conanproxy/internal/selection"
	"conanproxy/internal/transfer"
)

// Report is what a change did, or would do.
type Report struct {
	DryRun    bool           `json:"dry_run"`
	Revisions []RevisionDone `json:"revisions"`
}

// RevisionDone is one revision of a Report, a recipe before its packages.
type RevisionDone struct {
	Revision string `json:"revision"`         // name/version[@user/channel]#RREV[:PACKAGE_ID#PREV]
	Outcome  string `json:"outcome"`          // copied, skipped, failed, removed, kept, restored, hidden, shown, pinned or unpinned
	Newest   bool   `json:"newest"`           // it is the newest of its siblings where it came to
	Reason   string `json:"reason,omitempty"` // why it failed, or why retention removed or kept it

	Elsewhere []Elsewhere `json:"elsewhere,omitempty"` // of a revision that was removed for good
}

// dryRun tells whether a call changes nothing. A null is no answer to that.
type dryRun bool

// UnmarshalJSON implements json.Unmarshaler.
func (d *dryRun) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return errors.New("dry_run is true or false, not null")
	}
	return json.Unmarshal(text, (*bool)(d))
}

func report(dry dryRun, moved []conan.Moved, outcome string) Report {
	r := Report{DryRun: bool(dry), Revisions: []RevisionDone{}}
	for _, m := range moved {
		done := RevisionDone{Revision: m.Revision.String(), Outcome: outcome, Newest: m.Newest, Reason: m.Problem}
		switch {
		case m.Problem != "":
			done.Outcome = "failed"
		case m.Skipped:
			done.Outcome = "skipped"
		}
		r.Revisions = append(r.Revisions, done)
	}
	return r
}

// progress is that of a job that did what the report says.
func (r Report) progress() (p transfer.Progress) {
	for _, done := range r.Revisions {
		if done.Outcome == "skipped" || done.Outcome == "kept" {
			p.Revisions.Skipped++
		} else {
			p.Revisions.Done++
		}
	}
	return p
}

// asMoved makes a list of revisions one of a report.
func asMoved(revs []conan.Revision) []conan.Moved {
	moved := make([]conan.Moved, len(revs))
	for i, rev := range revs {
		moved[i].Revision = rev
	}
	return moved
}

// fromTo is a promotion.
type fromTo struct {
	From      string         `json:"from"`
	To        string         `json:"to"`
	DryRun    dryRun         `json:"dry_run"`
	Selection selection.Spec `json:"selection"`
}

func (b fromTo) check() error {
	_, err := b.Selection.Parse()
	return err
}

// promote copies revisions from one store to another: the caller needs the right to read them there
// and to write them here.
func (a *API) promote(c *Call) (any, error) {
	var body fromTo
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if _, err := a.store("from", body.From); err != nil {
		return nil, err
	}
	if _, err := a.store("to", body.To); err != nil {
		return nil, err
	}
	sink, ok := a.Stores.Promotion(body.From, body.To)
	if !ok {
		return nil, fmt.Errorf("%w: from and to are the same store", conan.ErrInvalid)
	}
	source, err := of(c.Source, body.From)
	if err != nil {
		return nil, err
	}
	sel, err := body.Selection.Parse()
	if err != nil {
		return nil, err
	}
	o := transfer.Options{By: c.Actor, Dry: bool(body.DryRun), Allowed: c.mayWrite(body.To)}
	if c.Job != nil {
		o.Plan = func(moved []conan.Moved) error { return c.expect(report(false, moved, "copied")) }
	}
	moved, err := transfer.Copy(c.Context, source, sel, sink, o)
	if err != nil {
		return nil, err
	}
	return c.done(report(body.DryRun, moved, "copied")), nil
}

// inStore is a change in one store.
type inStore struct {
	In        string         `json:"in"`
	DryRun    dryRun         `json:"dry_run"`
	Selection selection.Spec `json:"selection"`
}

func (b inStore) check() error {
	_, err := b.Selection.Parse()
	return err
}

// remove moves revisions of a store to its trash, or removes them for good.
func (a *API) remove(c *Call) (any, error) {
	var body struct {
		inStore
		Now bool `json:"now"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	store, err := a.store("in", body.In)
	if err != nil {
		return nil, err
	}
	if body.Now {
		return a.erase(c, body.inStore, store)
	}
	source, err := of(c.Whole, body.In) // what is hidden can be removed
	if err != nil {
		return nil, err
	}
	revs, err := a.chosen(c, body.inStore, source)
	if err != nil {
		return nil, err
	}
	if body.DryRun {
		return report(true, asMoved(revs), "removed"), nil
	}
	if err := c.expect(report(false, asMoved(revs), "removed")); err != nil {
		return nil, err
	}
	if err := store.RemoveRevisions(c.Context, revs, c.Actor); err != nil {
		return nil, err
	}
	return c.done(report(false, asMoved(revs), "removed")), nil
}

// restore brings revisions back from a store's trash.
func (a *API) restore(c *Call) (any, error) {
	var body inStore
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	store, err := a.store("in", body.In)
	if err != nil {
		return nil, err
	}
	source, err := c.Readable(body.In, store.TrashSource())
	if err != nil {
		return nil, err
	}
	revs, err := a.chosen(c, body, source)
	if err != nil {
		return nil, err
	}
	if bool(body.DryRun) || c.Job != nil {
		planned, err := store.Restore(c.Context, revs, c.Actor, true)
		if err != nil || bool(body.DryRun) {
			return report(true, asMoved(planned), "restored"), err
		}
		if err := c.expect(report(false, asMoved(planned), "restored")); err != nil {
			return nil, err
		}
	}
	if revs, err = store.Restore(c.Context, revs, c.Actor, false); err != nil {
		return nil, err
	}
	return c.done(report(false, asMoved(revs), "restored")), nil
}

// chosen are the revisions that a change is about: all of them, as a removal means a selection. The
// caller needs the right to write them.
func (a *API) chosen(c *Call, body inStore, source conan.Source) ([]conan.Revision, error) {
	return resolve(c, body.Selection, source, selection.AsRemove, c.mayWrite(body.In))
}
