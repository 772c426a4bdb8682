package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"conanproxy/internal/conan"
)

// JobState is how far a job is.
type JobState string

// The states of a job. The last three are its end.
const (
	JobWaiting   JobState = "waiting"
	JobRunning   JobState = "running"
	JobDone      JobState = "done"
	JobFailed    JobState = "failed"
	JobCancelled JobState = "cancelled"
)

// JobStates are all of them.
var JobStates = []JobState{JobWaiting, JobRunning, JobDone, JobFailed, JobCancelled}

// Job is a call of the API that runs in the background.
type Job struct {
	ID        int64
	Call      string // the path of the call below /api/v1/
	Owner     string // who started it: a user or a robot token
	Login     string // the state of the owner's login
	Address   string
	Arguments json.RawMessage // the body of the call; not in lists
	State     JobState
	Progress  json.RawMessage // nil: none yet
	Fence     int64           // how often it was claimed
	Changes   int64           // how many audited changes it has made
	Created   time.Time
	Started   time.Time // zero: not yet
	Ended     time.Time // zero: not yet
	Error     string
	Result    json.RawMessage // what the call answered; not in lists
}

// Ended tells whether no more can happen to a job.
func (s JobState) Ended() bool { return s == JobDone || s == JobFailed || s == JobCancelled }

// Claim names the job and who runs it. Every write for the job takes it.
func (j Job) Claim() conan.Claim { return conan.Claim{Job: j.ID, Fence: j.Fence} }

// ErrJobLost is returned for a write by a runner whose job was cancelled or claimed by another one.
var ErrJobLost = errors.New("the job was cancelled, or another runner has it")

// ErrTooMany is returned if more wait than may.
var ErrTooMany = errors.New("too many wait already")

// Bounds of waiting jobs.
const (
	MostJobs   = 1000
	MostJobsOf = 100 // of one owner
)

