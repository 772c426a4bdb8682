package proxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/retention"
	"conanproxy/internal/transfer"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// theStore is one that counts what is removed, and what for good. It has what a memStore has.
type theStore struct {
	api.Store
	all             conan.Source
	removed, erased int
}

// oneStore are the stores of the API: only "local".
type oneStore struct {
	api.Stores
	audit   []index.Audit
	local   theStore
	running bool // a retention run is under way
}

func (o *oneStore) Store(name string) (api.Store, bool) { return &o.local, name == "local" }

func (o *oneStore) Promotion(from, to string) (transfer.Sink, bool) { return nil, false }

func (o *oneStore) Retain(_ context.Context, store string, by conan.Actor, dry bool) ([]retention.Decision, error) {
	if by.Name != "demo" || store != "local" {
		return nil, fmt.Errorf("retention of %s by %+v", store, by)
	}
	if o.running {
		return nil, fmt.Errorf("%w: a retention run is under way", conan.ErrConflict)
	}
	gone := conan.Revision{Ref: conan.Ref{Name: "hello", Version: "1.0"}, RRev: "r1"}
	if !dry {
		o.local.removed++
	}
	return []retention.Decision{{Revision: gone, Goes: true, Reason: "unused for 33d, rule 1"}, {Revision: gone, Reason: "hidden: bad"}}, nil
}

func (s *theStore) RemoveRevisions(_ context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Revision, error) {
	if by.Name != "demo" || by.Address != "192.0.2.7" {
		return nil, fmt.Errorf("removed by %+v", by)
	}
	if !dry {
		s.removed += len(revs)
	}
	return revs, nil
}

// Keeps says that a lockfile names hello.
func (o *oneStore) Keeps(string) func(conan.Revision) (string, bool) {
	return func(rev conan.Revision) (string, bool) { return "rooted by app.lock", rev.Name == "hello" }
}

func (s *theStore) EverySource() conan.Source { return s.all }

// Erase says that the bytes are in a member that all may read, and in one that only demo may.
func (s *theStore) Erase(_ context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]index.Erased, error) {
	if !dry {
		s.erased += len(revs)
	}
	secret := conan.Ref{Name: "secret", Version: "1"}
	return []index.Erased{{Revision: revs[0], Elsewhere: []index.Naming{
		{Place: index.PlaceCached, Member: "center", Ref: revs[0].Ref, SHA256: "a"},
		{Place: index.PlaceCached, Member: "center", Ref: revs[0].Ref, SHA256: "b"},
		{Place: index.PlaceCached, Member: "center", Ref: secret, SHA256: "b"},
		{Place: index.PlaceTrash, Member: "vault", Ref: secret, SHA256: "a"},
	}}}, nil
}

func (o *oneStore) AuditLines(context.Context, index.AuditFilter) ([]index.AuditLine, error) {
	return nil, nil
}

func (o *oneStore) WriteAudit(_ context.Context, a index.Audit, _ time.Time) error {
	o.audit = append(o.audit, a)
	return nil
}

