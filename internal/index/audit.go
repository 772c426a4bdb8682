package index

import (
	"context"
	"fmt"
	"time"
)

// Audit is one line of the audit trail.
type Audit struct {
	User, Action, Target string
}

func writeAudit(ctx context.Context, tx *transaction, a Audit, now time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO audit (time, usr, action, target) VALUES ($1, $2, $3, $4)`,
		now.UnixMicro(), a.User, a.Action, a.Target)
	if err != nil {
		return fmt.Errorf("write audit line: %w", err)
	}
	return nil
}