// CreateJob adds a job that waits, and the line of the audit, and returns it with its ID.
func (db *DB) CreateJob(ctx context.Context, j Job, now time.Time) (Job, error) {
	j.State, j.Created = JobWaiting, now.UTC().Truncate(time.Microsecond)
	err := db.update(ctx, func(ctx context.Context, tx *transaction) error {
		var all, own int
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*), COUNT(CASE owner WHEN $1 THEN 1 END) FROM jobs WHERE state = 'waiting'`, j.Owner).Scan(&all, &own)
		if err != nil {
			return fmt.Errorf("count jobs: %w", err)
		}
		if all >= MostJobs || own >= MostJobsOf {
			return fmt.Errorf("%w: at most %d jobs may wait, %d of one owner", ErrTooMany, MostJobs, MostJobsOf)
		}
		err = tx.QueryRowContext(ctx, `INSERT INTO jobs (call, owner, login, address, arguments, state, created)
			VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id`,
			j.Call, j.Owner, j.Login, j.Address, string(j.Arguments), j.State, j.Created.UnixMicro()).Scan(&j.ID)
		if err != nil {
			return fmt.Errorf("write a job: %w", err)
		}
		by := conan.Actor{Name: j.Owner, Address: j.Address}
		return writeAudit(ctx, tx, Audit{By: by, Action: ActionJobStart, Target: fmt.Sprintf("%d %s", j.ID, j.Call)}, now)
	})
	return j, err
}

// RequeueJobs has every running job wait: those of a process that has ended are claimed again. Call
// it before jobs are claimed.
func (db *DB) RequeueJobs(ctx context.Context) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `UPDATE jobs SET state = 'waiting' WHERE state = 'running'`); err != nil {
			return fmt.Errorf("requeue jobs: %w", err)
		}
		return nil
	})
}

// ClaimJob makes the oldest waiting job a running one of the caller. It is conan.ErrNotFound if
// none waits.
func (db *DB) ClaimJob(ctx context.Context, now time.Time) (j Job, err error) {
	err = db.update(ctx, func(ctx context.Context, tx *transaction) error {
		j, err = scanJob(tx.QueryRowContext(ctx, `UPDATE jobs SET state = 'running', fence = fence + 1,
			started = CASE started WHEN 0 THEN $1 ELSE started END
			WHERE id = (SELECT id FROM jobs WHERE state = 'waiting' ORDER BY id LIMIT 1)
			RETURNING `+jobColumns+jobTexts, now.UnixMicro()))
		return notAJob(err)
	})
	return j, err
}

// ReleaseJob has a running job wait, to be claimed again.
func (db *DB) ReleaseJob(ctx context.Context, c conan.Claim) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		return claimed(ctx, tx, `state = 'waiting'`, c)
	})
}

// JobProgress records how far a job is, as JSON.
func (db *DB) JobProgress(ctx context.Context, c conan.Claim, progress json.RawMessage) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		return claimed(ctx, tx, `progress = $3`, c, string(progress))
	})
}

// ExpectJobResult records what a job will have answered once its change is made, for a process that
// ends right after the change.
func (db *DB) ExpectJobResult(ctx context.Context, c conan.Claim, result json.RawMessage) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		return claimed(ctx, tx, `result = $3`, c, string(result))
	})
}

// EndJob records that a job is done with a result, or failed because of what failure says.
func (db *DB) EndJob(ctx context.Context, c conan.Claim, result json.RawMessage, failure string, now time.Time) error {
	state := JobDone
	if failure != "" {
		state, result = JobFailed, nil
	}
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		return claimed(ctx, tx, `state = $3, result = $4, error = $5, ended = $6`, c, state, string(result), failure, now.UnixMicro())
	})
}

// claimed sets columns of a running job. It is ErrJobLost, and changes nothing, if the claim is not
// the last one or the job has ended. The arguments after the claim are $3 and so on.
func claimed(ctx context.Context, tx *transaction, set string, c conan.Claim, args ...any) error {
	result, err := tx.ExecContext(ctx, `UPDATE jobs SET `+set+` WHERE id = $1 AND fence = $2 AND state = 'running'`,
		append([]any{c.Job, c.Fence}, args...)...)
	if err != nil {
		return fmt.Errorf("write job %d: %w", c.Job, err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, ErrJobLost)
	}
	return nil
}

// CancelJob ends a job of the owner, or of anyone if owner is empty, and writes the line of the
// audit. It is conan.ErrNotFound if there is none, and conan.ErrConflict if it has ended.
func (db *DB) CancelJob(ctx context.Context, id int64, owner string, by conan.Actor, now time.Time) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		var call string
		var state JobState
		err := tx.QueryRowContext(ctx, `SELECT call, state FROM jobs WHERE id = $1 AND ($2 = '' OR owner = $2)`, id, owner).Scan(&call, &state)
		switch {
		case err != nil:
			return notAJob(err)
		case state.Ended():
			return fmt.Errorf("%w: job %d has ended: %s", conan.ErrConflict, id, state)
		}
		if _, err := tx.ExecContext(ctx, `UPDATE jobs SET state = 'cancelled', ended = $2 WHERE id = $1`, id, now.UnixMicro()); err != nil {
			return fmt.Errorf("cancel job %d: %w", id, err)
		}
		return writeAudit(ctx, tx, Audit{By: by, Action: ActionJobCancel, Target: fmt.Sprintf("%d %s", id, call)}, now)
	})
}

// jobColumns are what lists have, jobTexts what can be long.
const (
	jobColumns = `id, call, owner, login, address, state, progress, fence, changes, created, started, ended, error`
	jobTexts   = `, arguments, result`
)

// Job returns a job with its arguments and its result, or conan.ErrNotFound.
func (db *DB) Job(ctx context.Context, id int64) (Job, error) {
	j, err := scanJob(db.read.QueryRowContext(ctx, `SELECT `+jobColumns+jobTexts+` FROM jobs WHERE id = $1`, id))
	return j, notAJob(err)
}

// JobFilter selects jobs; zero values select all.
type JobFilter struct {
	Owner  string
	State  JobState
	Before int64 // an ID: only older jobs
	Limit  int   // at most so many; required
}

// Jobs lists jobs without their arguments and results, the newest first.
func (db *DB) Jobs(ctx context.Context, f JobFilter) ([]Job, error) {
	before := int64(math.MaxInt64)
	if f.Before > 0 {
		before = f.Before
	}
	query := `SELECT ` + jobColumns + `, '', '' FROM jobs WHERE id < $1 AND ($3 = '' OR state = $3) ORDER BY id DESC LIMIT $4`
	if f.Owner != "" {
		query = `SELECT ` + jobColumns + `, '', '' FROM jobs WHERE owner = $2 AND id < $1 AND ($3 = '' OR state = $3) ORDER BY id DESC LIMIT $4`
	}
	return collect(ctx, db.read, "list jobs", scanJob, query, before, f.Owner, f.State, f.Limit)
}

// SweepJobs removes jobs that ended before a time.
func (db *DB) SweepJobs(ctx context.Context, before time.Time) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND ended < $1`, before.UnixMicro()); err != nil {
			return fmt.Errorf("sweep jobs: %w", err)
		}
		return nil
	})
}

// scanJob reads jobColumns and jobTexts.
func scanJob(r scanner) (j Job, err error) {
	var created, started, ended int64
	var progress, arguments, result string
	err = r.Scan(&j.ID, &j.Call, &j.Owner, &j.Login, &j.Address, &j.State, &progress, &j.Fence, &j.Changes, &created, &started, &ended, &j.Error, &arguments, &result)
	j.Created, j.Started, j.Ended = time.UnixMicro(created).UTC(), timeOrZero(started), timeOrZero(ended)
	j.Progress, j.Arguments, j.Result = rawOrNil(progress), rawOrNil(arguments), rawOrNil(result)
	return j, err
}

func rawOrNil(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

func notAJob(err error) error {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: there is no such job", conan.ErrNotFound)
	case err != nil:
		return fmt.Errorf("find a job: %w", err)
	}
	return nil
}
