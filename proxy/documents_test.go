package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/memory"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// hotWorld keeps answers; what is set is seen at once.
func hotWorld(t testing.TB) *world {
	w := newWorld(t, func(o *worldOptions) { o.Memory = 4 << 20 })
	w.upstream.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.upstream.have(t, "hello/1.0@demo/testing#r1:aaa1#p1", packageFiles)
	return w
}

// warm asks once and waits until the answer is kept.
func (w *world) warm(path string) *http.Response {
	w.t.Helper()
	resp := w.get(path)
	w.server.documents.cache.Wait()
	return resp
}

var hotPaths = []string{
	helloPath, helloPath + "/digest", helloPath + "/download_urls", helloPath + "/search",
	helloPath + "/packages/aaa1", helloPath + "/packages/aaa1/download_urls", helloPath + "/packages/nope",
	"/v1/conans/search?q=hello",
	helloV2 + "/latest", helloV2 + "/revisions", helloV2 + "/revisions/r1/files", helloV2 + "/revisions/r1/search",
	helloV2 + "/revisions/r1/packages/aaa1/latest", helloV2 + "/revisions/r1/packages/nope/latest",
	helloV2 + "/revisions/r1/files/conanmanifest.txt",
	"/v1/files/hello/1.0/demo/testing/r1/package/aaa1/p1/conaninfo.txt",
}

func TestWarmAnswersAskNobody(t *testing.T) {
	for _, path := range hotPaths {
		t.Run(path, func(t *testing.T) {
			w := hotWorld(t)
			cold := w.warm(path)
			asked := w.local.questions() + w.upstream.questions()
			rec := &fromCounter{ResponseRecorder: httptest.NewRecorder()}
			req := httptest.NewRequest("GET", path, nil)
			w.server.ServeHTTP(rec, req)
			if now := w.local.questions() + w.upstream.questions(); now != asked {
				t.Errorf("%d more questions were asked", now-asked)
			}
			warm := rec.Result()
			if warm.StatusCode != cold.StatusCode || bodyOf(t, warm) != bodyOf(t, cold) {
				t.Error("the warm answer is another")
			}
			if rec.writes != 1 || rec.froms != 0 {
				t.Errorf("%d writes, want 1", rec.writes)
			}
			if got := warm.Header.Get("X-Cache"); got != "hit" {
				t.Errorf("X-Cache %q, want hit", got)
			}
			for _, name := range []string{"Content-Type", "ETag", "Cache-Control", "X-Conanproxy-Source"} {
				if cold.Header.Get(name) != warm.Header.Get(name) {
					t.Errorf("%s: cold %q, warm %q", name, cold.Header.Get(name), warm.Header.Get(name))
				}
			}
		})
	}
}

func TestKeptAnswersExpire(t *testing.T) {
	for _, path := range hotPaths {
		w := hotWorld(t)
		w.warm(path)
		asked := w.upstream.questions()
		w.now = w.now.Add(5*time.Minute - time.Second)
		w.get(path)
		if w.upstream.questions() != asked {
			t.Errorf("%s: asked again before it expired", path)
		}
		w.now = w.now.Add(time.Second)
		w.get(path)
		if w.upstream.questions() == asked {
			t.Errorf("%s: not asked again when it expired", path)
		}
	}
}

func TestPublishingDropsKeptAnswers(t *testing.T) {
	w := hotWorld(t)
	const path = helloV2 + "/revisions/r1/packages/bbb2/latest"
	wantStatus(t, w.warm(path), http.StatusNotFound)
	folder := helloV2 + "/revisions/r1/packages/bbb2/revisions/p1/files/"
	for _, name := range []string{"conan_package.tgz", "conaninfo.txt", "conanmanifest.txt"} {
		wantStatus(t, w.get(path), http.StatusNotFound)
		wantStatus(t, w.do(call{method: "PUT", path: folder + name, user: "demo", body: packageFiles[name]}), http.StatusOK)
	}
	wantStatus(t, w.warm(path), http.StatusOK)
	wantStatus(t, w.do(call{method: "DELETE", path: helloV2 + "/revisions/r1/packages/bbb2", user: "demo"}), http.StatusOK)
	wantStatus(t, w.get(path), http.StatusNotFound)
}

