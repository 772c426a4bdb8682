package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/jobs"
	"conanproxy/internal/transfer"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// jobsWorld has the API with jobs and a feed over an index, and a store that fences its removals.
type jobsWorld struct {
	*world
	db     *index.DB
	runner *jobs.Runner
	store  *fencedStore
	drain  chan struct{}
}

// fencedStore writes an audit line for each removal, as a real one does.
type fencedStore struct {
	api.Store
	db      *index.DB
	removed []string
	hold    func(context.Context) // called before a removal; nil: nothing
}

// fencedStores are the stores of the API: only "local".
type fencedStores struct {
	allStores
	local *fencedStore
}

// allStores are the methods that no test of jobs needs.
type allStores interface{ api.Stores }

func (s fencedStores) Store(name string) (api.Store, bool) { return s.local, name == "local" }

func (s fencedStores) Promotion(from, to string) (transfer.Sink, bool) { return nil, false }

func (s fencedStores) Keeps(string) func(conan.Revision) (string, bool) {
	return func(conan.Revision) (string, bool) { return "", false }
}

func (s *fencedStore) RemoveRevisions(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Revision, error) {
	if dry {
		return revs, nil
	}
	if s.hold != nil {
		s.hold(ctx)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err := s.db.CreateToken(ctx, index.Token{Name: fmt.Sprint(len(s.removed)), SHA256: fmt.Sprint(len(s.removed))}, by)
	if err == nil {
		s.removed = append(s.removed, fmt.Sprint(revs, " by ", by.Name, " at ", by.Address))
	}
	return revs, err
}

func newJobsWorld(t *testing.T) *jobsWorld {
	t.Helper()
	db, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	j := &jobsWorld{db: db, runner: jobs.New(db, zap.NewNop(), nil), store: &fencedStore{db: db}, drain: make(chan struct{})}
	a := &api.API{Stores: fencedStores{local: j.store}, Jobs: j.runner, Feed: db, Drain: j.drain}
	j.world = newWorld(t, func(o *worldOptions) { o.API = a })
	a.Tokens = j.robots
	j.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	return j
}

// run runs jobs until stop is called or the test ends.
func (j *jobsWorld) run() (stop func()) {
	ctx, cancel := context.WithCancel(j.t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		j.runner.Run(ctx, func(ctx context.Context, job index.Job, w *jobs.Work) (json.RawMessage, error) {
			return j.server.RunJob(ctx, api.Background{
				Call: job.Call, Owner: job.Owner, Login: job.Login, Address: job.Address, Arguments: job.Arguments,
				Claim: job.Claim(), Changed: job.Changes > 0, Expected: job.Result, Job: told{ctx, w},
			})
		})
	})
	stop = func() { cancel(); done.Wait() }
	j.t.Cleanup(stop)
	return stop
}

type told struct {
	ctx  context.Context
	work *jobs.Work
}

func (t told) Progress(p transfer.Progress) { t.work.Progress(t.ctx, p) }
func (t told) Expect(result any) error      { return t.work.Expect(t.ctx, result) }

const removeHello = `{"in": "local", "selection": {"patterns": ["hello/*"]}}`

// start starts a job and returns its number.
func (j *jobsWorld) start(header map[string]string, body string) int64 {
	j.t.Helper()
	resp := j.do(call{method: "POST", path: "/api/v1/remove?job=true", header: header, body: body})
	var line api.JobLine
	if text := bodyOf(j.t, resp); resp.StatusCode != http.StatusAccepted || json.Unmarshal([]byte(text), &line) != nil {
		j.t.Fatalf("status %d: %s", resp.StatusCode, text)
	}
	return line.ID
}

// follow returns the events of a job until it ends: their names and what the last one says.
func (j *jobsWorld) follow(id int64, header map[string]string) (names []string, last api.JobLine) {
	j.t.Helper()
	resp := j.do(call{method: "GET", path: fmt.Sprint("/api/v1/jobs/follow?id=", id), header: header})
	wantStatus(j.t, resp, http.StatusOK)
	if got := resp.Header.Get("Content-Type") + " " + resp.Header.Get("X-Accel-Buffering"); got != "text/event-stream no" {
		j.t.Errorf("Content-Type and X-Accel-Buffering: %q", got)
	}
	for _, m := range regexp.MustCompile(`(?m)^event: (\w+)\ndata: (.*)\n\n`).FindAllStringSubmatch(bodyOf(j.t, resp), -1) {
		names = append(names, m[1])
		last = api.JobLine{}
		if err := json.Unmarshal([]byte(m[2]), &last); err != nil {
			j.t.Fatalf("%s: %v", m[2], err)
		}
	}
	return names, last
}

