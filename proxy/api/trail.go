package api

import (
	"fmt"
	"math"
	"slices"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Page is a part of a list. Next is the argument "before" of the next one; 0: there is none.
type Page[T any] struct {
	Lines []T   `json:"lines"`
	Next  int64 `json:"next"`
}

// The bounds of a page of a list.
const (
	usualPage = 100
	mostPage  = 1000
)

// page are the query arguments of a list: an ID below which it begins, and how many lines it has.
func (c *Call) page() (before int64, limit int, err error) {
	if before, err = c.number("before", 0, 1, math.MaxInt64); err != nil {
		return 0, 0, err
	}
	n, err := c.number("limit", usualPage, 1, mostPage)
	return before, int(n), err
}

// TrashLine is one removed revision.
type TrashLine struct {
	ID        int64     `json:"id"`
	Revision  string    `json:"revision"`
	Published time.Time `json:"published"`
	Removed   time.Time `json:"removed"`
	By        string    `json:"by"`
	Bytes     int64     `json:"bytes"`
}

// trash lists what can be restored in a store, of the references that the caller may read and write
// there.
func (a *API) trash(c *Call) (any, error) {
	name := c.Query.Get("in")
	store, err := a.store("in", name)
	if err != nil {
		return nil, err
	}
	before, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	rows, err := store.Trash(c.Context, before, limit)
	if err != nil {
		return nil, err
	}
	page := Page[TrashLine]{Lines: []TrashLine{}}
	for _, row := range rows {
		if c.Guard.MayRead(c.Caller, name, row.Ref) && c.Guard.MayWrite(c.Caller, name, row.Ref) == nil {
			page.Lines = append(page.Lines, TrashLine{row.ID, row.Revision.String(), row.Time, row.Removed, row.By, row.Bytes})
		}
	}
	if len(rows) == limit {
		page.Next = rows[limit-1].ID
	}
	return page, nil
}

// AuditLine is one change.
type AuditLine struct {
	ID      int64     `json:"id"`
	Time    time.Time `json:"time"`
	User    string    `json:"user"` // empty: anonymous
	Address string    `json:"address"`
	Action  string    `json:"action"`
	Member  string    `json:"member"`
	Target  string    `json:"target"`
}

// audit lists changes, the newest first, for administrators.
func (a *API) audit(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
	}
	f := index.AuditFilter{User: c.Query.Get("user"), Action: index.Action(c.Query.Get("action"))}
	if f.Action != "" && !slices.Contains(index.Actions, f.Action) {
		return nil, fmt.Errorf("%w: action is none of %q", conan.ErrInvalid, index.Actions)
	}
	var err error
	if f.Since, err = c.moment("since"); err != nil {
		return nil, err
	}
	if f.Until, err = c.moment("until"); err != nil {
		return nil, err
	}
	if f.Before, f.Limit, err = c.page(); err != nil {
		return nil, err
	}
	rows, err := a.Audit.AuditLines(c.Context, f)
	if err != nil {
		return nil, err
	}
	page := Page[AuditLine]{Lines: []AuditLine{}}
	for _, l := range rows {
		page.Lines = append(page.Lines, AuditLine{l.ID, l.Time, l.By.Name, l.By.Address, string(l.Action), l.Member, l.Target})
	}
	if len(rows) == f.Limit {
		page.Next = rows[f.Limit-1].ID
	}
	return page, nil
}
