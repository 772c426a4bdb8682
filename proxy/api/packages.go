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
	Reason   string `json:"reason,omitempty"` // why it failed or was kept, why retention removed it, or would have kept what was removed by hand

	Elsewhere []Elsewhere `json:"elsewhere,omitempty"` // of a revision that was removed for good

	revision conan.Revision
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

func report(dry bool, moved []conan.Moved, outcome string) Report {
	r := Report{DryRun: dry, Revisions: []RevisionDone{}}
	for _, m := range moved {
		done := RevisionDone{revision: m.Revision, Revision: m.Revision.String(), Outcome: outcome, Newest: m.Newest, Reason: m.Problem}
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

// because adds to what was removed why retention would have kept it.
func (r Report) because(keeps func(conan.Revision) (string, bool)) Report {
	for i := range r.Revisions {
		if reason, kept := keeps(r.Revisions[i].revision); kept {
			r.Revisions[i].Reason = reason
		}
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
	o := transfer.Options{By: c.Actor, Allowed: c.mayWrite(body.To)}
	return c.oneChange(body.DryRun, func(dry bool) (Report, error) {
		o.Dry = dry
		moved, err := transfer.Copy(c.Context, source, sel, sink, o)
		return report(dry, moved, "copied"), err
	})
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
	reasons := a.Stores.Keeps(body.In)
	return c.oneChange(body.DryRun, func(dry bool) (Report, error) {
		removed, err := store.RemoveRevisions(c.Context, revs, c.Actor, dry)
		return report(dry, asMoved(removed), "removed").because(reasons), err
	})
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
	return c.oneChange(body.DryRun, func(dry bool) (Report, error) {
		restored, err := store.Restore(c.Context, revs, c.Actor, dry)
		return report(dry, asMoved(restored), "restored"), err
	})
}

// oneChange makes the one change of a call, or in a dry run only tells what it would do. The job
// that the call runs as is told that first.
func (c *Call) oneChange(dry dryRun, change func(dry bool) (Report, error)) (any, error) {
	if bool(dry) || c.Job != nil {
		plan, err := change(true)
		if err != nil || bool(dry) {
			return plan, err
		}
		plan.DryRun = false
		if err := c.expect(plan); err != nil {
			return nil, err
		}
	}
	r, err := change(false)
	if err != nil {
		return nil, err
	}
	return c.done(r), nil
}

// chosen are the revisions that a change is about: all of them, as a removal means a selection. The
// caller needs the right to write them.
func (a *API) chosen(c *Call, body inStore, source conan.Source) ([]conan.Revision, error) {
	return resolve(c, body.Selection, source, selection.AsRemove, c.mayWrite(body.In))
}
