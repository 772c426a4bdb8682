package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
	"conanproxy/internal/index"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// tokenTable are the robot tokens of a world, for its API and for its directory of users.
type tokenTable struct {
	mu     sync.Mutex
	rows   []index.Token
	robots map[string]*identity.Robot
}

func (tt *tokenTable) CreateToken(_ context.Context, row index.Token, by conan.Actor) error {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if tt.robots[row.Name] != nil {
		return fmt.Errorf("%w: it is there", conan.ErrConflict)
	}
	if by.Name != row.Owner || by.Address != "192.0.2.7" {
		return fmt.Errorf("%s is made by %+v", row.Name, by)
	}
	limits, err := identity.ParseLimits(row.Rights)
	if err != nil {
		return err
	}
	r := &identity.Robot{Name: row.Name, Owner: row.Owner, Limits: limits, Expires: row.Expires}
	if _, err := hex.Decode(r.SHA256[:], []byte(row.SHA256)); err != nil {
		return err
	}
	tt.rows, tt.robots[row.Name] = append(tt.rows, row), r
	return nil
}

func (tt *tokenTable) RevokeToken(_ context.Context, name, owner string, _ conan.Actor, _ time.Time) error {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if r := tt.robots[name]; r == nil || owner != "" && r.Owner != owner {
		return conan.ErrNotFound
	}
	delete(tt.robots, name)
	tt.rows = slices.DeleteFunc(tt.rows, func(row index.Token) bool { return row.Name == name })
	return nil
}

func (tt *tokenTable) Tokens(_ context.Context, owner string) ([]index.Token, error) {
	return slices.DeleteFunc(slices.Clone(tt.rows), func(row index.Token) bool { return owner != "" && row.Owner != owner }), nil
}

func (tt *tokenTable) RobotOf(secret [sha256.Size]byte) (*identity.Robot, error) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	for _, r := range tt.robots {
		if r.SHA256 == secret {
			return r, nil
		}
	}
	return nil, conan.ErrNotFound
}

func (tt *tokenTable) RobotNamed(name string) (*identity.Robot, error) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if r := tt.robots[name]; r != nil {
		return r, nil
	}
	return nil, conan.ErrNotFound
}

func (tt *tokenTable) RobotUsed(string, time.Time) {}

// tokensWorld has the API with robot tokens.
func tokensWorld(t *testing.T) *world {
	t.Helper()
	a := &api.API{}
	w := newWorld(t, func(o *worldOptions) { o.API, o.Memory = a, 4<<20 })
	a.Tokens = w.robots
	return w
}

// bearer makes a token of a user and returns what it sends.
func (w *world) bearer(user, body string) map[string]string {
	w.t.Helper()
	resp := w.do(call{method: http.MethodPost, path: "/api/v1/tokens", user: user, body: body})
	var made api.NewToken
	if text := bodyOf(w.t, resp); resp.StatusCode != http.StatusOK || json.Unmarshal([]byte(text), &made) != nil || made.Secret == "" {
		w.t.Fatalf("%s: status %d: %s", body, resp.StatusCode, text)
	}
	return map[string]string{"Authorization": "Bearer " + made.Secret}
}

func TestTokensAPI(t *testing.T) {
	w := tokensWorld(t)
	robot := w.bearer("demo", `{"name": "bot", "read": true, "write": true, "in": ["local"], "expires_in": "1h"}`)
	w.bearer("other", `{"name": "ape", "read": true}`)
	const path = "/api/v1/tokens"
	for name, tt := range map[string]struct {
		call
		status int
		says   string
	}{
		"anonymous":            {call{method: "POST", path: path, body: `{"name": "x", "read": true}`}, 401, "you are not logged in"},
		"a robot":              {call{method: "POST", path: path, header: robot, body: `{"name": "x", "read": true}`}, 403, "robot token cannot"},
		"a robot's list":       {call{method: "GET", path: path, header: robot}, 403, "robot token cannot"},
		"a robot that revokes": {call{method: "POST", path: path + "/revoke", header: robot, body: `{"name": "bot"}`}, 403, "robot token cannot"},
		"a name that is taken": {call{method: "POST", path: path, user: "other", body: `{"name": "bot", "read": true}`}, 409, "it is there"},
		"the name of a user":   {call{method: "POST", path: path, user: "demo", body: `{"name": "other", "read": true}`}, 409, "there is a user"},
		"no name":              {call{method: "POST", path: path, user: "demo", body: `{"read": true}`}, 400, "1 to 64 letters"},
		"no rights":            {call{method: "POST", path: path, user: "demo", body: `{"name": "x"}`}, 400, "to read or to write"},
		"a bad pattern":        {call{method: "POST", path: path, user: "demo", body: `{"name": "x", "read": true, "pattern": "["}`}, 400, "pattern"},
		"an unknown member":    {call{method: "POST", path: path, user: "demo", body: `{"name": "x", "read": true, "in": ["all"]}`}, 400, `no store or upstream \"all\"`},
		"a bad time":           {call{method: "POST", path: path, user: "demo", body: `{"name": "x", "read": true, "expires_in": "-1h"}`}, 400, "expires_in"},
		"another's":            {call{method: "POST", path: path + "/revoke", user: "demo", body: `{"name": "ape"}`}, 404, "not found"},
		"one's own list":       {call{method: "GET", path: path, user: "other"}, 200, `{"lines":[{"name":"ape","owner":"other","read":true,"write":false,`},
	} {
		resp := w.do(tt.call)
		if body := bodyOf(t, resp); resp.StatusCode != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: status %d, want %d and %q: %s", name, resp.StatusCode, tt.status, tt.says, body)
		}
	}
	want := []index.Token{
		{Name: "bot", Owner: "demo", Rights: `{"read":true,"write":true,"in":["local"]}`, Created: w.now, Expires: w.now.Add(time.Hour)},
		{Name: "ape", Owner: "other", Rights: `{"read":true,"write":false}`, Created: w.now},
	}
	for i := range w.robots.rows {
		w.robots.rows[i].SHA256 = ""
	}
	if diff := cmp.Diff(want, w.robots.rows); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	wantStatus(t, w.do(call{method: "POST", path: path + "/revoke", user: "demo", body: `{"name": "bot"}`}), 200)
	wantStatus(t, w.do(call{method: "GET", path: "/v2/users/check_credentials", header: robot}), 401)
}

