package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// hideTable are hides in memory.
type hideTable struct{ rows []index.Hide }

func (h *hideTable) Hides(context.Context) ([]index.Hide, error) {
	return append([]index.Hide(nil), h.rows...), nil
}

func (h *hideTable) Hide(_ context.Context, hides []index.Hide, by conan.Actor) error {
	for _, hide := range hides {
		hide.ID, hide.By = int64(len(h.rows)+1), by.Name
		h.rows = append(h.rows, hide)
	}
	return nil
}

func (h *hideTable) Unhide(_ context.Context, hides []index.Hide, _ conan.Actor) error {
	for _, hide := range hides {
		for i := range h.rows {
			if h.rows[i].ID == hide.ID {
				h.rows[i].Reason = "ended"
			}
		}
	}
	return nil
}

// Who may write in a store hides there; everywhere, in a view or in an upstream only an
// administrator does. Nobody learns of hides of what one may not read.
func TestWhoHides(t *testing.T) {
	table := &hideTable{}
	w := newWorld(t, func(o *worldOptions) { o.API = &api.API{Stores: &oneStore{}, Hides: table} })
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.local.have(t, "hello/1.0@demo/testing#r2", recipeFiles)
	w.server.SetSettings(w.settings(func(o *SettingsOptions) {
		guard, err := auth.New(auth.Options{
			Directory: w.directory, Admin: []string{"mü"},
			Read:  []auth.Rule{{Pattern: "*", Users: []string{"demo", "mü"}}},
			Write: []auth.Rule{{Pattern: "*", Users: []string{"demo", "other"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		o.Guard = guard
	}))
	post := func(path, user string, body map[string]any) (int, string) {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		resp := w.do(call{method: "POST", path: "/api/v1/" + path, user: user, body: string(text)})
		return resp.StatusCode, bodyOf(t, resp)
	}
	hide := func(user, member, view, pattern string) (int, string) {
		return post("hide", user, map[string]any{"in": member, "view": view, "reason": "bad", "selection": map[string]any{"patterns": []string{pattern}}})
	}
	for _, tt := range []struct {
		user, member, view string
		status             int
		says               string
	}{
		{"demo", "local", "", 200, "#r2"},
		{"demo", "local", "", 200, "#r2"}, // again: the same, not the one before
		{"demo", "local", "all", 200, "#r2"},
		{"demo", "", "", 403, "administrators"},
		{"demo", "", "all", 403, "administrators"},
		{"mü", "", "", 200, "#r2"},
		{"mü", "local", "", 403, "may not write"},
		{"other", "local", "", 400, "was not found"}, // may write, and not read
		{"demo", "moon", "", 400, "no store or upstream"},
		{"demo", "all", "", 400, "no store or upstream"},
		{"demo", "local", "moon", 400, "no view"},
		{"", "local", "", 401, "not logged in"},
	} {
		status, body := hide(tt.user, tt.member, tt.view, "hello/1.0@demo/testing")
		if status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s in %q, view %q: status %d, want %d and %q: %s", tt.user, tt.member, tt.view, status, tt.status, tt.says, body)
		}
	}
	for user, want := range map[string]int{"demo": 3, "other": 0, "mü": 1, "": 0} { // rows 1 to 3 are of local, 4 of everywhere
		body := bodyOf(t, w.do(call{method: "GET", path: "/api/v1/hides", user: user}))
		if n := strings.Count(body, `"id"`); n != want {
			t.Errorf("%s sees %d hides, want %d: %s", user, n, want, body)
		}
	}
	for _, tt := range []struct {
		user   string
		id     int
		status int
	}{{"other", 1, 404}, {"demo", 4, 404}, {"demo", 9, 404}, {"demo", 1, 200}, {"mü", 4, 200}} {
		if status, body := post("unhide", tt.user, map[string]any{"ids": []int{tt.id, tt.id}}); status != tt.status {
			t.Errorf("%s ends %d: status %d, want %d: %s", tt.user, tt.id, status, tt.status, body)
		}
	}
	if ended := fmt.Sprint(table.rows[0].Reason, table.rows[1].Reason, table.rows[3].Reason); ended != "endedbadended" {
		t.Errorf("hides afterwards: %s", ended)
	}
}
