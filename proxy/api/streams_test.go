package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/proxy/auth"
)

// allJobs are the methods that no test here needs.
type allJobs interface{ Jobs }

// scripted is one job of ann, and a feed, which a test changes.
type scripted struct {
	allJobs
	mu      sync.Mutex
	job     index.Job
	lines   []index.FeedLine
	changed chan struct{}
}

func (s *scripted) Job(context.Context, int64) (index.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.job, nil
}

func (s *scripted) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *scripted) FeedCursor(context.Context) (string, error) { return "0", nil }
func (s *scripted) FeedChanged() <-chan struct{}               { return s.Changed() }

func (s *scripted) FeedAfter(_ context.Context, cursor string, limit int) ([]index.FeedLine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int
	_, err := fmt.Sscan(cursor, &n)
	return s.lines[n:min(n+limit, len(s.lines))], err
}

// tell changes the script and wakes those who wait.
func (s *scripted) tell(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// scriptedCall is a call of ann, who may read all but secret/*.
func scriptedCall(t *testing.T, query string) *Call {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	c := &Call{
		Context: t.Context(), Caller: auth.Caller{Name: "ann"}, Guard: new(auth.Guard), Query: values,
		ReadsSomewhere: func(ref conan.Ref) bool { return ref.Name != "secret" },
	}
	c.Renew = func() (*Call, error) { return c, nil }
	return c
}

func TestFollowersGetSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{job: index.Job{ID: 7, Owner: "ann", State: index.JobWaiting}, changed: make(chan struct{})}
		a := &API{Jobs: s}
		answer, err := a.followJob(scriptedCall(t, "id=7"))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var got []string
		done := make(chan error)
		go func() {
			done <- answer.(Events)(func(event string, data any) error {
				text := fmt.Sprint(time.Since(began), " ", event)
				if line, ok := data.(JobLine); ok {
					text += " " + string(line.State) + string(line.Progress)
				}
				got = append(got, text)
				return nil
			})
		}()
		pause := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		pause(16 * time.Second)
		s.tell(func() { s.job.State = index.JobRunning })
		pause(time.Second)
		s.tell(func() {}) // another job changed
		pause(time.Second)
		s.tell(func() { s.job.Progress = json.RawMessage(`{}`) })
		pause(16 * time.Second)
		s.tell(func() { s.job.State = index.JobDone })
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []string{"0s progress waiting", "15s ", "16s progress running", "18s progress running{}", "33s ", "34s end done{}"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		if len(a.waiting.of) != 0 {
			t.Error("a follower that has left is counted")
		}
	})
}

func TestChangesWaitAsLongAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{changed: make(chan struct{})}
		a := &API{Feed: s}
		add := func(name string) {
			s.tell(func() {
				line := index.FeedLine{Cursor: fmt.Sprint(len(s.lines) + 1), Action: index.FeedHidden}
				line.Ref, line.RRev = conan.Ref{Name: name, Version: "1"}, "r"
				s.lines = append(s.lines, line)
			})
		}
		ask := func(query string) string {
			began := time.Now()
			answer, err := a.changes(scriptedCall(t, query))
			if err != nil {
				return err.Error()
			}
			text := []string{fmt.Sprint(time.Since(began))}
			for _, l := range answer.(Changes).Lines {
				text = append(text, l.Revision)
			}
			return strings.Join(append(text, answer.(Changes).Cursor), " ")
		}
		later := func(d time.Duration, do func()) {
			go func() { time.Sleep(d); do() }()
		}
		for _, tt := range []struct {
			query, want string
			meanwhile   func()
		}{
			{"wait=25s", "0s 0", nil},
			{"after=0", "0s 0", nil},
			{"after=0&wait=25s", "25s 0", nil},
			{"after=0&wait=25s", "25s 1", func() { add("secret") }},
			{"after=1&wait=30s", "10s open/1#r 2", func() { add("open") }},
			{"after=0&wait=30s", "0s open/1#r 2", nil},
			{"after=0&wait=31s", "invalid: wait is no time from 0s to 30s, like 25s", nil},
		} {
			if tt.meanwhile != nil {
				later(10*time.Second, tt.meanwhile)
			}
			if got := ask(tt.query); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.query, got, tt.want)
			}
		}
		drain := make(chan struct{})
		a.Drain = drain
		later(3*time.Second, func() { close(drain) })
		if got := ask("after=2&wait=25s"); got != "3s 2" {
			t.Errorf("a server that ends answers %q", got)
		}
		if len(a.waiting.of) != 0 {
			t.Error("a request that has ended is counted")
		}
		for range mostLooks * mostPage {
			add("secret")
		}
		add("open")
		for _, tt := range [][2]string{{"after=2&wait=25s", "0s 10002"}, {"after=10002", "0s open/1#r 10003"}} {
			if got := ask(tt[0]); got != tt[1] {
				t.Errorf("%s, after many others: %q, want %q", tt[0], got, tt[1])
			}
		}
	})
}
