// Package jobs runs calls of the operators' API in the background. A job is a row of the index: it
// survives the process, is claimed by one runner at a time, and is resumed after a restart.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/signal"
)

// Index has the rows of jobs. *index.DB is one.
type Index interface {
	CreateJob(ctx context.Context, j index.Job, now time.Time) (index.Job, error)
	RequeueJobs(ctx context.Context) error
	ClaimJob(ctx context.Context, now time.Time) (index.Job, error)
	ReleaseJob(ctx context.Context, c conan.Claim) error
	JobProgress(ctx context.Context, c conan.Claim, progress json.RawMessage) error
	ExpectJobResult(ctx context.Context, c conan.Claim, result json.RawMessage) error
	EndJob(ctx context.Context, c conan.Claim, result json.RawMessage, failure string, now time.Time) error
	CancelJob(ctx context.Context, id int64, owner string, by conan.Actor, now time.Time) error
	Job(ctx context.Context, id int64) (index.Job, error)
	Jobs(ctx context.Context, f index.JobFilter) ([]index.Job, error)
}

// Do makes the call of a job and returns its answer as JSON. The text of an error is shown to the
// owner. It must be safe to repeat: a job whose process has ended is run again from its beginning.
type Do func(ctx context.Context, job index.Job, w *Work) (json.RawMessage, error)

// Most is how many jobs run at once.
const Most = 2

// Runner runs jobs, the oldest first, at most Most at once.
type Runner struct {
	index   Index
	log     *zap.Logger
	ended   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	running prometheus.Gauge
	changed signal.Signal // raised when a row changes

	mu      sync.Mutex
	cancels map[int64]context.CancelCauseFunc // of the jobs that run here
}

// New makes a Runner and registers its metrics; nil registers none.
func New(rows Index, log *zap.Logger, registry prometheus.Registerer) *Runner {
	r := &Runner{
		index: rows, log: log, cancels: make(map[int64]context.CancelCauseFunc),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conanproxy_jobs_ended_total", Help: "Jobs that ended, by call and by how: done or failed.",
		}, []string{"call", "state"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "conanproxy_job_run_seconds", Help: "Time from the claim of a job to the end of its run.",
			Buckets: []float64{.01, .1, 1, 10, 60, 600, 3600, 36000},
		}, []string{"call"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "conanproxy_jobs_running", Help: "Jobs that run now."}),
	}
	if registry != nil {
		registry.MustRegister(r.ended, r.seconds, r.running)
	}
	return r
}

// Start adds a job; index.ErrTooMany if too many wait.
func (r *Runner) Start(ctx context.Context, j index.Job) (index.Job, error) {
	j, err := r.index.CreateJob(ctx, j, time.Now())
	r.changed.Raise()
	return j, err
}

// Cancel ends a job as index.DB.CancelJob does. What it has done stays.
func (r *Runner) Cancel(ctx context.Context, id int64, owner string, by conan.Actor) error {
	if err := r.index.CancelJob(ctx, id, owner, by, time.Now()); err != nil {
		return err
	}
	r.mu.Lock()
	if cancel := r.cancels[id]; cancel != nil {
		cancel(index.ErrJobLost)
	}
	r.mu.Unlock()
	r.changed.Raise()
	return nil
}

// Job is index.DB.Job.
func (r *Runner) Job(ctx context.Context, id int64) (index.Job, error) { return r.index.Job(ctx, id) }

// Jobs is index.DB.Jobs.
func (r *Runner) Jobs(ctx context.Context, f index.JobFilter) ([]index.Job, error) {
	return r.index.Jobs(ctx, f)
}

// Changed returns a channel that is closed when some job's row changes. Take it before you read.
func (r *Runner) Changed() <-chan struct{} { return r.changed.Next() }

// errAgain ends a run whose job is to be claimed again.
var errAgain = errors.New("the settings were replaced")

// Again stops the jobs that run and has them claimed again, so that they go on under the settings
// that are in force from now on.
func (r *Runner) Again() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, cancel := range r.cancels {
		cancel(errAgain)
	}
}

