package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"conanproxy/internal/conan"
	"conanproxy/internal/selection"
)

// Members are the stores and upstreams in force.
type Members interface {
	// Member finds a store or upstream by its name.
	Member(name string) (Member, bool)
	// Upstream finds an upstream by its name.
	Upstream(name string) (Upstream, bool)
}

// Upstream is what the API changes of an upstream.
type Upstream interface {
	// Purge forgets what the upstream said and sent.
	Purge(ctx context.Context, p Purge) (PurgeReport, error)
}

// Purge says what is forgotten.
type Purge struct {
	Matches func(conan.Ref) bool // about which references; nil: everything
	Pinned  bool                 // what is pinned too
	Dry     bool
	By      conan.Actor
	Target  string // what Matches means, for the audit
}

// PurgeReport counts what was forgotten, or would be.
type PurgeReport struct {
	DryRun    bool  `json:"dry_run"`
	Revisions int   `json:"revisions"` // that something was stored of
	Bytes     int64 `json:"bytes"`     // of their files, as far as nothing else has the same
	Answers   int   `json:"answers"`   // remembered ones, "not found" among them
	Kept      int   `json:"kept"`      // revisions that stayed because they are pinned
}

// purge forgets what an upstream said and sent, for administrators.
func (a *API) purge(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
	}
	var body struct {
		In         string          `json:"in"`
		Selection  *selection.Spec `json:"selection"`
		Everything bool            `json:"everything"`
		Pinned     bool            `json:"pinned"`
		DryRun     bool            `json:"dry_run"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	upstream, ok := a.Members.Upstream(body.In)
	if !ok {
		return nil, fmt.Errorf("%w: there is no upstream %.64q", conan.ErrInvalid, body.In)
	}
	if body.Everything == (body.Selection != nil) {
		return nil, fmt.Errorf("%w: give either a selection or \"everything\": true", conan.ErrInvalid)
	}
	p := Purge{Pinned: body.Pinned, Dry: body.DryRun, By: c.Actor, Target: "everything"}
	if body.Selection != nil {
		sel, err := body.Selection.Parse()
		if err != nil {
			return nil, err
		}
		if p.Matches, err = sel.References(); err != nil {
			return nil, err
		}
		p.Target = targetOf(*body.Selection)
	}
	return upstream.Purge(c.Context, p)
}

// targetOf names a selection of references in the audit.
func targetOf(s selection.Spec) string {
	const most = 20
	parts := s.Patterns[:min(most, len(s.Patterns))]
	if more := len(s.Patterns) - most; more > 0 {
		parts = append(parts[:most:most], fmt.Sprintf("and %d more", more))
	}
	for _, file := range []struct {
		name string
		text json.RawMessage
	}{{"a list", s.List}, {"a graph", s.Graph}, {"a lockfile", s.Lockfile}} {
		if len(file.text) > 0 {
			parts = append(parts[:len(parts):len(parts)], "the references of "+file.name)
		}
	}
	return strings.Join(parts, ", ")
}
