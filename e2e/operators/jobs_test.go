package operators

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// jobsProxy has two stores. ann may write both and bob may read release.
func jobsProxy(t *testing.T) *e2etest.Conanproxy {
	return e2etest.StartConanproxy(t, harness.Settings{
		"stores":    []harness.Settings{{"name": "dev"}, {"name": "release"}},
		"views":     []harness.Settings{{"name": "team", "members": []string{"release", "dev"}, "publish": "dev"}},
		"upstreams": []harness.Settings{},
		"auth": harness.Settings{
			"read": []harness.Settings{
				{"pattern": "*", "users": []string{"ann", "demo", "bob"}, "in": []string{"release"}},
				{"pattern": "*", "users": []string{"ann", "demo"}},
			},
			"write": []harness.Settings{{"pattern": "*", "users": []string{"ann", "demo"}}},
			"admin": []string{"demo"},
		},
	})
}

// exported uploads recipes alone, some versions of one name, to dev.
func exported(t *testing.T, proxy *e2etest.Conanproxy, versions int) (refs []string) {
	t.Helper()
	c := e2etest.NewConan2(t, proxy.URL("r", "dev")).As("ann", "ann")
	for i := range versions {
		version := fmt.Sprintf("1.%d", i)
		c.Export(e2etest.Recipe(t, "header", `version = "1.0"`, `version = "`+version+`"`), "acme/stable")
		refs = append(refs, "header/"+version+"@acme/stable")
	}
	c.Upload("header/*")
	return refs
}

// TestJobsSurviveAKill starts jobs and kills the server at once: the next one resumes them, and
// each is done once.
func TestJobsSurviveAKill(t *testing.T) {
	t.Parallel()
	proxy := jobsProxy(t)
	const rounds = 6
	refs := exported(t, proxy, rounds)
	ann, demo := e2etest.NewOperator(t, proxy, "ann"), e2etest.NewOperator(t, proxy, "demo")
	cursor := strings.Fields(ann.Must("changes"))[1]
	var jobs []string
	for _, change := range [][]string{
		{"promote", "--from", "dev", "--to", "release"}, {"remove", "--in", "release"}, {"restore", "--in", "release"},
	} {
		var started []string
		for i, ref := range refs {
			started = append(started, strings.TrimSpace(ann.Must(append(change, "--background", "--yes", ref)...)))
			if i == rounds/2 {
				proxy.Kill()
				proxy.Start()
			}
		}
		proxy.Kill()
		proxy.Start()
		for _, id := range started {
			e2etest.Says(t, ann.Must("job", "follow", id), "done: 1 of 1 revisions")
		}
		jobs = append(jobs, started...)
	}
	e2etest.Says(t, ann.Must("job", "show", jobs[rounds]), "remove by ann from 127.0.0.1", "removed  header/1.0@acme/stable#")
	toldOnce(t, ann, cursor, refs)
	for action, want := range map[string]int{"promote": rounds, "remove": rounds, "restore": rounds, "job_start": 3 * rounds} {
		var audit []struct{ User string }
		if err := json.Unmarshal([]byte(demo.Must("audit", "--json", "--action", action)), &audit); err != nil {
			t.Fatal(err)
		}
		if len(audit) != want {
			t.Errorf("the audit has %d lines of %s, want %d", len(audit), action, want)
		}
	}
}

// toldOnce checks that the feed tells once that each reference was promoted, removed and restored.
func toldOnce(t *testing.T, o e2etest.Operator, cursor string, refs []string) {
	t.Helper()
	var page struct{ Lines []changed }
	if err := json.Unmarshal([]byte(o.Must("changes", "--json", "--after", cursor)), &page); err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for _, l := range page.Lines {
		ref, _, _ := strings.Cut(l.Revision, "#")
		count[l.Action+" "+ref]++
	}
	for _, ref := range refs {
		for _, action := range []string{"promoted", "removed", "restored"} {
			if n := count[action+" "+ref]; n != 1 {
				t.Errorf("%s was %s %d times", ref, action, n)
			}
		}
	}
}

