package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/transfer"
	"conanproxy/proxy/auth"
)

// Jobs are the calls that run in the background.
type Jobs interface {
	// Start adds a job; ErrTooMany if too many wait.
	Start(ctx context.Context, j index.Job) (index.Job, error)
	// Cancel ends a job of an owner, or of anyone if owner is empty.
	Cancel(ctx context.Context, id int64, owner string, by conan.Actor) error
	Job(ctx context.Context, id int64) (index.Job, error)
	Jobs(ctx context.Context, f index.JobFilter) ([]index.Job, error)
	// Changed returns a channel that is closed when some job changes.
	Changed() <-chan struct{}
}

// Resume says how a call that runs as a job goes on after the process that ran it has ended.
type Resume int

// How calls are resumed. The zero value is that of calls that cannot be jobs.
const (
	// OneChange is a call that makes one audited change: once that is made, the job is done.
	OneChange Resume = iota + 1
	// Repeated is a call that is made again, and skips what is done already.
	Repeated
)

// asJobs are the calls that can be jobs.
var asJobs = map[string]Resume{
	"promote": OneChange, "remove": OneChange, "restore": OneChange,
	"pin": Repeated, "retention": Repeated,
}

// mostArguments bounds the body of a call that becomes a job, in bytes: it is kept.
const mostArguments = 4 << 20

// Prefix is what the paths of all calls begin with.
const Prefix = "/api/v1/"

// Job is what a call that runs as a job can tell.
type Job interface {
	// Progress tells how far the call is. It may be called often.
	Progress(p transfer.Progress)
	// Expect tells the answer that the call will give, before it makes its one change.
	Expect(result any) error
}

// expect tells the job that the call runs as what its one change will be. In a request it does
// nothing.
func (c *Call) expect(r Report) error {
	if c.Job == nil {
		return nil
	}
	p := r.progress()
	p.Revisions.Done, p.Revisions.ToGo = 0, p.Revisions.Done
	c.Job.Progress(p)
	return c.Job.Expect(r)
}

// done is what a call answers; the job that it runs as is told of it.
func (c *Call) done(r Report) Report {
	if c.Job != nil {
		c.Job.Progress(r.progress())
	}
	return r
}

// Background is a call that is made as a job.
type Background struct {
	Call                  string // the path below Prefix
	Owner, Login, Address string
	Arguments             json.RawMessage
	Claim                 conan.Claim
	Changed               bool            // an earlier run has made a change
	Expected              json.RawMessage // the answer that an earlier run expected; nil: none
	Job                   Job
}

// Route finds the call. An earlier release may have known calls that this one does not.
func (b Background) Route(a *API) (Route, error) {
	for _, route := range a.Routes() {
		if route.Path == Prefix+b.Call && asJobs[b.Call] != 0 {
			return route, nil
		}
	}
	return Route{}, fmt.Errorf("%w: there is no call %q that can be a job", conan.ErrInvalid, b.Call)
}

// IsDone tells whether an earlier run did everything, and what it would have answered and told.
func (b Background) IsDone() (result json.RawMessage, done bool) {
	if !b.Changed || asJobs[b.Call] != OneChange {
		return nil, false
	}
	var r Report
	if json.Unmarshal(b.Expected, &r) == nil {
		b.Job.Progress(r.progress())
	}
	return b.Expected, true
}

// Accepted is a job that was started.
type Accepted struct{ JobLine }

// Serve answers a call, or starts it as a job if the caller asks for that.
func (a *API) Serve(c *Call, route Route) (any, error) {
	wanted := c.Query.Get("job")
	switch {
	case wanted == "false", !c.Query.Has("job"):
		return route.Handle(c)
	case wanted == "true":
		return a.startJob(c, route)
	}
	return nil, fmt.Errorf("%w: job is neither true nor false", conan.ErrInvalid)
}

