package index

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

// newJob adds a job that waits.
func newJob(t *testing.T, db *DB, owner string) Job {
	t.Helper()
	j, err := db.CreateJob(t.Context(), Job{Call: "promote", Owner: owner, Login: "s", Address: "::1", Arguments: json.RawMessage(`{"a":1}`)}, noon)
	failsWith(t, "create", err, nil)
	return j
}

func claimJob(t *testing.T, db *DB) Job {
	t.Helper()
	j, err := db.ClaimJob(t.Context(), noon.Add(time.Minute))
	failsWith(t, "claim", err, nil)
	return j
}

func jobNow(t *testing.T, db *DB, id int64) Job {
	t.Helper()
	j, err := db.Job(t.Context(), id)
	failsWith(t, "find", err, nil)
	return j
}

func TestJobsRunInOrderAndEnd(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	first, second := newJob(t, db, "ann"), newJob(t, db, "bob")
	same(t, "created", jobNow(t, db, first.ID), first)
	running := claimJob(t, db)
	want := first
	want.State, want.Fence, want.Started = JobRunning, 1, noon.Add(time.Minute).UTC()
	same(t, "claimed", running, want)
	failsWith(t, "progress", db.JobProgress(ctx, running.Claim(), json.RawMessage(`{"done":1}`)), nil)
	failsWith(t, "end", db.EndJob(ctx, running.Claim(), json.RawMessage(`{"r":2}`), "", noon.Add(time.Hour)), nil)
	want.State, want.Ended, want.Progress, want.Result = JobDone, noon.Add(time.Hour).UTC(), json.RawMessage(`{"done":1}`), json.RawMessage(`{"r":2}`)
	same(t, "done", jobNow(t, db, first.ID), want)
	failsWith(t, "end again", db.EndJob(ctx, running.Claim(), nil, "late", noon), ErrJobLost)

	failsWith(t, "fail", db.EndJob(ctx, claimJob(t, db).Claim(), json.RawMessage(`{}`), "no room", noon), nil)
	failed := jobNow(t, db, second.ID)
	same(t, "failed", []string{string(failed.State), failed.Error, string(failed.Result)}, []string{"failed", "no room", ""})
	_, err := db.ClaimJob(ctx, noon)
	failsWith(t, "claim when none waits", err, conan.ErrNotFound)

	for name, tt := range map[string]struct {
		filter JobFilter
		want   []int64
	}{
		"all": {JobFilter{Limit: 9}, []int64{2, 1}}, "one's own": {JobFilter{Owner: "ann", Limit: 9}, []int64{1}},
		"a state": {JobFilter{State: JobFailed, Limit: 9}, []int64{2}}, "the next page": {JobFilter{Before: 2, Limit: 9}, []int64{1}},
		"a short page": {JobFilter{Limit: 1}, []int64{2}}, "another's state": {JobFilter{Owner: "ann", State: JobFailed, Limit: 9}, nil},
	} {
		jobs, err := db.Jobs(ctx, tt.filter)
		failsWith(t, name, err, nil)
		var got []int64
		for _, j := range jobs {
			got = append(got, j.ID)
			same(t, name+": long texts", len(j.Arguments)+len(j.Result), 0)
		}
		same(t, name, got, tt.want)
	}
	failsWith(t, "sweep", db.SweepJobs(ctx, noon.Add(time.Minute)), nil)
	_, err = db.Job(ctx, second.ID)
	failsWith(t, "what ended earlier", err, conan.ErrNotFound)
	jobNow(t, db, first.ID)
}

