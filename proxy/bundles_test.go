package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"conanproxy/internal/bundle"
	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/transfer"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// bundleStores are oneStore with a sink that notes what comes.
type bundleStores struct {
	*oneStore
	full  bool
	came  []string
	ended int // sources of Remote
}

func (s *bundleStores) Store(name string) (api.Store, bool) {
	return spaceStore{&s.local, s.full}, name == "local"
}

// spaceStore is full or not.
type spaceStore struct {
	api.Store
	full bool
}

func (s spaceStore) CheckDisk(context.Context, int64) error {
	if s.full {
		return conan.ErrNoSpace
	}
	return nil
}

func (s *bundleStores) OpenBundle(r io.Reader) (*bundle.Reader, error) {
	return bundle.NewReader(r, nil)
}

func (s *bundleStores) MayCome(_ string, ref conan.Ref) error {
	if ref.Name == "owned" {
		return fmt.Errorf("%w: it is owned", conan.ErrConflict)
	}
	return nil
}

func (s *bundleStores) Import(in transfer.Incoming, to string) (transfer.Sink, bool) {
	return noting{s, in}, to == "local"
}

func (s *bundleStores) Remote(url, username, password string) (conan.Source, func(), error) {
	if !strings.HasPrefix(url, "http") || username != "ann" || password != "secret" {
		return nil, nil, errors.New("its URL is not http")
	}
	set := conantest.Recipe("zlib", "1.3")
	set.Revision.RRev = "r1"
	return conantest.NewSource("old", conan.StateMiss, set, conantest.Recipe("owned", "1.3")), func() { s.ended++ }, nil
}

type noting struct {
	*bundleStores
	in transfer.Incoming
}

func (n noting) Take(_ context.Context, revs []conan.Revision, by conan.Actor, dry bool) (moved []conan.Moved, err error) {
	for _, rev := range revs {
		n.bundleStores.came = append(n.bundleStores.came, fmt.Sprint(rev, " by ", by.Name, " dry ", dry))
		moved = append(moved, conan.Moved{Revision: rev})
	}
	if n.in.Complete != nil {
		err = n.in.Complete()
	}
	return moved, err
}

func bundleWorld(t *testing.T) (*world, *bundleStores) {
	stores := &bundleStores{oneStore: &oneStore{}}
	w := newWorld(t, func(o *worldOptions) { o.API = &api.API{Stores: stores, Audit: stores} })
	guard, err := auth.New(auth.Options{Directory: w.directory, Read: readRules, Write: writeRules, Admin: []string{"other"}})
	if err != nil {
		t.Fatal(err)
	}
	w.server.SetSettings(w.settings(func(o *SettingsOptions) { o.Guard = guard }))
	for _, name := range []string{"hello", "secret", "owned"} {
		w.local.have(t, name+"/1.0@demo/testing#r1", recipeFiles)
	}
	return w, stores
}

func (w *world) createBundle(user, pattern string) *http.Response {
	return w.do(call{method: "POST", path: "/api/v1/bundle/create", user: user, body: `{"from": "local", "selection": {"patterns": ["` + pattern + `"]}}`})
}

func TestCreateBundle(t *testing.T) {
	w, stores := bundleWorld(t)
	wantStatus(t, w.createBundle("", "*"), http.StatusUnauthorized)
	wantStatus(t, w.createBundle("other", "secret/*"), http.StatusBadRequest)
	if len(stores.audit) != 0 {
		t.Errorf("audit lines of what was refused: %v", stores.audit)
	}
	for user, want := range map[string]int{"other": 2, "demo": 3} {
		resp := w.createBundle(user, "*")
		wantStatus(t, resp, http.StatusOK)
		if got := resp.Header.Get("Content-Type"); got != "application/x-tar" {
			t.Errorf("content type %q", got)
		}
		b, err := bundle.NewReader(resp.Body, nil)
		if err == nil {
			err = b.Complete()
		}
		if err != nil || len(b.Items()) != want {
			t.Errorf("what %s may read: %v, %v", user, b.Items(), err)
		}
	}
	if len(stores.audit) != 2 || stores.audit[0].Member != "local" || !strings.Contains(stores.audit[0].Target, "hello/1.0@demo/testing#r1") {
		t.Errorf("audit: %v", stores.audit)
	}
	resp := w.do(call{method: "POST", path: "/api/v1/bundle/create", user: "demo", body: `{"from": "moon", "selection": {"patterns": ["*"]}}`})
	wantStatus(t, resp, http.StatusBadRequest)
}

