package index

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// Action is what was done.
type Action string

// The actions.
const (
	ActionPublish     Action = "publish"
	ActionOverwrite   Action = "overwrite"
	ActionRemove      Action = "remove"
	ActionRemoveFiles Action = "remove_files"
	ActionRemoveNow   Action = "remove_now"
	ActionRestore     Action = "restore"
	ActionPromote     Action = "promote"
	ActionHide        Action = "hide"
	ActionUnhide      Action = "unhide"
	ActionRetention   Action = "retention"
	ActionPin         Action = "pin"
	ActionUnpin       Action = "unpin"
	ActionPurge       Action = "purge"
	ActionImport      Action = "import"
	ActionBundle      Action = "bundle" // was created
	ActionTokenCreate Action = "token_create"
	ActionTokenRevoke Action = "token_revoke"
	ActionJobStart    Action = "job_start"
	ActionJobCancel   Action = "job_cancel"
)

// Actions are all of them.
var Actions = []Action{
	ActionPublish, ActionOverwrite, ActionRemove, ActionRemoveFiles, ActionRemoveNow, ActionRestore, ActionPromote,
	ActionHide, ActionUnhide, ActionRetention, ActionPin, ActionUnpin, ActionPurge, ActionImport, ActionBundle,
	ActionTokenCreate, ActionTokenRevoke, ActionJobStart, ActionJobCancel,
}

// Audit is one line of the audit trail: who did what to what.
type Audit struct {
	By     conan.Actor
	Action Action
	Member string // the store or upstream; empty if the action is about none
	Target string
}

// Targets is the target of a change of many revisions: the first of them and how many more there
// are.
func Targets(revs []conan.Revision) string {
	const most = 20
	var texts []string
	for _, rev := range revs[:min(most, len(revs))] {
		texts = append(texts, rev.String())
	}
	if more := len(revs) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// WriteAudit writes a line about what changes no row.
func (db *DB) WriteAudit(ctx context.Context, a Audit, now time.Time) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error { return writeAudit(ctx, tx, a, now) })
}

// writeAudit writes the line of a change. If a job makes the change and no longer is the runner's,
// it is ErrJobLost, so that the change is undone.
func writeAudit(ctx context.Context, tx *transaction, a Audit, now time.Time) error {
	if c := a.By.Claim; c.Job != 0 {
		if err := claimed(ctx, tx, `changes = changes + 1`, c); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO audit (time, usr, address, action, member, target) VALUES ($1, $2, $3, $4, $5, $6)`,
		now.UnixMicro(), a.By.Name, a.By.Address, a.Action, a.Member, a.Target)
	if err != nil {
		return fmt.Errorf("write audit line: %w", err)
	}
	return nil
}

// AuditLine is a line that was written.
type AuditLine struct {
	ID   int64
	Time time.Time
	Audit
}

// AuditFilter selects lines; zero values select all.
type AuditFilter struct {
	Since, Until time.Time // Until is exclusive
	User         string
	Action       Action // empty: all
	Before       int64  // an ID: only older lines
	Limit        int    // at most so many; required
}

// AuditLines lists lines, the newest first.
func (db *DB) AuditLines(ctx context.Context, f AuditFilter) ([]AuditLine, error) {
	until, before := int64(math.MaxInt64), int64(math.MaxInt64)
	if !f.Until.IsZero() {
		until = f.Until.UnixMicro()
	}
	if f.Before > 0 {
		before = f.Before
	}
	var since int64
	if !f.Since.IsZero() {
		since = f.Since.UnixMicro()
	}
	return collect(ctx, db.read, "read the audit", func(r scanner) (l AuditLine, err error) {
		var micros int64
		err = r.Scan(&l.ID, &micros, &l.By.Name, &l.By.Address, &l.Action, &l.Member, &l.Target)
		l.Time = time.UnixMicro(micros).UTC()
		return l, err
	}, `SELECT id, time, usr, address, action, member, target FROM audit
		WHERE id < $1 AND time >= $2 AND time < $3 AND ($4 = '' OR usr = $4) AND ($5 = '' OR action = $5) ORDER BY id DESC LIMIT $6`,
		before, since, until, f.User, f.Action, f.Limit)
}

// SweepAudit removes the lines that are older than before.
func (db *DB) SweepAudit(ctx context.Context, before time.Time) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM audit WHERE time < $1`, before.UnixMicro()); err != nil {
			return fmt.Errorf("sweep the audit: %w", err)
		}
		return nil
	})
}
