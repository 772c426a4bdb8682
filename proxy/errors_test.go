package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

// What clients show of a failure: a status that makes them show the text, and a text that says who,
// why and what to do.
func TestTextsOfFailures(t *testing.T) {
	unavailable := func(change func(*conan.UnavailableError)) func(*world) {
		return func(w *world) {
			e := &conan.UnavailableError{Member: "conancenter", Reason: "the reason"}
			change(e)
			w.upstream.err = e
		}
	}
	get := call{method: "GET", path: helloV2 + "/latest"}
	upload := call{method: "PUT", path: helloV2 + "/revisions/r1/files/conanfile.py", user: "demo", body: "x"}
	uploadV1 := call{method: "POST", path: helloPath + "/upload_urls", user: "demo", body: `{"conanfile.py":100}`}
	from1 := upload
	from1.header = map[string]string{"User-Agent": "Conan/1.66.0 (Linux)"}
	noOverwriting := func(w *world) {
		w.local.putErr = fmt.Errorf("%w: hello is published, and the store does not allow to overwrite it", conan.ErrOverwrite)
	}
	noUsers := func(w *world) {
		w.options.Guard = newTestGuard(t, newTestDirectory(t, nil, nil, nil), readRules, writeRules)
		w.setViews(w.views()...)
	}
	tests := []struct {
		name       string
		set        func(*world)
		call       call
		status     int
		retryAfter string
		text       []string
	}{
		{"trying again can help", unavailable(func(*conan.UnavailableError) {}), get, 503, "2", []string{"conancenter", "the reason"}},
		{"it cannot", unavailable(func(e *conan.UnavailableError) { e.Permanent = true; e.RetryAfter = time.Minute }), get, 424, "",
			[]string{"conancenter", "the reason", "trying again at once does not help"}},
		{"hidden by a rule", func(w *world) {
			w.upstream.err = &conan.HiddenError{Member: "conancenter", Reason: "the reason"}
		}, get, 424, "", []string{"conancenter", "the reason"}},
		{"refused by policy", unavailable(func(e *conan.UnavailableError) { e.Permanent, e.Refused = true, true }), get, 424, "",
			[]string{"conancenter", "the reason", "its administrator has to allow it"}},
		{"no room, Conan 2", func(w *world) { w.local.putErr = conan.ErrNoSpace }, upload, 403, "", []string{"no space", "make room"}},
		{"no room, Conan 1", func(w *world) { w.local.room = 10 }, uploadV1, 400, "", []string{"no space", "10 bytes are left"}},
		{"no room, Conan 1 with revisions", func(w *world) { w.local.putErr = conan.ErrNoSpace }, from1, 400, "", []string{"no space", "make room"}},
		{"no overwriting, Conan 2", noOverwriting, upload, 403, "", []string{"hello is published", "does not allow to overwrite"}},
		{"no overwriting, Conan 1 with revisions", noOverwriting, from1, 400, "", []string{"hello is published", "does not allow to overwrite"}},
		{"upstream's package", func(w *world) { w.upstream.have(t, "hello/1.0@demo/testing#r1", recipeFiles) },
			call{method: "DELETE", path: helloV2 + "/revisions/r1", user: "demo"}, 409, "", []string{"conancenter", `store "local"`, "exclude"}},
		{"no users, login", noUsers, call{method: "GET", path: "/v2/users/authenticate", header: withBasic("demo", "demo")}, 424, "", []string{"no users are configured", "user add"}},
		{"no users, check", noUsers, call{method: "GET", path: "/v2/users/check_credentials"}, 424, "", []string{"no users are configured"}},
		{"no users, upload", noUsers, call{method: "PUT", path: upload.path, body: "x"}, 424, "", []string{"no users are configured"}},
		{"no users, old token", noUsers, call{method: "GET", path: helloV2 + "/latest", header: map[string]string{"Authorization": "Bearer old"}}, 401, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.set(w)
			resp := w.do(tt.call)
			wantStatus(t, resp, tt.status)
			text := bodyOf(t, resp)
			for _, want := range tt.text {
				if !strings.Contains(text, want) {
					t.Errorf("text %q lacks %q", text, want)
				}
			}
			if got := resp.Header.Get("Retry-After"); got != tt.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, tt.retryAfter)
			}
			if resp.Header.Get("X-Request-Id") == "" {
				t.Error("no X-Request-Id")
			}
		})
	}
}

// The sentences of conan_server stand at the beginning of each "not found" of their kind.
func TestNotFoundTexts(t *testing.T) {
	w := v2World(t)
	const pkg = helloV2 + "/revisions/r2/packages/cccc3"
	for path, want := range map[string]string{
		"/v2/conans/bye/1.0/_/_/latest":                   "Recipe not found: 'bye/1.0'",
		"/v1/conans/bye/1.0/demo/testing/digest":          "Recipe not found: 'bye/1.0@demo/testing'",
		helloV2 + "/revisions/r7/files":                   "Recipe not found: 'hello/1.0@demo/testing#r7'",
		helloV2 + "/revisions/r7/files/conanfile.py":      "Recipe not found: 'hello/1.0@demo/testing#r7'",
		pkg + "/latest":                                   "Binary package not found: 'hello/1.0@demo/testing#r2:cccc3'",
		pkg + "/revisions/p9/files":                       "Binary package not found: 'hello/1.0@demo/testing#r2:cccc3#p9'",
		"/v1/conans/hello/1.0/demo/testing/packages/dddd": "Binary package not found: 'hello/1.0@demo/testing:dddd'",
	} {
		resp := w.get(path)
		wantStatus(t, resp, http.StatusNotFound)
		if got := bodyOf(t, resp); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{helloV2 + "/revisions/r7", pkg} {
		resp := w.do(call{method: "DELETE", path: path, user: "demo"})
		wantStatus(t, resp, http.StatusNotFound)
		if got := bodyOf(t, resp); !strings.Contains(got, "ot found: '") {
			t.Errorf("DELETE %s: %q", path, got)
		}
	}
}

// Texts are one line of what a terminal shows as it stands.
func TestTextsArePrintable(t *testing.T) {
	w := newWorld(t)
	w.upstream.err = &conan.UnavailableError{Member: "conancenter", Reason: "a\nb\x1b[2J\u009b31m\u202ec"}
	text := bodyOf(t, w.get(helloV2+"/latest"))
	if strings.ContainsAny(text, "\n\x1b\u009b\u202e") || !strings.Contains(text, "a b") {
		t.Errorf("text %q", text)
	}
}