func TestKeptAnswersObserveRights(t *testing.T) {
	w := hotWorld(t)
	w.upstream.have(t, "secret/1.0#r1", recipeFiles)
	for _, path := range []string{"/v2/conans/secret/1.0/_/_/latest", "/v2/conans/secret/1.0/_/_/revisions/r1/files/conanmanifest.txt", "/v1/conans/secret/1.0/_/_/download_urls", "/v1/conans/search?q=secret"} {
		wantStatus(t, w.do(call{method: "GET", path: path, user: "demo"}), http.StatusOK)
		w.server.documents.cache.Wait()
		wantStatus(t, w.get(path), http.StatusUnauthorized)
		if other := w.do(call{method: "GET", path: path, user: "other"}); other.StatusCode == http.StatusOK && bodyOf(t, other) != `{"results":[]}` {
			t.Errorf("%s was shown to another user", path)
		}
		wantStatus(t, w.do(call{method: "GET", path: path, user: "demo"}), http.StatusOK)
	}
	w.setRules([]auth.Rule{{Pattern: "*", Users: []string{"*"}}}, nil)
	wantJSON(t, w.get("/v1/conans/search?q=secret"), `{"results":["secret/1.0"]}`)
}

func TestChangesInvalidateKeptAnswers(t *testing.T) {
	w := hotWorld(t)
	search := "/v2/conans/search?q=hello"
	changed := func(ref conan.Ref) { w.changes.ChangedRef(ref); w.changes.ChangedNames(ref) }
	for _, path := range []string{helloV2 + "/latest", search} {
		w.warm(path)
		asked := w.upstream.questions()
		changed(conan.Ref{Name: "other", Version: "1.0"})
		w.get(path)
		if kept := w.upstream.questions() == asked; kept != (path != search) {
			t.Errorf("%s after a change of another reference: kept %v", path, kept)
		}
		w.warm(path)
		asked = w.upstream.questions()
		changed(conan.Ref{Name: "hello", Version: "1.0", User: "demo", Channel: "testing"})
		w.get(path)
		if w.upstream.questions() == asked {
			t.Errorf("%s was still kept", path)
		}
	}
}

// What is kept is answered like what was rendered, and logged like it.
func TestKeptAnswersAreTheSame(t *testing.T) {
	for _, path := range hotPaths {
		w := hotWorld(t)
		w.upstream.state = conan.StateHit
		rendered := w.warm(path)
		logged := w.access.Len()
		kept := w.get(path)
		if diff := cmp.Diff(bodyOf(t, rendered), bodyOf(t, kept)); diff != "" {
			t.Errorf("%s: body (-rendered +kept):\n%s", path, diff)
		}
		if diff := cmp.Diff(rendered.Header, kept.Header); diff != "" {
			t.Errorf("%s: header (-rendered +kept):\n%s", path, diff)
		}
		lines := w.access.All()
		if len(lines) != logged+1 {
			t.Fatalf("%s: %d lines in the access log, want one more than %d", path, len(lines), logged)
		}
		before, after := lines[logged-1].ContextMap(), lines[logged].ContextMap()
		for _, own := range []string{"duration", "id"} {
			delete(before, own)
			delete(after, own)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s: log (-rendered +kept):\n%s", path, diff)
		}
	}
}

