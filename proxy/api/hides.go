package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/selection"
)

// Hides are the revisions out of sight.
type Hides interface {
	// Hides lists them, the oldest first.
	Hides(ctx context.Context) ([]index.Hide, error)
	// Hide hides revisions, all or nothing, for every request that begins after it.
	Hide(ctx context.Context, hides []index.Hide, by conan.Actor) error
	// Unhide ends hides, all or nothing; conan.ErrNotFound if one is not there.
	Unhide(ctx context.Context, hides []index.Hide, by conan.Actor) error
}

// maxReason bounds the sentence that clients are shown.
const maxReason = 300

// hide takes revisions out of sight: of a member or of all, in a view or in all. In one store the
// caller needs the right to write, everywhere else to be an administrator.
func (a *API) hide(c *Call) (any, error) {
	var body struct {
		inStore
		View   string `json:"view"`
		Reason string `json:"reason"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	reason := strings.Join(strings.Fields(body.Reason), " ")
	if reason == "" || len(reason) > maxReason {
		return nil, fmt.Errorf("%w: \"reason\" is missing or longer than %d bytes: a sentence that clients are shown", conan.ErrInvalid, maxReason)
	}
	source, err := c.hideSource(body.In, body.View)
	if err != nil {
		return nil, err
	}
	revs, err := resolve(c, body.Selection, source, selection.AsHide, a.mayHide(c, body.In))
	if err != nil {
		return nil, err
	}
	revs = withoutCovered(revs)
	if !body.DryRun {
		hides := make([]index.Hide, len(revs))
		for i, rev := range revs {
			hides[i] = index.Hide{Member: body.In, View: body.View, Revision: rev, Reason: reason}
		}
		if err := a.Hides.Hide(c.Context, hides, c.Actor); err != nil {
			return nil, err
		}
	}
	return report(bool(body.DryRun), asMoved(revs), "hidden"), nil
}

// hideSource is where a selection of revisions to be hidden is looked up: in the member, else in
// the view, else in the view at the root. Hidden ones are in it, so that a call that is repeated
// hides the same. Both names must be known.
func (c *Call) hideSource(member, view string) (conan.Source, error) {
	if member != "" && !c.IsMember(member) {
		return nil, fmt.Errorf("%w: there is no store or upstream %.64q", conan.ErrInvalid, member)
	}
	source, ok := c.Whole("")
	for _, name := range []string{view, member} {
		if name == "" {
			continue
		}
		if source, ok = c.Whole(name); !ok {
			return nil, fmt.Errorf("%w: there is no view %.64q", conan.ErrInvalid, name)
		}
	}
	if !ok {
		return nil, fmt.Errorf("%w: there is no view at the root: name a member or a view", conan.ErrInvalid)
	}
	return source, nil
}

// mayHide tells whether the caller may hide and unhide a reference in a member.
func (a *API) mayHide(c *Call, member string) func(conan.Ref) error {
	if _, isStore := a.Stores.Store(member); isStore {
		return c.mayWrite(member)
	}
	return func(conan.Ref) error { return c.requireAdmin() }
}

// withoutCovered leaves out packages whose recipe revision is in the list: what is done to it is
// done to them.
func withoutCovered(revs []conan.Revision) []conan.Revision {
	recipes := make(map[conan.Revision]bool)
	for _, rev := range revs {
		recipes[rev] = !rev.IsPackage()
	}
	return slices.DeleteFunc(revs, func(rev conan.Revision) bool { return rev.IsPackage() && recipes[rev.Recipe()] })
}

// unhide ends hides.
func (a *API) unhide(c *Call) (any, error) {
	var body struct {
		IDs []int64 `json:"ids"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	slices.Sort(body.IDs)
	body.IDs = slices.Compact(body.IDs)
	if n := len(body.IDs); n == 0 || n > mostPage {
		return nil, fmt.Errorf("%w: \"ids\" has %d numbers; it takes 1 to %d", conan.ErrInvalid, n, mostPage)
	}
	hides, err := a.hidesOf(c)
	if err != nil {
		return nil, err
	}
	var chosen []index.Hide
	var revs []conan.Revision
	for _, id := range body.IDs {
		i := slices.IndexFunc(hides, func(h index.Hide) bool { return h.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("a hide %d that you may end: %w", id, conan.ErrNotFound)
		}
		chosen, revs = append(chosen, hides[i]), append(revs, hides[i].Revision)
	}
	if err := a.Hides.Unhide(c.Context, chosen, c.Actor); err != nil {
		return nil, err
	}
	return report(false, asMoved(revs), "shown"), nil
}

// hidesOf are the hides that the caller may end.
func (a *API) hidesOf(c *Call) ([]index.Hide, error) {
	rows, err := a.Hides.Hides(c.Context)
	return slices.DeleteFunc(rows, func(h index.Hide) bool {
		unreadable := h.Member != "" && !c.Guard.MayRead(c.Caller, h.Member, h.Ref)
		return unreadable || a.mayHide(c, h.Member)(h.Ref) != nil
	}), err
}

// HideLine is one hide.
type HideLine struct {
	ID       int64     `json:"id"`
	Revision string    `json:"revision"`
	Member   string    `json:"member"` // empty: all
	View     string    `json:"view"`   // empty: all
	Reason   string    `json:"reason"`
	By       string    `json:"by"`
	Time     time.Time `json:"time"`
}

// hides lists what the caller may unhide.
func (a *API) hides(c *Call) (any, error) {
	rows, err := a.hidesOf(c)
	if err != nil {
		return nil, err
	}
	page := Page[HideLine]{Lines: []HideLine{}}
	for _, h := range rows {
		page.Lines = append(page.Lines, HideLine{h.ID, h.Revision.String(), h.Member, h.View, h.Reason, h.By, h.Time})
	}
	return page, nil
}
