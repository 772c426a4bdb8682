package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

func openIndex(t *testing.T) *index.DB {
	t.Helper()
	db, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// run runs a new runner, which plays a process of its own, until stop is called or the test ends.
func run(t *testing.T, db Index, do Do) (r *Runner, stop func()) {
	t.Helper()
	r = New(db, zap.NewNop(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { r.Run(ctx, do) })
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return r, stop
}

func start(t *testing.T, r *Runner) int64 {
	t.Helper()
	j, err := r.Start(t.Context(), index.Job{Call: "promote", Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	return j.ID
}

// wait waits until a job has a state and returns it.
func wait(t *testing.T, r *Runner, id int64, state index.JobState) index.Job {
	t.Helper()
	for {
		changed := r.Changed()
		j, err := r.Job(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if j.State == state {
			return j
		}
		if j.State.Ended() {
			t.Fatalf("job %d is %s (%s), want %s", id, j.State, j.Error, state)
		}
		<-changed
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFewJobsRunAtOnce(t *testing.T) {
	begun, goOn := make(chan int64), make(chan struct{})
	r, _ := run(t, openIndex(t), func(ctx context.Context, job index.Job, w *Work) (json.RawMessage, error) {
		begun <- job.ID
		<-goOn
		w.Progress(ctx, job.ID)
		return json.Marshal(-job.ID)
	})
	var ids []int64
	for range Most + 1 {
		ids = append(ids, start(t, r))
	}
	seen := map[int64]bool{<-begun: true, <-begun: true}
	same(t, "the oldest run", seen, map[int64]bool{ids[0]: true, ids[1]: true})
	same(t, "the third", wait(t, r, ids[2], index.JobWaiting).Fence, int64(0))
	goOn <- struct{}{}
	same(t, "it begins when one has ended", <-begun, ids[2])
	close(goOn)
	for _, id := range ids {
		j := wait(t, r, id, index.JobDone)
		same(t, "result and progress", []string{string(j.Result), string(j.Progress)}, []string{fmt.Sprint(-id), fmt.Sprint(id)})
	}
}

// claimsOnce plays the index of a process that is paused as a whole: it claims no second job.
type claimsOnce struct {
	Index
	mu      sync.Mutex
	claimed bool
}

func (c *claimsOnce) ClaimJob(ctx context.Context, now time.Time) (index.Job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claimed {
		return index.Job{}, conan.ErrNotFound
	}
	j, err := c.Index.ClaimJob(ctx, now)
	c.claimed = err == nil
	return j, err
}

// The job of a process that was paused is resumed by the next one. When the first wakes up, it
// changes nothing.
func TestPausedRunnerChangesNothing(t *testing.T) {
	db := openIndex(t)
	paused, wake := make(chan struct{}), make(chan struct{})
	first, stop := run(t, &claimsOnce{Index: db}, func(ctx context.Context, job index.Job, w *Work) (json.RawMessage, error) {
		close(paused)
		<-wake
		w.Progress(ctx, "late")
		<-ctx.Done() // the write found that the job is another's
		return json.RawMessage(`"late"`), nil
	})
	id := start(t, first)
	<-paused
	second, _ := run(t, db, func(_ context.Context, job index.Job, _ *Work) (json.RawMessage, error) {
		return json.Marshal(job.Fence)
	})
	done := wait(t, second, id, index.JobDone)
	same(t, "the second's result", string(done.Result), "2")
	close(wake)
	stop()
	after, err := db.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the job after the first woke up", after, done)
}

// A job that a shutdown stops stays a running one and is resumed.
func TestJobsSurviveAShutdown(t *testing.T) {
	db := openIndex(t)
	begun := make(chan struct{})
	first, stop := run(t, db, func(ctx context.Context, _ index.Job, w *Work) (json.RawMessage, error) {
		w.Progress(ctx, 1)
		w.Progress(ctx, 2) // waits for a second, or for the end
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	id := start(t, first)
	<-begun
	stop()
	j, err := db.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "after the shutdown", []string{string(j.State), string(j.Progress)}, []string{"running", "2"})
	second, _ := run(t, db, func(context.Context, index.Job, *Work) (json.RawMessage, error) { return json.RawMessage(`{}`), nil })
	same(t, "claims", wait(t, second, id, index.JobDone).Fence, int64(2))
}

func TestJobsEndEarly(t *testing.T) {
	begun := make(chan int64, 1)
	revoked := errors.New("the token is gone")
	fails := map[string]func(ctx context.Context, job index.Job) error{
		"waits":  func(ctx context.Context, _ index.Job) error { <-ctx.Done(); return ctx.Err() },
		"panics": func(context.Context, index.Job) error { panic("a fault") },
		"fails":  func(context.Context, index.Job) error { return revoked },
		"again": func(ctx context.Context, job index.Job) error {
			if job.Fence > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		},
	}
	r, _ := run(t, openIndex(t), func(ctx context.Context, job index.Job, _ *Work) (json.RawMessage, error) {
		begun <- job.ID
		return nil, fails[job.Call](ctx, job)
	})
	begin := func(call string) int64 {
		j, err := r.Start(t.Context(), index.Job{Call: call, Owner: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		<-begun
		return j.ID
	}
	id := begin("waits")
	if err := r.Cancel(t.Context(), id, "bob", conan.Actor{Name: "bob"}); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("another cancels it: %v", err)
	}
	if err := r.Cancel(t.Context(), id, "ann", conan.Actor{Name: "ann"}); err != nil {
		t.Fatal(err)
	}
	wait(t, r, id, index.JobCancelled)
	id = begin("panics")
	same(t, "panic", wait(t, r, id, index.JobFailed).Error, fmt.Sprintf("internal error in job %d: the server's log says more", id))
	same(t, "failure", wait(t, r, begin("fails"), index.JobFailed).Error, "the token is gone")
	id = begin("again")
	r.Again()
	<-begun
	same(t, "claims", wait(t, r, id, index.JobDone).Fence, int64(2))
}

// cancelsFirst cancels the first job when it is claimed, before the runner knows of it.
type cancelsFirst struct {
	Index
	cancel func(id int64) error
}

func (c *cancelsFirst) ClaimJob(ctx context.Context, now time.Time) (index.Job, error) {
	j, err := c.Index.ClaimJob(ctx, now)
	if err == nil && j.ID == 1 {
		err = c.cancel(j.ID)
	}
	return j, err
}

func TestJobThatIsCancelledWhileItIsClaimedDoesNotRun(t *testing.T) {
	rows := &cancelsFirst{Index: openIndex(t)}
	var mu sync.Mutex
	var ran []int64
	r := New(rows, zap.NewNop(), nil)
	rows.cancel = func(id int64) error { return r.Cancel(t.Context(), id, "ann", conan.Actor{Name: "ann"}) }
	ctx, stop := context.WithCancel(t.Context())
	var runner sync.WaitGroup
	runner.Go(func() {
		r.Run(ctx, func(_ context.Context, job index.Job, _ *Work) (json.RawMessage, error) {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, job.ID)
			return nil, nil
		})
	})
	first, second := start(t, r), start(t, r)
	wait(t, r, first, index.JobCancelled)
	wait(t, r, second, index.JobDone)
	stop()
	runner.Wait()
	same(t, "jobs that ran", ran, []int64{second})
}

// A job that is cancelled at the end of its run is neither told of nor counted as one that has
// ended by itself.
func TestCancelledJobsAreNotCounted(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	registry := prometheus.NewRegistry()
	db := openIndex(t)
	r := New(db, zap.New(core), registry)
	ctx, stop := context.WithCancel(t.Context())
	fails := map[string]error{"done": nil, "failed": errors.New("a fault")}
	var runner sync.WaitGroup
	runner.Go(func() {
		r.Run(ctx, func(_ context.Context, job index.Job, _ *Work) (json.RawMessage, error) {
			call, cancel := strings.CutPrefix(job.Call, "cancelled and ")
			if cancel { // by another process: the index alone tells
				if err := db.CancelJob(t.Context(), job.ID, "", conan.Actor{}, time.Now()); err != nil {
					t.Error(err)
				}
			}
			return nil, fails[call]
		})
	})
	for _, call := range []string{"cancelled and done", "cancelled and failed", "done", "failed"} {
		j, err := r.Start(t.Context(), index.Job{Call: call, Owner: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Fields(call)
		wait(t, r, j.ID, index.JobState(words[0]))
	}
	stop()
	runner.Wait()
	var told []string
	for _, l := range lines.All() {
		told = append(told, fmt.Sprint(l.Level, " ", l.Message, " ", l.ContextMap()["call"]))
	}
	slices.Sort(told)
	same(t, "log", told, []string{"info job done done", "warn job failed failed"})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "conanproxy_jobs_ended_total" {
			same(t, "series of jobs that ended", len(f.GetMetric()), 2)
		}
	}
}

// counted counts how often progress is written.
type counted struct {
	Index
	progress []string
}

func (c *counted) JobProgress(_ context.Context, _ conan.Claim, progress json.RawMessage) error {
	c.progress = append(c.progress, string(progress))
	return nil
}

func TestProgressIsWrittenOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := new(counted)
		w := &Work{runner: New(rows, zap.NewNop(), nil), cancel: func(error) {}}
		for i := range 25 {
			w.Progress(t.Context(), i)
			time.Sleep(100 * time.Millisecond)
		}
		w.write(t.Context())
		w.write(t.Context())
		same(t, "progress", rows.progress, []string{"0", "10", "20", "24"})
	})
}