func TestJobsAreStarted(t *testing.T) {
	j := newJobsWorld(t)
	demo, other := withBasic("demo", "demo"), withBasic("other", "pass:word")
	id := j.start(demo, removeHello)
	show := fmt.Sprint("/api/v1/jobs/show?id=", id)
	long := strings.Replace(removeHello, "hello", strings.Repeat("x", 4<<20), 1)
	for name, tt := range map[string]struct {
		method, path string
		header       map[string]string
		body         string
		status       int
		says         string
	}{
		"anonymous":          {"POST", "/api/v1/remove?job=true", nil, removeHello, 401, "not logged in"},
		"no such call":       {"POST", "/api/v1/hide?job=true", demo, removeHello, 400, "cannot run as a job"},
		"a call that reads":  {"GET", "/api/v1/hides?job=true", demo, "", 400, "cannot run as a job"},
		"neither":            {"POST", "/api/v1/remove?job=1", demo, removeHello, 400, "neither true nor false"},
		"half a JSON":        {"POST", "/api/v1/remove?job=true", demo, removeHello[:20], 400, "not the JSON"},
		"no selection":       {"POST", "/api/v1/remove?job=true", demo, `{"in": "local"}`, 400, "the selection is empty"},
		"an unknown field":   {"POST", "/api/v1/remove?job=true", demo, `{"in": "local", "force": 1}`, 400, "force"},
		"a long body":        {"POST", "/api/v1/remove?job=true", demo, long, 400, "4 MiB"},
		"one's own":          {"GET", show, demo, "", 200, `"arguments":{"in":`},
		"another's":          {"GET", show, other, "", 404, "no such job"},
		"another's events":   {"GET", strings.Replace(show, "show", "follow", 1), other, "", 404, "no such job"},
		"another cancels":    {"POST", "/api/v1/jobs/cancel", other, fmt.Sprintf(`{"id":%d}`, id), 404, "no such job"},
		"no number":          {"GET", "/api/v1/jobs/show", demo, "", 400, `\"id\" is missing`},
		"the list":           {"GET", "/api/v1/jobs?state=waiting", demo, "", 200, `"call":"remove","owner":"demo","address":"192.0.2.7","state":"waiting","fence":0,`},
		"another's list":     {"GET", "/api/v1/jobs", other, "", 200, `{"lines":[],"next":0}`},
		"an unknown state":   {"GET", "/api/v1/jobs?state=lost", demo, "", 400, "state is none of"},
		"an anonymous' list": {"GET", "/api/v1/jobs", nil, "", 401, "jobs belong"},
	} {
		resp := j.do(call{method: tt.method, path: tt.path, header: tt.header, body: tt.body})
		if body := bodyOf(t, resp); resp.StatusCode != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: status %d, want %d and %q: %.300s", name, resp.StatusCode, tt.status, tt.says, body)
		}
	}
	wantStatus(t, j.do(call{method: "POST", path: "/api/v1/jobs/cancel", user: "demo", body: fmt.Sprintf(`{"id":%d}`, id)}), 200)
	names, last := j.follow(id, demo)
	if diff := cmp.Diff([]string{"end cancelled"}, []string{strings.Join(names, " ") + " " + string(last.State)}); diff != "" {
		t.Error(diff)
	}
	for range index.MostJobsOf {
		j.start(demo, removeHello)
	}
	resp := j.do(call{method: "POST", path: "/api/v1/remove?job=true", user: "demo", body: removeHello})
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: status %d: %s", resp.StatusCode, bodyOf(t, resp))
	}
}