// Clients that send other headers, as each machine does, get the same kept answer.
func TestKeptAnswersAreForAllClients(t *testing.T) {
	w := hotWorld(t)
	w.warm(helloV2 + "/latest")
	asked := w.upstream.questions()
	for i, header := range []map[string]string{
		{"X-Client-Anonymous-Id": "5c3f8e"}, {"X-Client-Anonymous-Id": "77aa01"}, {"X-Forwarded-For": "198.51.100.7"}, withBasic("demo", "demo"),
	} {
		resp := w.do(call{method: "GET", path: helloV2 + "/latest", header: header})
		if wantStatus(t, resp, http.StatusOK); w.upstream.questions() != asked {
			t.Errorf("client %d: upstream was asked again", i)
		}
	}
}

// blockedSource answers Latest only when it is let go on.
type blockedSource struct {
	*memStore
	began, goOn chan struct{}
}

func (s blockedSource) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	a, err := s.memStore.Latest(ctx, rev)
	s.began <- struct{}{}
	<-s.goOn
	return a, err
}

// An answer that was begun before a reload is the old one, and is not kept for requests after it.
func TestAnswersBeganBeforeAReloadAreNotKeptAfterIt(t *testing.T) {
	const path = helloV2 + "/latest"
	for name, reload := range map[string]func(*world) int{
		"view": func(w *world) int { w.setViews(w.view("all", "", w.storeMember())); return http.StatusNotFound },
		"rules": func(w *world) int {
			w.setRules([]auth.Rule{{Pattern: "*", Users: []string{"demo"}}}, nil)
			return http.StatusUnauthorized
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := hotWorld(t)
			slow := blockedSource{w.upstream, make(chan struct{}), make(chan struct{})}
			w.setViews(w.view("all", "", w.storeMember(), resolver.Member{Name: "conancenter", Source: slow}))
			first := make(chan *http.Response)
			go func() { first <- w.get(path) }()
			<-slow.began
			want := reload(w)
			close(slow.goOn)
			wantStatus(t, <-first, http.StatusOK)
			w.server.documents.cache.Wait()
			wantStatus(t, w.get(path), want)
		})
	}
}

// A request that began before a reload may end after it, and its answer is kept under its own
// settings only.
func TestRequestsKeepTheirSettings(t *testing.T) {
	w := hotWorld(t)
	slow := blockedSource{w.upstream, make(chan struct{}), make(chan struct{})}
	w.setViews(w.view("all", "", resolver.Member{Name: "conancenter", Source: slow}))
	first := make(chan *http.Response)
	go func() { first <- w.get(helloV2 + "/latest") }()
	<-slow.began
	w.setViews() // none is left
	close(slow.goOn)
	resp := <-first
	if wantStatus(t, resp, http.StatusOK); resp.Header.Get("X-Conanproxy-Source") != "conancenter" {
		t.Errorf("header %v", resp.Header)
	}
	wantStatus(t, w.get(helloV2+"/latest"), http.StatusFailedDependency)
}

func TestSignedURLsAreNotKept(t *testing.T) {
	w := hotWorld(t)
	w.upstream.have(t, "secret/1.0#r1", recipeFiles)
	c := call{method: "GET", path: "/v1/conans/secret/1.0/_/_/download_urls", user: "demo"}
	first := urlsOf(t, w.do(c))[conan.ManifestFile]
	w.now = w.now.Add(time.Minute)
	w.server.documents.cache.Wait()
	if again := urlsOf(t, w.do(c))[conan.ManifestFile]; again == first {
		t.Error("an old signature was given out again")
	}
}

func TestAnswersUnderTwoMountsAreKeptApart(t *testing.T) {
	w := hotWorld(t)
	w.warm(helloPath + "/download_urls")
	w.warm("/upstream/conancenter" + helloPath + "/download_urls")
	for _, prefix := range []string{"", "/upstream/conancenter"} {
		u := urlsOf(t, w.get(prefix+helloPath+"/download_urls"))[conan.ManifestFile]
		if want := prefix + "/v1/files/hello/1.0/demo/testing/r1/export/conanmanifest.txt"; u != want {
			t.Errorf("URL %q, want %q", u, want)
		}
	}
	wantStatus(t, w.get("/local"+helloPath), http.StatusNotFound)
}

