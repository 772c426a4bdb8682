package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/signal"
)

// FeedAction says what became of a revision.
type FeedAction string

// The actions of the feed.
const (
	FeedPublished   FeedAction = "published"   // also again, with a new time, and with more files
	FeedOverwritten FeedAction = "overwritten" // files of it have other bytes or are gone
	FeedPromoted    FeedAction = "promoted"
	FeedRemoved     FeedAction = "removed"
	FeedRestored    FeedAction = "restored"
	FeedHidden      FeedAction = "hidden"
	FeedShown       FeedAction = "shown"
)

// FeedActions are all of them.
var FeedActions = []FeedAction{
	FeedPublished, FeedOverwritten, FeedPromoted, FeedRemoved, FeedRestored, FeedHidden, FeedShown,
}

// FeedLine is one change of a store, or one hide that begins or ends.
type FeedLine struct {
	Cursor string // FeedAfter lists what came after it
	Time   time.Time
	Member string // the store; of a hide the store or upstream, empty: all
	View   string // of a hide; empty: all
	conan.Revision
	Action FeedAction
	Files  []FileChange // what changed of a revision that was there before
}

// FileChange is a file with its sha256 before and after a change; empty: it was or is not there.
type FileChange struct {
	Name string `json:"name"`
	Was  string `json:"was"`
	Now  string `json:"now"`
}

// ErrFeedGone is returned for a cursor that is too old, or of another history.
var ErrFeedGone = errors.New("the feed does not know this cursor: it is too old, of another server, or from before a backup was restored; " +
	"read everything again and begin with the newest cursor")

// feed is what readers of the feed share.
type feed struct {
	newest  atomic.Int64 // the last row that readers get: remembered answers no longer contradict it
	changed signal.Signal
}

// told is what the feed will say of a change; see transaction.tell.
type told struct {
	action FeedAction
	files  []FileChange
}

// tell says what the write that runs does to a revision of a store. The last word counts.
func (t *transaction) tell(member MemberID, rev conan.Revision, action FeedAction, files ...FileChange) {
	if t.told == nil {
		t.told = make(map[change]told)
	}
	t.told[change{member, rev}] = told{action, files}
}

// tellFiles says that files of a revision that was there were replaced, added or taken away.
func (t *transaction) tellFiles(member MemberID, rev conan.Revision, files []FileChange) {
	action := FeedPublished
	for _, f := range files {
		if f.Was != "" {
			action = FeedOverwritten
		}
	}
	t.tell(member, rev, action, files...)
}

// feedChange writes the line of a changed revision of a store. There is none if nothing was told,
// so that readers would see no difference.
func feedChange(ctx context.Context, tx *transaction, m Member, rev conan.Revision, there bool, now time.Time) error {
	said, isTold := tx.told[change{m.ID, rev}]
	if !isTold || there == (said.action == FeedRemoved) {
		return nil
	}
	return writeFeed(ctx, tx, FeedLine{Time: now, Member: m.Name, Revision: rev, Action: said.action, Files: said.files})
}

func writeFeed(ctx context.Context, tx *transaction, l FeedLine) error {
	files := ""
	if len(l.Files) > 0 {
		text, err := json.Marshal(l.Files)
		if err != nil {
			return fmt.Errorf("feed %s: %w", l.Revision, err)
		}
		files = string(text)
	}
	err := tx.QueryRowContext(ctx, `INSERT INTO feed (time, member, view, ref, rrev, package_id, prev, action, files)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING seq`,
		l.Time.UnixMicro(), l.Member, l.View, l.Ref.String(), l.RRev, l.PackageID, l.PRev, l.Action, files).Scan(&tx.fed)
	if err != nil {
		return fmt.Errorf("feed %s: %w", l.Revision, err)
	}
	return nil
}

// showFeed gives readers every line up to seq.
func (db *DB) showFeed(seq int64) {
	if seq > db.feed.newest.Load() {
		db.feed.newest.Store(seq)
		db.feed.changed.Raise()
	}
}

// FeedChanged returns a channel that is closed when there are more lines. Take it before you read.
func (db *DB) FeedChanged() <-chan struct{} { return db.feed.changed.Next() }

// FeedCursor returns the newest cursor: what comes after it has not happened yet.
func (db *DB) FeedCursor(ctx context.Context) (string, error) {
	var mark int64
	err := db.read.QueryRowContext(ctx, `SELECT mark FROM feed WHERE seq <= $1 ORDER BY seq DESC LIMIT 1`, db.feed.newest.Load()).Scan(&mark)
	if err != nil {
		return "", fmt.Errorf("read the newest cursor of the feed: %w", err)
	}
	return cursorOf(mark), nil
}

// FeedAfter lists up to limit lines that came after a cursor, the oldest first. A cursor that is
// not known, or whose row was swept, is ErrFeedGone: lines may be missing.
func (db *DB) FeedAfter(ctx context.Context, cursor string, limit int) ([]FeedLine, error) {
	mark, err := strconv.ParseUint(cursor, 16, 64)
	if err != nil || cursorOf(int64(mark)) != cursor {
		return nil, ErrFeedGone
	}
	lines, err := collect(ctx, db.read, "read the feed", scanFeed,
		`SELECT mark, time, member, view, ref, rrev, package_id, prev, action, files FROM feed
		WHERE seq >= (SELECT seq FROM feed WHERE mark = $1) AND seq <= $2 ORDER BY seq LIMIT $3`,
		int64(mark), db.feed.newest.Load(), limit+1)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, ErrFeedGone
	}
	return lines[1:], nil // the first is that of the cursor
}

func scanFeed(r scanner) (l FeedLine, err error) {
	var mark, micros int64
	var ref, files string
	if err := r.Scan(&mark, &micros, &l.Member, &l.View, &ref, &l.RRev, &l.PackageID, &l.PRev, &l.Action, &files); err != nil {
		return l, err
	}
	l.Cursor, l.Time = cursorOf(mark), time.UnixMicro(micros).UTC()
	if ref == "" { // the row with which the feed begins
		return l, nil
	}
	if l.Ref, err = conan.ParseRef(ref); err != nil || files == "" {
		return l, err
	}
	return l, json.Unmarshal([]byte(files), &l.Files)
}

func cursorOf(mark int64) string { return fmt.Sprintf("%016x", uint64(mark)) }

// MostFeed is how many lines SweepFeed keeps.
const MostFeed = 100_000

// SweepFeed removes lines that are older than before, and all but the newest MostFeed. The newest
// one stays.
func (db *DB) SweepFeed(ctx context.Context, before time.Time) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		newest := db.feed.newest.Load()
		if _, err := tx.ExecContext(ctx, `DELETE FROM feed WHERE seq < $1 AND (seq <= $2 OR time < $3)`,
			newest, newest-MostFeed, before.UnixMicro()); err != nil {
			return fmt.Errorf("sweep the feed: %w", err)
		}
		return nil
	})
}
