package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// published records recipe revisions in the store and so in the feed.
func (j *jobsWorld) published(refs ...string) {
	j.t.Helper()
	id, err := j.db.Member(j.t.Context(), "local", index.KindStore)
	if err != nil {
		j.t.Fatal(err)
	}
	for _, text := range refs {
		ref, err := conan.ParseRef(text)
		if err != nil {
			j.t.Fatal(err)
		}
		if err := j.db.PutRevision(j.t.Context(), id, conan.Revision{Ref: ref, RRev: "r"}, index.PutOptions{Time: j.now}); err != nil {
			j.t.Fatal(err)
		}
	}
}

// changes asks for the feed and returns its lines in short and the cursor.
func (j *jobsWorld) changes(user, after string, args ...string) (lines []string, cursor string) {
	j.t.Helper()
	path := "/api/v1/changes?after=" + url.QueryEscape(after) + strings.Join(args, "")
	resp := j.do(call{method: "GET", path: path, user: user})
	wantStatus(j.t, resp, http.StatusOK)
	var page api.Changes
	if err := json.Unmarshal([]byte(bodyOf(j.t, resp)), &page); err != nil {
		j.t.Fatal(err)
	}
	for _, l := range page.Lines {
		lines = append(lines, fmt.Sprint(l.Action, " ", l.Member, " ", l.Revision))
	}
	return lines, page.Cursor
}

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestChangesAreThoseThatTheCallerMayRead(t *testing.T) {
	j := newJobsWorld(t)
	lines, begin := j.changes("", "")
	wantLines(t, "the beginning", lines)
	j.published("aa/1", "secret/1", "bb/1")
	lines, end := j.changes("demo", begin)
	wantLines(t, "one who may read all", lines, "published local aa/1#r", "published local secret/1#r", "published local bb/1#r")
	lines, same := j.changes("", begin)
	wantLines(t, "anonymous", lines, "published local aa/1#r", "published local bb/1#r")
	if same != end {
		t.Errorf("cursors %q and %q at one end", same, end)
	}
	lines, middle := j.changes("demo", begin, "&limit=1")
	wantLines(t, "a short page", lines, "published local aa/1#r")
	lines, _ = j.changes("demo", middle)
	wantLines(t, "the rest", lines, "published local secret/1#r", "published local bb/1#r")

	hide := []index.Hide{{Revision: conan.Revision{Ref: conan.Ref{Name: "secret", Version: "1"}, RRev: "r"}},
		{Member: "conancenter", Revision: conan.Revision{Ref: conan.Ref{Name: "bb", Version: "1"}, RRev: "r"}},
		{Member: "gone", Revision: conan.Revision{Ref: conan.Ref{Name: "bb", Version: "1"}, RRev: "r"}}}
	if err := j.db.Hide(t.Context(), hide, conan.Actor{}, j.now); err != nil {
		t.Fatal(err)
	}
	lines, _ = j.changes("", end)
	wantLines(t, "hides, anonymous", lines, "hidden conancenter bb/1#r")
	lines, _ = j.changes("demo", end)
	wantLines(t, "hides", lines, "hidden  secret/1#r", "hidden conancenter bb/1#r")

	for path, status := range map[string]int{
		"?after=0123456789abcdef": 410, "?after=elephant": 410, "?after=" + end + "&wait=1h": 400, "?after=" + end + "&wait=-1s": 400,
		"?after=" + end + "&wait=x": 400, "?limit=0": 400, "?limit=1001": 400,
	} {
		wantStatus(t, j.get("/api/v1/changes"+path), status)
	}
}

func TestChangesWaitForWhatTheCallerMayRead(t *testing.T) {
	j := newJobsWorld(t)
	_, begin := j.changes("", "")
	lines, cursor := j.changes("", begin, "&wait=1ms")
	wantLines(t, "when nothing comes", lines)
	if cursor != begin {
		t.Errorf("cursor %q, want %q", cursor, begin)
	}
	answer := make(chan []string)
	wait := func(user string) {
		go func() {
			lines, _ := j.changes(user, begin, "&wait=30s")
			answer <- lines
		}()
	}
	began := time.Now()
	wait("")
	j.published("secret/1")
	select {
	case lines := <-answer:
		t.Errorf("what the caller may not read ended the wait: %q", lines)
	case <-time.After(50 * time.Millisecond):
	}
	j.published("aa/1")
	wantLines(t, "anonymous", <-answer, "published local aa/1#r")
	if waited := time.Since(began); waited > 20*time.Second {
		t.Errorf("the answer came after %s", waited)
	}

	_, begin = j.changes("", "")
	wait("demo")
	j.setRules([]auth.Rule{{Pattern: "aa/*", Users: []string{"*"}}}, writeRules)
	j.published("secret/2", "aa/2")
	wantLines(t, "by the rules in force", <-answer, "published local aa/2#r")

	_, begin = j.changes("", "")
	wait("")
	close(j.drain)
	wantLines(t, "when the server ends", <-answer)
}