func TestApplyBundle(t *testing.T) {
	w, stores := bundleWorld(t)
	hello, owned := bodyOf(t, w.createBundle("demo", "hello/*")), bodyOf(t, w.createBundle("demo", "owned/*"))
	const path = "/api/v1/bundle/apply?to=local"
	for name, tc := range map[string]struct {
		path, user, body string
		full             bool
		status           int
		says, came       string
	}{
		"anonymous":          {path, "", hello, false, 401, "administrators", ""},
		"not an admin":       {path, "demo", hello, false, 403, "administrators", ""},
		"an admin":           {path, "other", hello, false, 200, `"outcome":"copied"`, "hello/1.0@demo/testing#r1 by other dry false"},
		"a dry run":          {path + "&dry_run=true", "other", hello, false, 200, `"dry_run":true`, "hello/1.0@demo/testing#r1 by other dry true"},
		"a strange flag":     {path + "&dry_run=perhaps", "other", hello, false, 400, "dry_run", ""},
		"an unknown store":   {"/api/v1/bundle/apply?to=moon", "other", hello, false, 400, "moon", ""},
		"no store":           {"/api/v1/bundle/apply", "other", hello, false, 400, "to", ""},
		"an owned name":      {path, "other", owned, false, 409, "owned", ""},
		"a full disk":        {path, "other", hello, true, 403, "no space", ""},
		"not a bundle":       {path, "other", `{"in": "local"}`, false, 400, "damaged", ""},
		"a bundle cut short": {path, "other", hello[:len(hello)-1100], false, 400, "damaged", "hello/1.0@demo/testing#r1 by other dry false"},
	} {
		t.Run(name, func(t *testing.T) {
			stores.came, stores.full = nil, tc.full
			resp := w.do(call{method: "POST", path: tc.path, user: tc.user, body: tc.body})
			body := bodyOf(t, resp)
			if resp.StatusCode != tc.status || !strings.Contains(body, tc.says) {
				t.Errorf("status %d, want %d and %q: %s", resp.StatusCode, tc.status, tc.says, body)
			}
			if got := strings.Join(stores.came, "; "); got != tc.came {
				t.Errorf("came %q, want %q", got, tc.came)
			}
		})
	}
}

func TestImportFromServer(t *testing.T) {
	w, stores := bundleWorld(t)
	const body = `{"from": "http://old", "to": "local", "username": "ann", "password": "secret", "selection": {"patterns": ["zlib/*"]}}`
	for name, tc := range map[string]struct {
		user, body string
		status     int
		says, came string
	}{
		"not an admin":     {"demo", body, 403, "administrators", ""},
		"an admin":         {"other", body, 200, `"outcome":"copied"`, "zlib/1.3#r1 by other dry false"},
		"a dry run":        {"other", strings.Replace(body, `"to"`, `"dry_run": true, "to"`, 1), 200, `"dry_run":true`, "zlib/1.3#r1 by other dry true"},
		"an owned name":    {"other", strings.Replace(body, "zlib/*", "*", 1), 409, "owned", ""},
		"an unknown store": {"other", strings.Replace(body, "local", "moon", 1), 400, "moon", ""},
		"another URL":      {"other", strings.Replace(body, "http://old", "file:///etc", 1), 400, "its URL", ""},
		"nothing there":    {"other", strings.Replace(body, "zlib/*", "none/*", 1), 400, "matches nothing", ""},
	} {
		t.Run(name, func(t *testing.T) {
			stores.came = nil
			resp := w.do(call{method: "POST", path: "/api/v1/import", user: tc.user, body: tc.body})
			answer := bodyOf(t, resp)
			if resp.StatusCode != tc.status || !strings.Contains(answer, tc.says) {
				t.Errorf("status %d, want %d and %q: %s", resp.StatusCode, tc.status, tc.says, answer)
			}
			if got := strings.Join(stores.came, "; "); got != tc.came {
				t.Errorf("came %q, want %q", got, tc.came)
			}
		})
	}
	if stores.ended != 4 {
		t.Errorf("%d sources were closed, want 4", stores.ended)
	}
}