func TestJobsFollowTheRules(t *testing.T) {
	t.Parallel()
	proxy := jobsProxy(t)
	ref := exported(t, proxy, 1)[0]
	ann, bob, demo := e2etest.NewOperator(t, proxy, "ann"), e2etest.NewOperator(t, proxy, "bob"), e2etest.NewOperator(t, proxy, "demo")
	id := strings.TrimSpace(ann.Must("promote", "--from", "dev", "--to", "release", "--background", ref))
	e2etest.Says(t, ann.Must("job", "follow", id), "done: 1 of 1 revisions")
	e2etest.Says(t, ann.Must("job", "list"), "promote", "ann", "done")
	e2etest.SilentAbout(t, bob.Must("job", "list"), "promote")
	e2etest.Says(t, demo.Must("job", "list", "--state", "done"), "promote", "ann")
	bob.Fails(2, "no such job", "job", "show", id)
	bob.Fails(2, "no such job", "job", "follow", id)
	ann.Fails(1, "has ended: done", "job", "cancel", id)
	ann.Fails(2, "number of a job", "job", "show", "first")
	ann.Fails(2, "background", "promote", "--from", "dev", "--to", "release", "--background", "--dry-run", ref)

	refused := strings.TrimSpace(bob.Must("promote", "--from", "release", "--to", "dev", "--background", "--yes", ref))
	bob.Fails(1, "may not write", "job", "follow", refused)
	robot := e2etest.OperatorWith(t, proxy, makeToken(ann, "mover", "--read", "--write"))
	e2etest.Says(t, robot.Must("job", "follow", strings.TrimSpace(robot.Must("remove", "--in", "release", "--background", "--yes", ref))), "done: 1 of 1")
	e2etest.Says(t, demo.Must("job", "list"), "mover")
	e2etest.Says(t, demo.Must("audit", "--user", "mover"), "job_start", "remove")
}

// TestChangesAreSeen: an upload by a real client is seen by those who follow the changes and may
// read the store, in order, and by no one else; shutting down ends the waiting at once.
func TestChangesAreSeen(t *testing.T) {
	t.Parallel()
	proxy := jobsProxy(t)
	follow := func(user string) *followed { return followChanges(t, e2etest.NewOperator(t, proxy, user)) }
	ann, bob := follow("ann"), follow("bob")
	c := e2etest.NewConan2(t, proxy.URL("r", "dev")).As("ann", "ann")
	c.Create(e2etest.Recipe(t, "lib"), "acme/stable")
	c.Upload("lib/*")
	uploaded := time.Now()
	recipe, pkg := ann.next(), ann.next()
	if late := time.Since(uploaded); late > 2*time.Second {
		t.Errorf("the upload was seen %s after its end", late)
	}
	if got := []string{recipe.in(), pkg.in()}; got[0] != "published dev" || got[1] != "published dev" ||
		!strings.HasPrefix(pkg.Revision, recipe.Revision+":") {
		t.Errorf("changes %q of %s and %s", got, recipe.Revision, pkg.Revision)
	}
	demo := e2etest.NewOperator(t, proxy, "demo")
	demo.Must("promote", "--from", "dev", "--to", "release", "lib/*")
	for _, seen := range []*followed{ann, bob} { // for bob it is the first
		if got := seen.next(); got.in() != "promoted release" || got.Revision != recipe.Revision {
			t.Errorf("change %+v", got)
		}
		seen.next()
	}
	began := time.Now()
	proxy.Stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the server took %s to stop while changes were waited for", took)
	}
	proxy.Start() // those who follow go on
	demo.Must("remove", "--in", "release", "--yes", "lib/*")
	for _, seen := range []*followed{ann, bob} {
		if got := seen.next(); got.in() != "removed release" {
			t.Errorf("after a restart: %+v", got)
		}
	}
	demo.Fails(1, "does not know this cursor", "changes", "--after", "0123456789abcdef")
}