// Run runs jobs until ctx ends, first those that a process before this one was running. A job that
// runs then stays a running one, for the next process.
func (r *Runner) Run(ctx context.Context, do Do) {
	if err := r.index.RequeueJobs(ctx); err != nil {
		r.log.Error("jobs of the last process are not resumed", zap.Error(err))
	}
	var workers sync.WaitGroup
	for range Most {
		workers.Go(func() { r.work(ctx, do) })
	}
	workers.Wait()
}

// work runs one job after the other.
func (r *Runner) work(ctx context.Context, do Do) {
	const retryAfter = 10 * time.Second // when the index failed
	for ctx.Err() == nil {
		changed := r.Changed()
		job, err := r.index.ClaimJob(ctx, time.Now())
		if err == nil {
			r.runOne(ctx, job, do)
			continue
		}
		var again <-chan time.Time
		if !errors.Is(err, conan.ErrNotFound) && ctx.Err() == nil {
			r.log.Error("no job can be claimed", zap.Error(err))
			again = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-again:
		}
	}
}

// runOne runs a job that was claimed.
func (r *Runner) runOne(ctx context.Context, job index.Job, do Do) {
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.register(job.ID, cancel)
	defer r.register(job.ID, nil)
	r.changed.Raise()
	if r.lost(ctx, job) {
		return
	}
	r.running.Inc()
	defer r.running.Dec()
	began := time.Now()
	w := &Work{runner: r, claim: job.Claim(), cancel: cancel}
	result, err := r.safely(running, job, w, do)
	r.seconds.WithLabelValues(job.Call).Observe(time.Since(began).Seconds())
	w.write(context.WithoutCancel(ctx))
	r.end(ctx, job, result, err, context.Cause(running))
	r.changed.Raise()
}

func (r *Runner) register(id int64, cancel context.CancelCauseFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel == nil {
		delete(r.cancels, id)
		return
	}
	r.cancels[id] = cancel
}

// lost tells whether a job was cancelled, or claimed by another runner, before it was registered
// here, so that Cancel did not find it. If it cannot be read it runs: a lost claim writes nothing.
func (r *Runner) lost(ctx context.Context, job index.Job) bool {
	now, err := r.index.Job(ctx, job.ID)
	return err == nil && (now.State != job.State || now.Fence != job.Fence)
}

// safely makes a panic of a call the failure of its job.
func (r *Runner) safely(ctx context.Context, job index.Job, w *Work, do Do) (result json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("panic in a job", zap.Int64("job", job.ID), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("internal error in job %d: the server's log says more", job.ID)
		}
	}()
	return do(ctx, job, w)
}

// end records how a run ended. cause is why its context ended; nil: it did not.
func (r *Runner) end(ctx context.Context, job index.Job, result json.RawMessage, failed, cause error) {
	write := context.WithoutCancel(ctx)
	var err error
	switch {
	case failed == nil:
		err = r.record(write, job, result, nil)
	case ctx.Err() != nil || errors.Is(cause, index.ErrJobLost) || errors.Is(failed, index.ErrJobLost):
		return // the next process resumes it, or it is another's
	case errors.Is(cause, errAgain):
		err = r.index.ReleaseJob(write, job.Claim())
	default:
		err = r.record(write, job, nil, failed)
	}
	if err != nil && !errors.Is(err, index.ErrJobLost) {
		r.log.Error("the end of a job was not recorded; the next start runs it again", zap.Int64("job", job.ID), zap.Error(err))
	}
}

// record ends a job in the index and, once it has ended there, tells of it in the log and metrics.
func (r *Runner) record(ctx context.Context, job index.Job, result json.RawMessage, failed error) error {
	state, level, failure := index.JobDone, zap.InfoLevel, ""
	if failed != nil {
		state, level, failure = index.JobFailed, zap.WarnLevel, failed.Error()
	}
	if err := r.index.EndJob(ctx, job.Claim(), result, failure, time.Now()); err != nil {
		return err
	}
	r.ended.WithLabelValues(job.Call, string(state)).Inc()
	r.log.Log(level, "job "+string(state),
		zap.Int64("job", job.ID), zap.String("call", job.Call), zap.String("user", job.Owner), zap.Error(failed))
	return nil
}
