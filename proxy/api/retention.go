package api

import (
	"fmt"

	"conanproxy/internal/conan"
)

// retained is what a run is asked for.
type retained struct {
	In     string `json:"in"`
	DryRun dryRun `json:"dry_run"`
}

func (b retained) check() error {
	if b.In == "" {
		return fmt.Errorf("%w: \"in\" is missing: the name of a store", conan.ErrInvalid)
	}
	return nil
}

// retention removes what a store no longer needs by its rules, for administrators.
func (a *API) retention(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
	}
	var body retained
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if _, err := a.store("in", body.In); err != nil {
		return nil, err
	}
	decisions, err := a.Stores.Retain(c.Context, body.In, c.Actor, bool(body.DryRun))
	if err != nil {
		return nil, err
	}
	r := Report{DryRun: bool(body.DryRun), Revisions: []RevisionDone{}}
	for _, d := range decisions {
		done := RevisionDone{Revision: d.Revision.String(), Outcome: "kept", Reason: d.Reason}
		if d.Goes {
			done.Outcome = "removed"
		}
		r.Revisions = append(r.Revisions, done)
	}
	return c.done(r), nil
}