func (a *API) startJob(c *Call, route Route) (any, error) {
	call := strings.TrimPrefix(route.Path, Prefix)
	if asJobs[call] == 0 {
		return nil, fmt.Errorf("%w: this call cannot run as a job", conan.ErrInvalid)
	}
	if c.Caller.Anonymous() {
		return nil, fmt.Errorf("%w: a job belongs to a user or a robot token", auth.ErrLogin)
	}
	var arguments json.RawMessage
	if err := c.Decode(&arguments); err != nil {
		return nil, err
	}
	if len(arguments) > mostArguments {
		return nil, fmt.Errorf("%w: the body of a job has at most %d MiB", conan.ErrInvalid, mostArguments>>20)
	}
	if err := c.wouldTake(route, arguments); err != nil {
		return nil, err
	}
	job, err := a.Jobs.Start(c.Context, index.Job{
		Call: call, Owner: c.Caller.Name, Login: c.Caller.State(), Address: c.Actor.Address, Arguments: arguments,
	})
	if err != nil {
		return nil, err
	}
	return Accepted{jobLine(job)}, nil
}

// errDecoded ends a call that only reads its body.
var errDecoded = errors.New("the body was read")

// checked is a body that can be found wrong before the call is made.
type checked interface{ check() error }

// wouldTake tells whether a call can read a body, which each call does first.
func (c *Call) wouldTake(route Route, body json.RawMessage) error {
	reading := *c
	reading.Decode = func(v any) error {
		strict := json.NewDecoder(bytes.NewReader(body))
		strict.DisallowUnknownFields()
		if err := strict.Decode(v); err != nil {
			return fmt.Errorf("%w: the body is not the JSON that this call takes: %w", conan.ErrInvalid, err)
		}
		if body, ok := v.(checked); ok {
			if err := body.check(); err != nil {
				return err
			}
		}
		return errDecoded
	}
	if _, err := route.Handle(&reading); !errors.Is(err, errDecoded) {
		return err
	}
	return nil
}

// JobLine is one job.
type JobLine struct {
	ID       int64           `json:"id"`
	Call     string          `json:"call"`
	Owner    string          `json:"owner"`
	Address  string          `json:"address"`
	State    index.JobState  `json:"state"`
	Progress json.RawMessage `json:"progress,omitempty"` // a transfer.Progress
	Fence    int64           `json:"fence"`              // how often it was begun
	Created  time.Time       `json:"created"`
	Started  time.Time       `json:"started,omitzero"`
	Ended    time.Time       `json:"ended,omitzero"`
	Error    string          `json:"error,omitempty"`
}

// JobDetail is a job with what it was asked and what it answered.
type JobDetail struct {
	JobLine
	Arguments json.RawMessage `json:"arguments"`
	Result    json.RawMessage `json:"result,omitempty"` // only of a job that is done
}

func jobLine(j index.Job) JobLine {
	return JobLine{j.ID, j.Call, j.Owner, j.Address, j.State, j.Progress, j.Fence, j.Created, j.Started, j.Ended, j.Error}
}

// jobs lists the caller's jobs, and all for an administrator, the newest first.
func (a *API) jobs(c *Call) (any, error) {
	f := index.JobFilter{State: index.JobState(c.Query.Get("state"))}
	if c.Query.Has("state") && !slices.Contains(index.JobStates, f.State) {
		return nil, fmt.Errorf("%w: state is none of %q", conan.ErrInvalid, index.JobStates)
	}
	var err error
	if f.Owner, err = c.jobsOf(); err != nil {
		return nil, err
	}
	if f.Before, f.Limit, err = c.page(); err != nil {
		return nil, err
	}
	rows, err := a.Jobs.Jobs(c.Context, f)
	if err != nil {
		return nil, err
	}
	page := Page[JobLine]{Lines: []JobLine{}}
	for _, j := range rows {
		page.Lines = append(page.Lines, jobLine(j))
	}
	if len(rows) == f.Limit {
		page.Next = rows[f.Limit-1].ID
	}
	return page, nil
}

// jobsOf is the owner whose jobs the caller sees and ends; empty for an administrator: all.
func (c *Call) jobsOf() (string, error) {
	switch {
	case c.Caller.Anonymous():
		return "", fmt.Errorf("%w: jobs belong to a user or a robot token", auth.ErrLogin)
	case c.Guard.IsAdmin(c.Caller):
		return "", nil
	}
	return c.Caller.Name, nil
}