// Who may write nothing makes no tokens; an administrator manages those of others.
func TestWhoHasTokens(t *testing.T) {
	w := tokensWorld(t)
	w.bearer("demo", `{"name": "bot", "read": true}`)
	w.server.SetSettings(w.settings(func(o *SettingsOptions) {
		guard, err := auth.New(auth.Options{Directory: w.directory, Read: readRules, Write: []auth.Rule{{Pattern: "*", Users: []string{"demo"}}}, Admin: []string{"other"}})
		if err != nil {
			t.Fatal(err)
		}
		o.Guard = guard
	}))
	wantStatus(t, w.do(call{method: "POST", path: "/api/v1/tokens", user: "other", body: `{"name": "ape", "read": true}`}), 403)
	if body := bodyOf(t, w.do(call{method: "GET", path: "/api/v1/tokens", user: "other"})); !strings.Contains(body, `"name":"bot","owner":"demo"`) {
		t.Errorf("the administrator's list: %s", body)
	}
	wantStatus(t, w.do(call{method: "POST", path: "/api/v1/tokens/revoke", user: "other", body: `{"name": "bot"}`}), 200)
}

// Answers are kept by rights: no robot gets what was kept for its owner, or for another robot.
func TestAnswersAreKeptPerRightsOfRobots(t *testing.T) {
	w := tokensWorld(t)
	w.local.have(t, "secret/1.0#r1", recipeFiles)
	w.local.have(t, "hello/1.0#r1", recipeFiles)
	w.upstream.have(t, "hello/2.0#r1", recipeFiles)
	const search = "/v2/conans/search?q=*"
	const latest = "/v2/conans/secret/1.0/_/_/latest"
	for range 2 {
		for _, tt := range []struct {
			name, owner, rights string
			found               string
			latest              int
		}{
			{"same", "demo", `"read": true`, `"hello/1.0","hello/2.0","secret/1.0"`, 200},
			{"pattern", "demo", `"read": true, "pattern": "hello/*"`, `"hello/1.0","hello/2.0"`, 403},
			{"local", "demo", `"read": true, "in": ["local"]`, `"hello/1.0","secret/1.0"`, 200},
			{"far", "demo", `"read": true, "in": ["conancenter"]`, `"hello/2.0"`, 404},
			{"writer", "demo", `"write": true`, ``, 403},
			{"lesser", "other", `"read": true`, `"hello/1.0","hello/2.0"`, 403},
		} {
			header := w.bearer(tt.owner, `{"name": "`+tt.name+`", `+tt.rights+`}`)
			w.do(call{method: http.MethodGet, path: search, user: "demo"})
			w.server.documents.cache.Wait()
			wantJSON(t, w.do(call{method: http.MethodGet, path: search, header: header}), `{"results":[`+tt.found+`]}`)
			w.do(call{method: http.MethodGet, path: latest, user: "demo"})
			w.server.documents.cache.Wait()
			if got := w.do(call{method: http.MethodGet, path: latest, header: header}).StatusCode; got != tt.latest {
				t.Errorf("%s: status %d, want %d", tt.name, got, tt.latest)
			}
			w.server.documents.cache.Wait()
			delete(w.robots.robots, tt.name)
		}
	}
}