func TestOperatorsAPI(t *testing.T) {
	stores := &oneStore{}
	w := newWorld(t, func(o *worldOptions) { o.API = &api.API{Stores: stores, Audit: stores} })
	stores.local.all = w.local
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	const all = `{"in": "local", "selection": {"patterns": ["hello/*"]}}`
	const now = `{"in": "local", "now": true, "selection": {"patterns": ["hello/*"]}}`
	for name, tc := range map[string]struct {
		method, path, user, body string
		header                   map[string]string
		status                   int
		says                     string
		removed                  int
	}{
		"anonymous":           {"POST", "/api/v1/remove", "", all, nil, 401, "you are not logged in", 0},
		"a user":              {"POST", "/api/v1/remove", "demo", all, nil, 200, `"outcome":"removed","newest":false,"reason":"rooted by app.lock"`, 1},
		"a dry run":           {"POST", "/api/v1/remove", "demo", strings.Replace(all, `"in"`, `"dry_run": true, "in"`, 1), nil, 200, `"dry_run":true`, 0},
		"another site's page": {"POST", "/api/v1/remove", "demo", all, map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "other sites", 0},
		"half a JSON":         {"POST", "/api/v1/remove", "demo", all[:20], nil, 400, "not the JSON", 0},
		"an unknown field":    {"POST", "/api/v1/remove", "demo", strings.Replace(all, `"in"`, `"force": 1, "in"`, 1), nil, 400, "force", 0},
		"an unknown store":    {"POST", "/api/v1/remove", "demo", strings.Replace(all, "local", "moon", 1), nil, 400, "moon", 0},
		"no selection":        {"POST", "/api/v1/remove", "demo", `{"in": "local"}`, nil, 400, "the selection is empty", 0},
		"nothing matches":     {"POST", "/api/v1/remove", "demo", strings.Replace(all, "hello", "none", 1), nil, 400, "the selection matches nothing", 0},
		"one store twice":     {"POST", "/api/v1/promote", "demo", `{"from": "local", "to": "local", "selection": {"patterns": ["*"]}}`, nil, 400, "same store", 0},
		"for good": {"POST", "/api/v1/remove", "demo", now, nil, 200,
			`"elsewhere":[{"member":"center","place":"cached","files":2},{"member":"vault","place":"trash","files":1}]`, 1},
		"for good, and secret elsewhere": {"POST", "/api/v1/remove", "other", now, nil, 200, `"elsewhere":[{"member":"center","place":"cached","files":2}]}]`, 1},
		"for good, a dry run":            {"POST", "/api/v1/remove", "demo", strings.Replace(now, `"in"`, `"dry_run": true, "in"`, 1), nil, 200, `"dry_run":true`, 0},
		"the audit":                      {"GET", "/api/v1/audit", "demo", "", nil, 403, "administrators", 0},
		"a bad page":                     {"GET", "/api/v1/trash?in=local&limit=0", "demo", "", nil, 400, "limit", 0},
		"no such call":                   {"GET", "/api/v1/nothing", "demo", "", nil, 404, "nothing at this path", 0},
		"another method":                 {"GET", "/api/v1/remove", "demo", "", nil, 405, "method", 0},
	} {
		t.Run(name, func(t *testing.T) {
			stores.local.removed, stores.local.erased = 0, 0
			resp := w.do(call{method: tc.method, path: tc.path, user: tc.user, body: tc.body, header: tc.header})
			body := bodyOf(t, resp)
			if resp.StatusCode != tc.status || !strings.Contains(body, tc.says) {
				t.Errorf("status %d, want %d and %q: %s", resp.StatusCode, tc.status, tc.says, body)
			}
			if isError := strings.HasPrefix(body, `{"error":`); isError != (tc.status != http.StatusOK) {
				t.Errorf("body %s", body)
			}
			if got := stores.local.removed + stores.local.erased; got != tc.removed {
				t.Errorf("%d revisions were removed, want %d", got, tc.removed)
			}
		})
	}
}

// Only administrators run the retention of a store, one at a time.
func TestRetentionCall(t *testing.T) {
	stores := &oneStore{}
	w := newWorld(t, func(o *worldOptions) { o.API = &api.API{Stores: stores} })
	w.server.SetSettings(w.settings(func(o *SettingsOptions) {
		guard, err := auth.New(auth.Options{Directory: w.directory, Admin: []string{"demo"}, Read: readRules, Write: writeRules})
		if err != nil {
			t.Fatal(err)
		}
		o.Guard = guard
	}))
	for _, tt := range []struct {
		user, body string
		running    bool
		status     int
		says       string
		removed    int
	}{
		{"demo", `{"in": "local"}`, false, 200, `"outcome":"removed","newest":false,"reason":"unused for 33d, rule 1"`, 1},
		{"demo", `{"in": "local", "dry_run": true}`, false, 200, `"outcome":"kept","newest":false,"reason":"hidden: bad"`, 0},
		{"demo", `{"in": "local"}`, true, 409, "under way", 0},
		{"demo", `{"in": "moon"}`, false, 400, "moon", 0},
		{"demo", `{"in": "local", "dry_run": null}`, false, 400, "not null", 0},
		{"demo", `{}`, false, 400, `\"in\" is missing`, 0},
		{"demo", `{"in": "local", "selection": {}}`, false, 400, "selection", 0},
		{"other", `{"in": "local", "dry_run": true}`, false, 403, "administrators", 0},
		{"", `{"in": "local"}`, false, 401, "not logged in", 0},
	} {
		stores.running, stores.local.removed = tt.running, 0
		resp := w.do(call{method: "POST", path: "/api/v1/retention", user: tt.user, body: tt.body})
		body := bodyOf(t, resp)
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.says) || stores.local.removed != tt.removed {
			t.Errorf("%s by %q: status %d, want %d and %q, removed %d: %s", tt.body, tt.user, resp.StatusCode, tt.status, tt.says, stores.local.removed, body)
		}
	}
}
