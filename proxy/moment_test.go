package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// withPast mounts a view at /r/team and serves it as it was: before noon of 2026-11-20 it had
// nothing. asked has the moments that were made.
func withPast(t *testing.T) (w *world, asked *[]time.Time) {
	w = newWorld(t, func(o *worldOptions) { o.Memory = 1 << 20 })
	empty := newMemStore("local", conan.StateLocal, func() time.Time { return w.now })
	asked = new([]time.Time)
	w.options.At = func(v *View, at time.Time) (Readers, error) {
		*asked = append(*asked, at)
		if at.Before(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)) {
			return resolver.New(resolver.Options{Members: []resolver.Member{{Name: "local", Store: empty}}})
		}
		return v.Resolver, nil
	}
	w.options.Views = append(w.views(), w.view("team", "/r/team", w.storeMember()))
	w.setViews(w.options.Views...)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	return w, asked
}

func TestPointInTime(t *testing.T) {
	w, asked := withPast(t)
	for moment, want := range map[string]int{
		"2026-11-21":                     http.StatusOK,
		"2026-11-20":                     http.StatusOK, // its end
		"2026-11-19":                     http.StatusNotFound,
		"2026-11-20T12:00:00Z":           http.StatusOK,
		"2026-11-20T12%3A00%3A00Z":       http.StatusOK,
		"2026-11-20T11:59:59.999999Z":    http.StatusNotFound,
		"2026-11-20T11:59:59.999999999Z": http.StatusNotFound,
	} {
		for range 2 { // the second time from memory
			wantStatus(t, w.get("/r/team/at/"+moment+helloV2+"/latest"), want)
		}
		wantStatus(t, w.get("/r/team/at/"+moment+"/v2/ping"), http.StatusOK)
	}
	if len(*asked) != 5 {
		t.Errorf("made for %v; want each moment once, however it is spelled", *asked)
	}
	wantStatus(t, w.get("/r/team"+helloV2+"/latest"), http.StatusOK)
	page := bodyOf(t, w.get("/r/team/at/2026-11-21/"))
	if !strings.Contains(page, "conan remote add conanproxy-team-past http://example.com/r/team/at/2026-11-21<") {
		t.Errorf("the page of a moment: %s", page)
	}
}

func TestBadMoments(t *testing.T) {
	w, asked := withPast(t)
	for _, moment := range []string{
		"2026-11-22" /* not over yet */, "2026-11-22T12:00:01Z", "9999-12-31", "2026-13-01", "2026-02-30", "yesterday", "0", "v2",
		"2026-11-20T12:00:00", "2026-11-20T12:00:00+01:00", "2026-11-20T12:00:00%2B00:00", "2026-11-20 12:00:00Z", strings.Repeat("9", 5000),
	} {
		for _, rest := range []string{"", "/v1/ping", "/v2/ping", helloV2 + "/latest", "/nothing"} {
			resp := w.get("/r/team/at/" + strings.ReplaceAll(moment, " ", "%20") + rest)
			text := bodyOf(t, resp)
			if resp.StatusCode != http.StatusBadRequest || !strings.Contains(text, "a date") || len(text) > 400 {
				t.Errorf("%.60s%s: status %d, %q", moment, rest, resp.StatusCode, text)
			}
		}
	}
	if len(*asked) != 0 {
		t.Errorf("made for %v", *asked)
	}
	for path, want := range map[string]int{
		"/r/team/at":                           http.StatusNotFound,
		"/r/team/at/2026-11-21/nothing":        http.StatusNotFound,
		"/r/team/at/2026-11-21/more/v2/ping":   http.StatusFailedDependency,
		"/r/nope/at/2026-11-21/v2/ping":        http.StatusFailedDependency,
		"/local/at/2026-11-21/v2/ping":         http.StatusFailedDependency,
		"/at/2026-11-21/v2/ping":               http.StatusFailedDependency,
		"/local/at/2026-11-21" + helloV2:       http.StatusNotFound,
		"/r/team/at/2026-11-21/at/2026-11-20/": http.StatusNotFound,
	} {
		wantStatus(t, w.get(path), want)
	}
}

func TestThePastTakesNoWrites(t *testing.T) {
	w, _ := withPast(t)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", helloV2 + "/revisions/r2/files/conanfile.py", "x", http.StatusBadRequest},
		{"DELETE", helloV2, "", http.StatusMethodNotAllowed},
		{"POST", "/v1/conans/hello/1.0/demo/testing/upload_urls", `{"conanfile.py": 1}`, http.StatusMethodNotAllowed},
	} {
		resp := w.do(call{method: c.method, path: "/r/team/at/2026-11-21" + c.path, user: "demo", body: c.body})
		if text := bodyOf(t, resp); resp.StatusCode != c.status || !strings.Contains(text, "use /r/team") {
			t.Errorf("%s %s: status %d, %q", c.method, c.path, resp.StatusCode, text)
		}
	}
	if len(w.local.stages) != 0 || len(w.local.revisions) != 1 {
		t.Error("something was stored or deleted")
	}
}

// A signature holds at the moment that it was made for, and today's rules hold at each.
func TestRightsInThePast(t *testing.T) {
	w, _ := withPast(t)
	w.local.have(t, "secret/1.0@demo/testing#r1", recipeFiles)
	const urls, at = "/v1/conans/secret/1.0/demo/testing/download_urls", "/r/team/at/2026-11-21"
	wantStatus(t, w.get(at+urls), http.StatusUnauthorized)
	signed := urlsOf(t, w.do(call{method: "GET", path: at + urls, user: "demo"}))[conan.RecipeFile]
	u, err := url.Parse(signed)
	if err != nil || !strings.HasPrefix(u.Path, at+"/v1/files/") {
		t.Fatalf("URL %q, %v", signed, err)
	}
	for moment, want := range map[string]int{
		at:                                       http.StatusOK,
		"/r/team/at/2026-11-21T23:59:59.999999Z": http.StatusOK, // the same
		"/r/team/at/2026-11-20":                  http.StatusForbidden,
		"/r/team":                                http.StatusForbidden,
	} {
		wantStatus(t, w.get(strings.Replace(u.RequestURI(), at, moment, 1)), want)
	}
	w.setRules([]auth.Rule{{Pattern: "hello/*", Users: []string{"*"}}}, nil)
	wantStatus(t, w.get(u.RequestURI()), http.StatusForbidden)
}

// Metrics have one label for all moments of a view.
func TestMomentsAreNoLabels(t *testing.T) {
	w, _ := withPast(t)
	wantStatus(t, w.get("/r/team/at/2026-11-21"+helloV2+"/latest"), http.StatusOK)
	text := bodyOf(t, w.get("/metrics"))
	if strings.Contains(text, "2026") || !strings.Contains(text, `view="team"`) {
		t.Errorf("labels: %s", text)
	}
}

func TestMomentsAreBounded(t *testing.T) {
	made := 0
	m := newMoments(func(v *View, _ time.Time) (Readers, error) { made++; return v.Resolver, nil })
	v, now := &View{Name: "team"}, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for i := range 3 * maxMoments {
		if _, err := m.viewAt(v, now.AddDate(0, 0, -1-i).Format(time.DateOnly), now); err != nil {
			t.Fatal(err)
		}
	}
	if made != 3*maxMoments || m.views.Len() != maxMoments {
		t.Errorf("%d made, %d kept", made, m.views.Len())
	}
	failing := errors.New("broken")
	m = newMoments(func(*View, time.Time) (Readers, error) { return nil, failing })
	if _, err := m.viewAt(v, "2026-11-20", now); !errors.Is(err, failing) {
		t.Errorf("error %v", err)
	}
}
