package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestJobs kills the server while a job promotes, removes, restores, or runs retention. The next
// server resumes each job and makes its change once.
func TestJobs(t *testing.T) {
	r := newRun(t)
	for _, op := range operations {
		o := r.operate(op)
		resumed := 0
		for round := range *rounds {
			if o.jobOnce(round) {
				resumed++
			}
		}
		o.s.kill()
		if out, err := o.s.command("fsck"); err != nil {
			o.lost = append(o.lost, "fsck: "+out)
		}
		r.none(fmt.Sprintf("kill -9 during %s as a job, %d rounds, %d of them resumed", op.name, *rounds, resumed),
			"0 lost, 0 made twice or half", fmt.Sprintf("%d, %d", len(o.lost), len(o.half)), append(o.lost, o.half...))
		if *full && resumed == 0 {
			r.Errorf("%s: no job was resumed", op.name)
		}
	}
}

// jobOnce starts a job, kills the server at some moment until a little after the job's end, and
// looks what became of it. It tells whether the next server resumed the job.
func (o *operating) jobOnce(round int) (resumed bool) {
	o.publishSome(round)
	for _, name := range o.before {
		o.must(o.change(o.Context(), name, round))
	}
	var page struct{ Cursor string }
	o.read("/api/v1/changes", &page)
	begun := time.Now()
	id, err := o.start(o.Context(), round)
	o.must(err)
	if o.took == 0 { // the first round measures how long a job takes
		o.end(id)
		o.took = time.Since(begun)
	} else {
		time.Sleep(time.Duration(o.random.Int64N(int64(o.took))))
	}
	o.s.kill()
	o.s.start()
	resumed = o.end(id)
	o.judge(true, round)
	o.toldOnce(page.Cursor, round)
	return resumed
}

// start starts the operation as a job and returns the job's number.
func (o *operating) start(ctx context.Context, round int) (id int64, err error) {
	a := ask(ctx, http.MethodPost, o.s.url("/api/v1/"+o.name+"?job=true"), o.body(o.name, round), o.s.token)
	var job struct{ ID int64 }
	if a.err != nil || a.status != http.StatusAccepted || json.Unmarshal(a.body, &job) != nil {
		return 0, fmt.Errorf("%s as a job: %s", o.name, a)
	}
	return job.ID, nil
}

// end waits for the end of a job, and tells whether it was begun more than once.
func (o *operating) end(id int64) (again bool) {
	a := ask(o.Context(), http.MethodGet, o.s.url(fmt.Sprint("/api/v1/jobs/follow?id=", id)), nil, o.s.token)
	_, last, _ := strings.Cut(string(a.body), "event: end\ndata: ")
	var job struct {
		State string
		Fence int
	}
	if a.err != nil || json.Unmarshal([]byte(last), &job) != nil || job.State != "done" {
		o.lost = append(o.lost, fmt.Sprintf("job %d: %s", id, a))
	}
	return job.Fence > 1
}

// toldOnce checks whether the feed tells of each revision of the round once.
func (o *operating) toldOnce(cursor string, round int) {
	var page struct {
		Lines []struct{ Action, Revision string }
	}
	o.read("/api/v1/changes?limit=1000&after="+cursor, &page)
	times := map[string]int{}
	for _, l := range page.Lines {
		times[l.Revision]++
	}
	for _, set := range o.sets {
		if n := times[set.Revision.String()]; n != 1 {
			o.half = append(o.half, fmt.Sprintf("round %d: the feed tells of %s %d times", round, set.Revision, n))
		}
	}
}

// read reads an answer of the API.
func (o *operating) read(path string, into any) {
	a := ask(o.Context(), http.MethodGet, o.s.url(path), nil, o.s.token)
	if a.err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, into) != nil {
		o.Fatalf("read %s: %s", path, a)
	}
}
