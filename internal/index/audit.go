package index

import (
	"context"
	"fmt"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// Audit is one line of the audit trail: who did what to what, and what came of it.
type Audit struct {
	By      conan.Actor
	Action  string // "publish", "remove", …
	Member  string // the store or upstream; empty if the action is about none
	Target  string
	Outcome string // empty: it was done
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

// AuditDone is the outcome of what was done.
const AuditDone = "done"

func writeAudit(ctx context.Context, tx *transaction, a Audit, now time.Time) error {
	if a.Outcome == "" {
		a.Outcome = AuditDone
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO audit (time, usr, address, action, member, target, outcome) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		now.UnixMicro(), a.By.Name, a.By.Address, a.Action, a.Member, a.Target, a.Outcome)
	if err != nil {
		return fmt.Errorf("write audit line: %w", err)
	}
	return nil
}

// WriteAudit records a line by itself: of a change that touches no other row, or of one that was
// refused.
func (db *DB) WriteAudit(ctx context.Context, a Audit, now time.Time) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error { return writeAudit(ctx, tx, a, now) })
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
	Action       string
	Before       int64 // an ID: only older lines
	Limit        int   // at most so many; required
}

// AuditLines lists lines, the newest first.
func (db *DB) AuditLines(ctx context.Context, f AuditFilter) ([]AuditLine, error) {
	until, before := int64(neverCold), int64(neverCold)
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
		err = r.Scan(&l.ID, &micros, &l.By.Name, &l.By.Address, &l.Action, &l.Member, &l.Target, &l.Outcome)
		l.Time = time.UnixMicro(micros).UTC()
		return l, err
	}, `SELECT id, time, usr, address, action, member, target, outcome FROM audit
		WHERE id < $1 AND time >= $2 AND time < $3 AND ($4 = '' OR usr = $4) AND ($5 = '' OR action = $5) ORDER BY id DESC LIMIT $6`,
		before, since, until, f.User, f.Action, f.Limit)
}

// SweepAudit removes lines that are older than before, and returns how many.
func (db *DB) SweepAudit(ctx context.Context, before time.Time) (removed int64, err error) {
	err = db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		result, err := tx.ExecContext(ctx, `DELETE FROM audit WHERE time < $1`, before.UnixMicro())
		if err != nil {
			return fmt.Errorf("sweep the audit: %w", err)
		}
		removed, err = result.RowsAffected()
		return err
	})
	return removed, err
}
