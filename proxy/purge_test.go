package proxy

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// withAdmin makes a user the administrator of a world.
func (w *world) withAdmin(user string) {
	w.t.Helper()
	w.server.SetSettings(w.settings(func(o *SettingsOptions) {
		guard, err := auth.New(auth.Options{Directory: w.directory, Read: readRules, Write: writeRules, Admin: []string{user}})
		if err != nil {
			w.t.Fatal(err)
		}
		o.Guard = guard
	}))
}

// oneUpstream has the upstream "center", which tells what it was asked to purge.
type oneUpstream struct{ purged string }

func (o *oneUpstream) Upstream(name string) (api.Upstream, bool) { return o, name == "center" }

func (o *oneUpstream) Member(string) (api.Member, bool) { return nil, false }

func (o *oneUpstream) Purge(_ context.Context, p api.Purge) (api.PurgeReport, error) {
	zlib := conan.Ref{Name: "zlib", Version: "1.3"}
	o.purged = fmt.Sprint(p.By.Name, " ", p.Target, " ", p.Matches == nil || p.Matches(zlib), " ", p.Pinned, " ", p.Dry)
	return api.PurgeReport{DryRun: p.Dry, Kept: 7}, nil
}

func TestPurgeCall(t *testing.T) {
	upstreams := &oneUpstream{}
	w := newWorld(t, func(o *worldOptions) { o.API = &api.API{Stores: &oneStore{}, Members: upstreams} })
	w.withAdmin("mü")
	for name, tc := range map[string]struct {
		user, body string
		status     int
		says       string
		purged     string
	}{
		"anonymous":       {"", `{"in": "center", "everything": true}`, 401, "not logged in", ""},
		"a user":          {"demo", `{"in": "center", "everything": true}`, 403, "administrators", ""},
		"everything":      {"mü", `{"in": "center", "everything": true}`, 200, `"kept":7`, "mü everything true false false"},
		"a reference":     {"mü", `{"in": "center", "selection": {"patterns": ["zlib/1.3"]}, "dry_run": true}`, 200, `"dry_run":true`, "mü zlib/1.3 true false true"},
		"another":         {"mü", `{"in": "center", "selection": {"patterns": ["bzip2/*", "x/1"]}, "pinned": true}`, 200, "", "mü bzip2/*, x/1 false true false"},
		"a lockfile":      {"mü", `{"in": "center", "selection": {"lockfile": {"version": "0.5", "requires": ["zlib/1.3#aa"]}}}`, 200, "", "mü the references of a lockfile true false false"},
		"both":            {"mü", `{"in": "center", "everything": true, "selection": {"patterns": ["zlib/1.3"]}}`, 400, "either", ""},
		"neither":         {"mü", `{"in": "center"}`, 400, "either", ""},
		"a revision":      {"mü", `{"in": "center", "selection": {"patterns": ["zlib/1.3#aa"]}}`, 400, "whole references", ""},
		"a store":         {"mü", `{"in": "local", "everything": true}`, 400, "no upstream", ""},
		"an empty choice": {"mü", `{"in": "center", "selection": {}}`, 400, "empty", ""},
	} {
		t.Run(name, func(t *testing.T) {
			upstreams.purged = ""
			resp := w.do(call{method: "POST", path: "/api/v1/purge", user: tc.user, body: tc.body})
			body := bodyOf(t, resp)
			if resp.StatusCode != tc.status || !strings.Contains(body, tc.says) {
				t.Errorf("status %d, want %d and %q: %s", resp.StatusCode, tc.status, tc.says, body)
			}
			if upstreams.purged != tc.purged {
				t.Errorf("purged %q, want %q", upstreams.purged, tc.purged)
			}
		})
	}
}