func TestFailuresAreNotKept(t *testing.T) {
	w := hotWorld(t)
	w.upstream.err = &conan.UnavailableError{Member: "conancenter", Reason: "connection refused"}
	failed := w.warm(helloV2 + "/latest")
	wantStatus(t, failed, http.StatusServiceUnavailable)
	if source, state := failed.Header.Get("X-Conanproxy-Source"), failed.Header.Get("X-Cache"); source != "conancenter" || state != "" {
		t.Errorf("a failure says source %q, cache %q", source, state)
	}
	w.upstream.err = nil
	wantStatus(t, w.get(helloV2+"/latest"), http.StatusOK)
}

func TestDocumentsPut(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	changes, settings := new(memory.Changes), new(Settings)
	d, err := newDocuments(1<<20, changes, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	good := conan.Origin{Member: "local", State: conan.StateLocal, Expires: now.Add(time.Minute)}
	stale := good
	stale.State = conan.StateStale
	tests := []struct {
		name    string
		body    []byte
		origin  conan.Origin
		changed bool // while it was rendered
		want    bool
	}{
		{"good", []byte("x"), good, false, true},
		{"no origin", []byte("x"), conan.Origin{}, false, false},
		{"not to be remembered", []byte("x"), conan.Origin{Member: "y"}, false, false},
		{"expired", []byte("x"), conan.Origin{Member: "y", Expires: now}, false, false},
		{"stale", []byte("x"), stale, false, false},
		{"too large", make([]byte, 100<<10), good, false, false},
		{"overtaken", []byte("x"), good, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stamp := d.stamp(conan.Ref{Name: "x", Version: "1.0"})
			if tt.changed {
				changes.ChangedRef(conan.Ref{Name: "x", Version: "1.0"})
			}
			d.put(tt.name, rendering{Value: &document{body: tt.body}, Origin: tt.origin}, stamp, settings)
			d.cache.Wait()
			if got := d.get(tt.name, settings) != nil; got != tt.want {
				t.Errorf("kept: %v, want %v", got, tt.want)
			}
			if d.get(tt.name, new(Settings)) != nil {
				t.Error("kept for other settings")
			}
		})
	}
}

func TestStaleAnswersSaySo(t *testing.T) {
	w := hotWorld(t)
	w.upstream.state = conan.StateStale
	resp := w.get(helloV2 + "/latest")
	wantStatus(t, resp, http.StatusOK)
	if resp.Header.Get("X-Cache") != "stale" || resp.Header.Get("Age") == "" || resp.Header.Get("Warning") != `110 - "Response is Stale"` {
		t.Errorf("header %v", resp.Header)
	}
	if fresh := w.get("/local" + helloV2 + "/latest"); fresh.Header.Get("Warning") != "" {
		t.Error("another answer has the warning too")
	}
}

func TestNoMemoryKeepsNothing(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.get(helloV2 + "/latest")
	asked := w.local.questions()
	w.get(helloV2 + "/latest")
	if w.local.questions() == asked {
		t.Error("an answer was kept")
	}
}

func TestJSONDocumentFails(t *testing.T) {
	if _, err := jsonDocument(func() {}); err == nil || errors.Is(err, conan.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkWarmAnswer is what installs ask most: for a binary that is there, for one that is not,
// and for a manifest.
func BenchmarkWarmAnswer(b *testing.B) {
	for name, path := range map[string]string{
		"found":    helloV2 + "/latest",
		"missing":  helloV2 + "/revisions/r1/packages/nope/latest",
		"manifest": helloV2 + "/revisions/r1/files/conanmanifest.txt",
	} {
		b.Run(name, func(b *testing.B) {
			w := hotWorld(b)
			w.warm(path)
			b.ReportAllocs()
			for b.Loop() {
				w.server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
			}
		})
	}
}