// A runner that was paused, and wakes up when another has its job, changes nothing: neither the job
// nor what the job is about.
func TestJobsAreFenced(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	rev := recipeOf("aa/1", "r")
	put(t, db, store, rev, 1, testFile("conanfile.py", 1, 1))
	newJob(t, db, "ann")
	paused := claimJob(t, db)
	remove := func(c conan.Claim) error {
		return onlyError(db.RemovePinned(ctx, store, []conan.Revision{rev},
			RemoveOptions{Audit: Audit{By: conan.Actor{Name: "ann", Claim: c}, Action: ActionRemove}, Now: noon, Trash: true}))
	}
	failsWith(t, "the process ends", db.RequeueJobs(ctx), nil)
	if lost := remove(paused.Claim()); lost == nil {
		t.Error("a runner changed something while its job waits")
	}
	resumed := claimJob(t, db)
	same(t, "fencing number", resumed.Fence, paused.Fence+1)
	for name, write := range map[string]func(c conan.Claim) error{
		"progress": func(c conan.Claim) error { return db.JobProgress(ctx, c, json.RawMessage(`{"late":1}`)) },
		"expect":   func(c conan.Claim) error { return db.ExpectJobResult(ctx, c, json.RawMessage(`{"late":1}`)) },
		"release":  func(c conan.Claim) error { return db.ReleaseJob(ctx, c) },
		"end":      func(c conan.Claim) error { return db.EndJob(ctx, c, nil, "late", noon) },
		"a change": remove,
	} {
		failsWith(t, name+" by the runner that was paused", write(paused.Claim()), ErrJobLost)
	}
	same(t, "the job", jobNow(t, db, resumed.ID), resumed)
	find(t, db, store, rev)

	failsWith(t, "the change by the other", remove(resumed.Claim()), nil)
	same(t, "changes", jobNow(t, db, resumed.ID).Changes, int64(1))
	failsWith(t, "expect", db.ExpectJobResult(ctx, resumed.Claim(), json.RawMessage(`{"r":1}`)), nil)
	failsWith(t, "release", db.ReleaseJob(ctx, resumed.Claim()), nil)
	third := claimJob(t, db)
	same(t, "after a release", []any{third.Fence, third.Changes, string(third.Result), third.Started}, []any{int64(3), int64(1), `{"r":1}`, resumed.Started})
}

func TestJobsAreCancelled(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	by := conan.Actor{Name: "ann", Address: "::1"}
	waiting := newJob(t, db, "ann")
	failsWith(t, "another's", db.CancelJob(ctx, waiting.ID, "bob", by, noon), conan.ErrNotFound)
	failsWith(t, "no such job", db.CancelJob(ctx, 9, "", by, noon), conan.ErrNotFound)
	failsWith(t, "one that waits", db.CancelJob(ctx, waiting.ID, "ann", by, noon), nil)
	failsWith(t, "one that has ended", db.CancelJob(ctx, waiting.ID, "ann", by, noon), conan.ErrConflict)
	newJob(t, db, "ann")
	running := claimJob(t, db)
	same(t, "the cancelled one is not claimed", running.ID, int64(2))
	failsWith(t, "a running one, by an administrator", db.CancelJob(ctx, running.ID, "", by, noon), nil)
	failsWith(t, "its end", db.EndJob(ctx, running.Claim(), nil, "", noon), ErrJobLost)
	same(t, "state", jobNow(t, db, running.ID).State, JobCancelled)

	lines, err := db.AuditLines(ctx, AuditFilter{Limit: 9})
	failsWith(t, "audit", err, nil)
	var got []string
	for _, l := range lines {
		got = append(got, fmt.Sprint(l.By.Name, " ", l.Action, " ", l.Target))
	}
	same(t, "audit", got, []string{"ann job_cancel 2 promote", "ann job_start 2 promote", "ann job_cancel 1 promote", "ann job_start 1 promote"})
}

func TestJobsThatWaitAreBounded(t *testing.T) {
	db := openForTest(t, t.TempDir())
	for range MostJobsOf {
		newJob(t, db, "ann")
	}
	_, err := db.CreateJob(t.Context(), Job{Owner: "ann"}, noon)
	failsWith(t, "one too many of ann", err, ErrTooMany)
	for i := MostJobsOf; i < MostJobs; i++ {
		newJob(t, db, fmt.Sprint("user", i%50))
	}
	_, err = db.CreateJob(t.Context(), Job{Owner: "bob"}, noon)
	failsWith(t, "one too many", err, ErrTooMany)
	same(t, "what a user reads", err.Error(), "too many wait already: at most 1000 jobs may wait, 100 of one owner")
	claimJob(t, db)
	newJob(t, db, "bob")
}
