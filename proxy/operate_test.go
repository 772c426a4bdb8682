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
	"conanproxy/internal/transfer"
	"conanproxy/proxy/api"
)

// theStore is one that counts what is removed.
type theStore struct {
	api.Store
	removed int
}

// oneStore are the stores of the API: only "local".
type oneStore struct {
	api.Stores
	local theStore
	audit []index.Audit
}

func (o *oneStore) Store(name string) (api.Store, bool) { return &o.local, name == "local" }

func (o *oneStore) Promotion(from, to string) (transfer.Sink, bool) { return nil, false }

func (s *theStore) RemoveRevisions(_ context.Context, revs []conan.Revision, by conan.Actor) error {
	if by.Name != "demo" || by.Address != "192.0.2.7" {
		return fmt.Errorf("removed by %+v", by)
	}
	s.removed += len(revs)
	return nil
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
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	const all = `{"in": "local", "selection": {"patterns": ["hello/*"]}}`
	for name, tc := range map[string]struct {
		method, path, user, body string
		header                   map[string]string
		status                   int
		says                     string
		removed                  int
	}{
		"anonymous":           {"POST", "/api/v1/remove", "", all, nil, 401, "you are not logged in", 0},
		"a user":              {"POST", "/api/v1/remove", "demo", all, nil, 200, `"outcome":"removed"`, 1},
		"a dry run":           {"POST", "/api/v1/remove", "demo", strings.Replace(all, `"in"`, `"dry_run": true, "in"`, 1), nil, 200, `"dry_run":true`, 0},
		"another site's page": {"POST", "/api/v1/remove", "demo", all, map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "other sites", 0},
		"half a JSON":         {"POST", "/api/v1/remove", "demo", all[:20], nil, 400, "not the JSON", 0},
		"an unknown field":    {"POST", "/api/v1/remove", "demo", strings.Replace(all, `"in"`, `"force": 1, "in"`, 1), nil, 400, "force", 0},
		"an unknown store":    {"POST", "/api/v1/remove", "demo", strings.Replace(all, "local", "moon", 1), nil, 400, "moon", 0},
		"no selection":        {"POST", "/api/v1/remove", "demo", `{"in": "local"}`, nil, 400, "the selection is empty", 0},
		"nothing matches":     {"POST", "/api/v1/remove", "demo", strings.Replace(all, "hello", "none", 1), nil, 400, "the selection matches nothing", 0},
		"one store twice":     {"POST", "/api/v1/promote", "demo", `{"from": "local", "to": "local", "selection": {"patterns": ["*"]}}`, nil, 400, "same store", 0},
		"the audit":           {"GET", "/api/v1/audit", "demo", "", nil, 403, "administrators", 0},
		"a bad page":          {"GET", "/api/v1/trash?in=local&limit=0", "demo", "", nil, 400, "limit", 0},
		"no such call":        {"GET", "/api/v1/nothing", "demo", "", nil, 404, "nothing at this path", 0},
		"another method":      {"GET", "/api/v1/remove", "demo", "", nil, 405, "method", 0},
	} {
		t.Run(name, func(t *testing.T) {
			stores.local.removed = 0
			resp := w.do(call{method: tc.method, path: tc.path, user: tc.user, body: tc.body, header: tc.header})
			body := bodyOf(t, resp)
			if resp.StatusCode != tc.status || !strings.Contains(body, tc.says) {
				t.Errorf("status %d, want %d and %q: %s", resp.StatusCode, tc.status, tc.says, body)
			}
			if isError := strings.HasPrefix(body, `{"error":`); isError != (tc.status != http.StatusOK) {
				t.Errorf("body %s", body)
			}
			if stores.local.removed != tc.removed {
				t.Errorf("%d revisions were removed, want %d", stores.local.removed, tc.removed)
			}
		})
	}
}
