package api

import (
	"context"
	"fmt"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Feed is what changed in stores, in order.
type Feed interface {
	// FeedCursor is the newest cursor.
	FeedCursor(ctx context.Context) (string, error)
	// FeedAfter lists what came after a cursor; ErrGone if that is not known.
	FeedAfter(ctx context.Context, cursor string, limit int) ([]index.FeedLine, error)
	// FeedChanged returns a channel that is closed when there are more lines.
	FeedChanged() <-chan struct{}
}

// ErrGone is the refusal of a cursor that is not known: status 410.
var ErrGone = index.ErrFeedGone

// ChangeLine is one change of a store, or one hide that begins or ends.
type ChangeLine struct {
	Cursor   string             `json:"cursor"`
	Time     time.Time          `json:"time"`
	Member   string             `json:"member"` // of a hide: empty is all
	View     string             `json:"view"`   // of a hide: empty is all
	Revision string             `json:"revision"`
	Action   index.FeedAction   `json:"action"`
	Files    []index.FileChange `json:"files,omitempty"`
}

// Changes is a part of the feed. What comes after Cursor is not in it. If it has no lines but
// another cursor than the one that was asked for, there may be more at once.
type Changes struct {
	Lines  []ChangeLine `json:"lines"`
	Cursor string       `json:"cursor"`
}

// longestWait is how long a request can wait for changes: less than what lies between client and
// server usually waits for an answer.
const longestWait = 30 * time.Second

// changes lists what changed after a cursor, as far as the caller may read it, and waits for it if
// the caller asks for that. Without a cursor it answers the newest one.
func (a *API) changes(c *Call) (any, error) {
	wait, err := c.wait()
	if err != nil {
		return nil, err
	}
	limit, err := c.number("limit", usualPage, 1, mostPage)
	if err != nil {
		return nil, err
	}
	after := c.Query.Get("after")
	if after == "" {
		cursor, err := a.Feed.FeedCursor(c.Context)
		return Changes{Lines: []ChangeLine{}, Cursor: cursor}, err
	}
	if wait == 0 {
		page, _, err := a.changesAfter(c, after, int(limit))
		return page, err
	}
	leave, err := a.waiting.enter(c.Caller.Name)
	if err != nil {
		return nil, err
	}
	defer leave()
	return a.awaitChanges(c, after, int(limit), wait)
}

// wait is the query argument of that name.
func (c *Call) wait() (time.Duration, error) {
	text := c.Query.Get("wait")
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 || wait > longestWait {
		return 0, fmt.Errorf("%w: wait is no time from 0s to %s, like 25s", conan.ErrInvalid, longestWait)
	}
	return wait, nil
}

// awaitChanges is changesAfter that waits until there is a line. The rights are those of the moment
// in which the lines are read.
func (a *API) awaitChanges(c *Call, after string, limit int, wait time.Duration) (Changes, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		changed := a.Feed.FeedChanged()
		page, more, err := a.changesAfter(c, after, limit)
		if err != nil || more || len(page.Lines) > 0 {
			return page, err
		}
		after = page.Cursor
		select {
		case <-changed:
		case <-timer.C:
			return page, nil
		case <-a.Drain:
			return page, nil
		case <-c.Context.Done():
			return page, c.Context.Err()
		}
		if c, err = c.Renew(); err != nil {
			return page, err
		}
	}
}

// mostLooks bounds how many pages of the feed one answer looks through for lines that the caller
// may read.
const mostLooks = 10

// changesAfter lists up to limit lines that the caller may read, and reads on over others. more
// tells that it stopped before the end of the feed.
func (a *API) changesAfter(c *Call, after string, limit int) (page Changes, more bool, err error) {
	page = Changes{Lines: []ChangeLine{}, Cursor: after}
	for range mostLooks {
		rows, err := a.Feed.FeedAfter(c.Context, page.Cursor, mostPage)
		if err != nil {
			return page, false, err
		}
		for _, row := range rows {
			page.Cursor = row.Cursor
			if c.maySee(row) {
				page.Lines = append(page.Lines, changeLine(row))
			}
			if len(page.Lines) == limit {
				return page, true, nil
			}
		}
		if len(rows) < mostPage {
			return page, false, nil
		}
	}
	return page, true, nil
}

// maySee tells whether the caller may read the reference where the change was. A member that is no
// longer configured has no changes.
func (c *Call) maySee(l index.FeedLine) bool {
	if l.Member == "" {
		return c.ReadsSomewhere(l.Ref)
	}
	return c.IsMember(l.Member) && c.Guard.MayRead(c.Caller, l.Member, l.Ref)
}

func changeLine(l index.FeedLine) ChangeLine {
	return ChangeLine{l.Cursor, l.Time, l.Member, l.View, l.Revision.String(), l.Action, l.Files}
}