// job finds a job that the caller may see. Others do not exist for the caller.
func (a *API) job(c *Call, id int64) (index.Job, error) {
	owner, err := c.jobsOf()
	if err != nil {
		return index.Job{}, err
	}
	j, err := a.Jobs.Job(c.Context, id)
	if err == nil && owner != "" && j.Owner != owner {
		err = errNoJob
	}
	return j, err
}

var errNoJob = fmt.Errorf("%w: there is no such job", conan.ErrNotFound)

// jobID reads the query argument that names a job.
func (c *Call) jobID() (int64, error) {
	id, err := c.number("id", 0, 1, math.MaxInt64)
	if err == nil && id == 0 {
		err = fmt.Errorf("%w: \"id\" is missing: the number of a job", conan.ErrInvalid)
	}
	return id, err
}

func (a *API) showJob(c *Call) (any, error) {
	id, err := c.jobID()
	if err != nil {
		return nil, err
	}
	j, err := a.job(c, id)
	if err != nil {
		return nil, err
	}
	detail := JobDetail{JobLine: jobLine(j), Arguments: j.Arguments}
	if j.State == index.JobDone { // before that the row has what is expected
		detail.Result = j.Result
	}
	return detail, nil
}

// cancelJob ends a job. What it has done stays.
func (a *API) cancelJob(c *Call) (any, error) {
	var body struct {
		ID int64 `json:"id"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	owner, err := c.jobsOf()
	if err != nil {
		return nil, err
	}
	if err := a.Jobs.Cancel(c.Context, body.ID, owner, c.Actor); err != nil {
		return nil, err
	}
	j, err := a.job(c, body.ID)
	if err != nil {
		return nil, err
	}
	return jobLine(j), nil
}

// Events is an answer that is sent as it comes about. It calls send for each event, with an empty
// name for a sign of life, and returns when there are no more, or with the error of send.
type Events func(send func(event string, data any) error) error

// signOfLife is how often a stream without events sends something, so that what lies between keeps
// the connection.
const signOfLife = 15 * time.Second

// followJob sends the states of a job until it ends: "progress" at once and with each change, and
// "end". The server's shutdown ends the stream without an "end".
func (a *API) followJob(c *Call) (any, error) {
	id, err := c.jobID()
	if err != nil {
		return nil, err
	}
	if _, err := a.job(c, id); err != nil {
		return nil, err
	}
	return Events(func(send func(string, any) error) error {
		leave, err := a.waiting.enter(c.Caller.Name)
		if err != nil {
			return err
		}
		defer leave()
		var last JobLine
		for ended := false; !ended && err == nil; {
			changed := a.Jobs.Changed()
			if last, ended, err = a.sendJob(c, id, last, send); err == nil && !ended {
				ended, err = a.await(c, changed, send)
			}
		}
		return err
	}), nil
}

// sendJob sends the state of a job if it is another than the last, and tells whether the job has
// ended. The caller is looked up again.
func (a *API) sendJob(c *Call, id int64, last JobLine, send func(string, any) error) (now JobLine, ended bool, err error) {
	if c, err = c.Renew(); err != nil {
		return last, false, err
	}
	j, err := a.job(c, id)
	if err != nil {
		return last, false, err
	}
	now = jobLine(j)
	switch {
	case j.State.Ended():
		return now, true, send("end", now)
	case now.State == last.State && now.Fence == last.Fence && string(now.Progress) == string(last.Progress):
		return now, false, nil
	}
	return now, false, send("progress", now)
}

// await waits for a change and sends signs of life meanwhile. over: the server or the client ends
// the stream.
func (a *API) await(c *Call, changed <-chan struct{}, send func(string, any) error) (over bool, err error) {
	life := time.NewTimer(signOfLife)
	defer life.Stop()
	select {
	case <-changed:
	case <-a.Drain:
		return true, nil
	case <-c.Context.Done():
		return true, nil
	case <-life.C:
		return false, send("", nil)
	}
	return false, nil
}

// ErrJobLost ends a call whose job was cancelled, or is another runner's.
var ErrJobLost = index.ErrJobLost

// ErrTooMany is a refusal because too many wait already: status 429.
var ErrTooMany = index.ErrTooMany