func TestJobsRunWithTheRightsOfTheirOwner(t *testing.T) {
	j := newJobsWorld(t)
	demo := withBasic("demo", "demo")
	robot := j.bearer("demo", `{"name": "bot", "read": true, "write": true}`)
	ids := map[string]int64{
		"works":            j.start(demo, removeHello),
		"a wrong store":    j.start(demo, strings.Replace(removeHello, "local", "moon", 1)),
		"a revoked robot":  j.start(robot, removeHello),
		"nothing to write": j.start(demo, strings.Replace(removeHello, "hello", "locked", 1)),
	}
	j.local.have(t, "locked/1.0@demo/testing#r1", recipeFiles)
	wantStatus(t, j.do(call{method: "POST", path: "/api/v1/tokens/revoke", user: "demo", body: `{"name": "bot"}`}), 200)
	j.run()
	for name, want := range map[string]string{
		"works": "done ", "a wrong store": `failed invalid: there is no store "moon"`, "a revoked robot": `failed "bot": `,
		"nothing to write": `failed denied: user "demo" may not write locked/1.0@demo/testing`,
	} {
		who := demo
		if name == "a revoked robot" {
			continue // nobody is left who may follow it
		}
		_, last := j.follow(ids[name], who)
		if got := fmt.Sprint(last.State, " ", last.Error); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	row, err := j.db.Job(t.Context(), ids["a revoked robot"])
	if err != nil || row.State != index.JobFailed || !strings.Contains(row.Error, "is gone") {
		t.Errorf("the job of a revoked robot: %+v, %v", row, err)
	}
	detail := bodyOf(t, j.do(call{method: "GET", path: fmt.Sprint("/api/v1/jobs/show?id=", ids["works"]), user: "demo"}))
	for _, want := range []string{`"result":{"dry_run":false,"revisions":[{"revision":"hello/1.0@demo/testing#r1","outcome":"removed"`, `"progress":{"revisions":{"done":1,`} {
		if !strings.Contains(detail, want) {
			t.Errorf("detail lacks %q: %s", want, detail)
		}
	}
	if diff := cmp.Diff([]string{"[hello/1.0@demo/testing#r1] by demo at 192.0.2.7"}, j.store.removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}

// A job whose process ends right after its change is done by the next one, which changes nothing.
func TestJobsMakeTheirChangeOnce(t *testing.T) {
	j := newJobsWorld(t)
	demo := withBasic("demo", "demo")
	id := j.start(demo, removeHello)
	job, err := j.db.ClaimJob(t.Context(), j.now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = j.server.RunJob(t.Context(), api.Background{
		Call: job.Call, Owner: job.Owner, Login: job.Login, Address: job.Address, Arguments: job.Arguments, Claim: job.Claim(),
		Job: expecting{func(result any) error {
			text, _ := json.Marshal(result)
			return j.db.ExpectJobResult(t.Context(), job.Claim(), text)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	j.local.have(t, "hello/1.1@demo/testing#r2", recipeFiles) // published since: not what was meant
	j.run()
	_, last := j.follow(id, demo)
	row, err := j.db.Job(t.Context(), id)
	if err != nil || last.State != index.JobDone || !strings.Contains(string(last.Progress), `"done":1`) || !strings.Contains(string(row.Result), "hello/1.0@demo/testing#r1") || len(j.store.removed) != 1 {
		t.Errorf("job %+v, %v; removed %q", row, err, j.store.removed)
	}
}

// What a job expects to answer is not shown as its result: it may never come.
func TestExpectedResultIsNotShown(t *testing.T) {
	j := newJobsWorld(t)
	id := j.start(withBasic("demo", "demo"), removeHello)
	job, err := j.db.ClaimJob(t.Context(), j.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.db.ExpectJobResult(t.Context(), job.Claim(), json.RawMessage(`{"revisions":[]}`)); err != nil {
		t.Fatal(err)
	}
	shown := func(state string) {
		t.Helper()
		detail := bodyOf(t, j.do(call{method: "GET", path: fmt.Sprint("/api/v1/jobs/show?id=", id), user: "demo"}))
		if !strings.Contains(detail, `"state":"`+state+`"`) || strings.Contains(detail, `"result"`) {
			t.Errorf("a job that is %s: %s", state, detail)
		}
	}
	shown("running")
	wantStatus(t, j.do(call{method: "POST", path: "/api/v1/jobs/cancel", user: "demo", body: fmt.Sprintf(`{"id":%d}`, id)}), 200)
	shown("cancelled")
}

// expecting plays the runner of a job.
type expecting struct{ expect func(any) error }

func (expecting) Progress(transfer.Progress) {}
func (e expecting) Expect(result any) error  { return e.expect(result) }

// A job is stopped when its owner goes, and goes on under new rules when they are replaced.
func TestJobsAskForRightsAsTheyGo(t *testing.T) {
	j := newJobsWorld(t)
	begun, goOn := make(chan struct{}, 8), make(chan struct{})
	j.store.hold = func(context.Context) { begun <- struct{}{}; <-goOn }
	j.run()
	demo := withBasic("demo", "demo")
	id := j.start(demo, removeHello)
	<-begun
	j.setRules(readRules, []auth.Rule{{Pattern: "*", Users: []string{"other"}}})
	j.runner.Again()
	close(goOn)
	_, last := j.follow(id, demo)
	if last.State != index.JobFailed || !strings.Contains(last.Error, "may not write") || last.Fence != 2 {
		t.Errorf("after the rules were replaced: %+v", last)
	}
	if len(j.store.removed) != 0 {
		t.Errorf("removed %q", j.store.removed)
	}
}

// A robot token that is revoked while its job runs ends the job.
func TestJobsEndWithTheirOwner(t *testing.T) {
	j := newJobsWorld(t)
	robot := j.bearer("demo", `{"name": "bot", "read": true, "write": true}`)
	begun := make(chan struct{})
	j.store.hold = func(ctx context.Context) { close(begun); <-ctx.Done() }
	j.run()
	id := j.start(robot, removeHello)
	<-begun
	wantStatus(t, j.do(call{method: "POST", path: "/api/v1/tokens/revoke", user: "demo", body: `{"name": "bot"}`}), 200)
	for {
		changed := j.runner.Changed()
		job, err := j.db.Job(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if job.State.Ended() {
			if job.State != index.JobFailed || !strings.Contains(job.Error, `"bot"`) || !strings.Contains(job.Error, "is gone") || len(j.store.removed) != 0 {
				t.Errorf("job %+v; removed %q", job, j.store.removed)
			}
			return
		}
		<-changed
	}
}

func TestFollowersEndWithTheServer(t *testing.T) {
	j := newJobsWorld(t)
	demo := withBasic("demo", "demo")
	id := j.start(demo, removeHello)
	close(j.drain)
	names, last := j.follow(id, demo)
	if fmt.Sprint(names) != "[progress]" || last.State != index.JobWaiting {
		t.Errorf("events %q, the last %+v", names, last)
	}
}
