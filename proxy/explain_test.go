package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"conanproxy/internal/conan"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

func (w *world) explain(user, query string) (int, api.Explanation, string) {
	w.t.Helper()
	resp := w.do(call{method: http.MethodGet, path: "/api/v1/explain?" + query, user: user})
	text := bodyOf(w.t, resp)
	var e api.Explanation
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			w.t.Fatal(err)
		}
	}
	return resp.StatusCode, e, text
}

// A client that asks for what was explained gets what the explanation says, from the member that
// it names, in random worlds.
func TestExplanationIsWhatClientsGet(t *testing.T) {
	const ref, path = "zlib/1.3", "/v2/conans/zlib/1.3/_/_"
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, func(o *worldOptions) { o.API = &api.API{} })
		for _, store := range []*memStore{w.local, w.upstream} {
			for _, rrev := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"r1", "r2", "r3"}), 0, 3, rapid.ID).Draw(rt, store.name) {
				store.have(t, ref+"#"+rrev, recipeFiles)
				for _, prev := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x1", "x2"}), 0, 2, rapid.ID).Draw(rt, rrev) {
					store.have(t, ref+"#"+rrev+":p1#"+prev, packageFiles)
				}
			}
		}
		if rapid.Bool().Draw(rt, "down") {
			w.upstream.err = &conan.UnavailableError{Member: "conancenter", Reason: "connection refused"}
		}
		asked := rapid.SampledFrom([]string{"", "#r1", ":p1", "#r1:p1", "#r2:p1#x1"}).Draw(rt, "asked")
		explainFirst := rapid.Bool().Draw(rt, "explain first") // each of the two leaves hints for the other
		var e api.Explanation
		if explainFirst {
			_, e, _ = w.explain("", "client=2&reference="+strings.ReplaceAll(ref+asked, "#", "%23"))
		}
		status, pinned, decided, files := w.installs(path, asked)
		if !explainFirst {
			_, e, _ = w.explain("", "client=2&reference="+strings.ReplaceAll(ref+asked, "#", "%23"))
		}
		if e.Answer.Status != status || status == http.StatusOK && e.Answer.Revision != ref+pinned {
			rt.Fatalf("explained %+v, clients get %d, %s", e.Answer, status, pinned)
		}
		if e.Answer.Decided != nil && e.Answer.Decided.Member != decided || e.Answer.Files != nil && files != "" && e.Answer.Files.Member != files {
			rt.Fatalf("explained %+v, decided by %s, files from %s", e, decided, files)
		}
	})
}

// installs asks what Conan 2 asks: it pins what is not named, and lists the files.
func (w *world) installs(path, asked string) (status int, pinned, decided, files string) {
	recipe, pkg, isPackage := strings.Cut(strings.TrimPrefix(asked, "#"), ":")
	id, prev, _ := strings.Cut(pkg, "#")
	latest := func(id string) string {
		if id != "" {
			return id
		}
		resp := w.get(path + "/latest")
		var r struct{ Revision string }
		text := bodyOf(w.t, resp)
		if status = resp.StatusCode; status == http.StatusOK {
			_ = json.Unmarshal([]byte(text), &r)
			decided = resp.Header.Get("X-Conanproxy-Source")
		}
		return r.Revision
	}
	if recipe = latest(recipe); recipe == "" {
		return status, "", "", ""
	}
	path += "/revisions/" + recipe
	pinned = "#" + recipe
	if isPackage {
		path += "/packages/" + id
		decided = ""
		if prev = latest(prev); prev == "" {
			return status, "", "", ""
		}
		path += "/revisions/" + prev
		pinned += ":" + id + "#" + prev
	}
	resp := w.get(path + "/files")
	if resp.StatusCode == http.StatusOK {
		files = resp.Header.Get("X-Conanproxy-Source")
	}
	return resp.StatusCode, pinned, decided, files
}

// A member that the caller may not read does not appear, not even by the name of a store that owns
// the reference.
func TestExplanationAndRights(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.API = &api.API{} })
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.upstream.have(t, "hello/1.0@demo/testing#r2", recipeFiles)
	glob, err := conan.ParseGlob("*@demo/*")
	if err != nil {
		t.Fatal(err)
	}
	local := w.storeMember()
	local.Owns = append(local.Owns, glob)
	w.server.SetSettings(w.settings(func(o *SettingsOptions) {
		o.Views = []View{w.view("all", "", local, w.upstreamMember()), w.view("free", "/r/free", w.storeMember(), w.upstreamMember())}
		o.Guard = newTestGuard(t, w.directory, []auth.Rule{
			{Pattern: "*", Users: []string{"demo", "other"}, In: []string{"conancenter"}},
			{Pattern: "*", Users: []string{"demo"}},
		}, nil)
	}))
	for _, tt := range []struct {
		user, query string
		status      int
		members     []string
		says        string
	}{
		{"demo", "reference=hello/1.0@demo/testing", 200, []string{"local", "conancenter"}, `store \"local\" owns the name by \"*@demo/*\"`},
		{"other", "reference=hello/1.0@demo/testing", 200, []string{"conancenter"}, "not asked: a store owns the name"},
		{"other", "reference=hello/1.0@demo/testing&view=free", 200, []string{"conancenter"}, "hello/1.0@demo/testing#r2 from conancenter"},
		{"mü", "reference=hello/1.0@demo/testing", 403, nil, "may not read"},
		{"mü", "reference=none/1.0", 403, nil, "may not read"},
		{"", "reference=hello/1.0@demo/testing", 401, nil, "may not read"},
		{"demo", "reference=hello", 400, nil, "is not name/version"},
		{"demo", "reference=hello/1.0%23", 400, nil, "empty recipe revision"},
		{"demo", "reference=hello/1.0&view=moon", 400, nil, "no store, upstream or view"},
		{"demo", "reference=hello/1.0&client=3", 400, nil, "neither 1 nor 2"},
		{"demo", "reference=hello/1.0&settings=os", 400, nil, "is not key=value"},
		{"demo", "reference=hello/1.0&exact=maybe", 400, nil, "neither true nor false"},
	} {
		status, e, text := w.explain(tt.user, tt.query)
		var members []string
		for _, m := range e.Members {
			members = append(members, m.Member)
		}
		if status != tt.status || !strings.Contains(text, tt.says) || !slices.Equal(members, tt.members) {
			t.Errorf("%s, %s: status %d, want %d, members %q, want %q and %q: %s", tt.user, tt.query, status, tt.status, members, tt.members, tt.says, text)
		}
		if tt.user == "other" && strings.Contains(text, "local") {
			t.Errorf("%s learns of a store: %s", tt.user, text)
		}
	}
}

// A member for one generation is not asked for clients of the other.
func TestExplanationForAGeneration(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.API = &api.API{} })
	w.upstream.have(t, "zlib/1.3#r2", recipeFiles)
	old := w.upstreamMember()
	old.Clients = conan.Conan1
	w.setViews(w.view("all", "", w.storeMember(), old))
	for client, want := range map[string]int{"1": 200, "2": 404, "": 200} {
		_, e, text := w.explain("", fmt.Sprintf("reference=zlib/1.3&client=%s", client))
		if e.Answer.Status != want || client == "2" && !strings.Contains(text, "serves only clients of conan1") {
			t.Errorf("client %q: %s", client, text)
		}
	}
}

var _ Readers = (*resolver.Resolver)(nil)
