package proxy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/proxy/api"
)

// onePinned has the member "conancenter", in which ann has pinned what a memStore has, and tells
// what it was asked to do.
type onePinned struct {
	oneUpstream
	annPinned conan.Source
	did       string
	rows      []index.Pin
}

func (o *onePinned) Member(name string) (api.Member, bool) { return o, name == "conancenter" }

func (o *onePinned) Pin(_ context.Context, revs []conan.Revision, owner string, by conan.Actor, dry bool) ([]conan.Moved, error) {
	o.did = fmt.Sprint("pin ", revs, " of ", owner, " by ", by.Name, " ", dry)
	return []conan.Moved{{Revision: revs[0]}, {Revision: revs[0], Skipped: true}}, nil
}

func (o *onePinned) Unpin(_ context.Context, revs []conan.Revision, owner string, by conan.Actor, dry bool) ([]conan.Moved, error) {
	o.did = fmt.Sprint("unpin ", revs, " of ", owner, " by ", by.Name, " ", dry)
	return []conan.Moved{{Revision: revs[0]}}, nil
}

func (o *onePinned) PinSource(owner string) conan.Source {
	if owner == "ann" || owner == "" {
		return o.annPinned
	}
	return newMemStore("none", conan.StateLocal, time.Now)
}

func (o *onePinned) Pins(_ context.Context, before int64, limit int) ([]index.Pin, error) {
	return o.rows[:min(limit, len(o.rows))], nil
}

func TestPinCalls(t *testing.T) {
	members := &onePinned{rows: []index.Pin{{ID: 7, Owner: "ann", Revision: conan.Revision{Ref: conan.Ref{Name: "hello", Version: "1.0"}, RRev: "r1"}}, {ID: 3, Owner: "bob"}}}
	w := newWorld(t, func(o *worldOptions) { o.API = &api.API{Stores: &oneStore{}, Members: members} })
	w.withAdmin("mü")
	members.annPinned = w.upstream
	w.upstream.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.upstream.have(t, "hello/1.0@demo/testing#r2", recipeFiles)
	const newest, both = "[hello/1.0@demo/testing#r2]", "[hello/1.0@demo/testing#r1 hello/1.0@demo/testing#r2]"
	body := func(more string) string {
		return `{"in": "conancenter", "selection": {"patterns": ["hello/1.0@*"]}` + more + `}`
	}
	for name, tc := range map[string]struct {
		method, path, user, body string
		status                   int
		says                     string
		did                      string
	}{
		"a user":               {"POST", "pin", "demo", body(""), 403, "administrators", ""},
		"the newest":           {"POST", "pin", "mü", body(""), 200, `"outcome":"pinned"`, "pin " + newest + " of mü by mü false"},
		"again":                {"POST", "pin", "mü", body(`, "dry_run": true`), 200, `"outcome":"skipped"`, "pin " + newest + " of mü by mü true"},
		"an unknown member":    {"POST", "pin", "mü", strings.Replace(body(""), "conancenter", "moon", 1), 400, "moon", ""},
		"nothing":              {"POST", "pin", "mü", strings.Replace(body(""), "hello", "none", 1), 400, "matches nothing", ""},
		"a user's unpin":       {"POST", "unpin", "demo", body(""), 403, "administrators", ""},
		"unpin what is not":    {"POST", "unpin", "mü", body(""), 400, "matches nothing", ""},
		"unpin of another":     {"POST", "unpin", "mü", body(`, "owner": "ann"`), 200, `"outcome":"unpinned"`, "unpin " + both + " of ann by mü false"},
		"unpin of all":         {"POST", "unpin", "mü", body(`, "all": true, "dry_run": true`), 200, `"dry_run":true`, "unpin " + both + " of  by mü true"},
		"unpin of two choices": {"POST", "unpin", "mü", body(`, "all": true, "owner": "ann"`), 400, "either", ""},
		"a user's list":        {"GET", "pins?in=conancenter", "demo", "", 403, "administrators", ""},
		"the list":             {"GET", "pins?in=conancenter", "mü", "", 200, `"revision":"hello/1.0#r1","owner":"ann"`, ""},
		"a page of it":         {"GET", "pins?in=conancenter&limit=1", "mü", "", 200, `"next":7`, ""},
		"a list of nothing":    {"GET", "pins?in=moon", "mü", "", 400, "moon", ""},
	} {
		t.Run(name, func(t *testing.T) {
			members.did = ""
			resp := w.do(call{method: tc.method, path: "/api/v1/" + tc.path, user: tc.user, body: tc.body})
			text := bodyOf(t, resp)
			if resp.StatusCode != tc.status || !strings.Contains(text, tc.says) {
				t.Errorf("status %d, want %d and %q: %s", resp.StatusCode, tc.status, tc.says, text)
			}
			if members.did != tc.did {
				t.Errorf("did %q, want %q", members.did, tc.did)
			}
		})
	}
}
