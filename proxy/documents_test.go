package proxy

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// hotWorld keeps answers; what is set is seen at once.
func hotWorld(t testing.TB) *world {
	w := newWorld(t, func(o *Options) { o.Memory = 4 << 20 })
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
			w.server.Handler().ServeHTTP(rec, req)
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
	if err := w.guard.SetRules([]Rule{{Pattern: "*", Users: []string{"*"}}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.server.SetViews(w.views()); err != nil {
		t.Fatal(err)
	}
	wantJSON(t, w.get("/v1/conans/search?q=secret"), `{"results":["secret/1.0"]}`)
}

func TestForget(t *testing.T) {
	w := hotWorld(t)
	search := "/v2/conans/search?q=hello"
	for _, path := range []string{helloV2 + "/latest", search} {
		w.warm(path)
		asked := w.upstream.questions()
		w.server.Forget(conan.Ref{Name: "other", Version: "1.0"})
		w.get(path)
		if kept := w.upstream.questions() == asked; kept != (path != search) {
			t.Errorf("%s after a change of another reference: kept %v", path, kept)
		}
		w.warm(path)
		asked = w.upstream.questions()
		w.server.Forget(conan.Ref{Name: "hello", Version: "1.0", User: "demo", Channel: "testing"})
		w.get(path)
		if w.upstream.questions() == asked {
			t.Errorf("%s was still kept", path)
		}
	}
}

// frontWarm asks until the answer comes from in front of the routes, and fails if it never does.
func frontWarm(t *testing.T, w *world, path string) *frontAnswer {
	t.Helper()
	w.warm(path)
	w.get(path)
	w.server.documents.front.Wait()
	a := w.server.documents.frontAnswer(httptest.NewRequest("GET", path, nil))
	if a == nil {
		t.Fatalf("%s is not answered in front", path)
	}
	return a
}

func TestFrontAnswersAreTheSame(t *testing.T) {
	for _, path := range []string{
		"/v1/ping", "/local/v1/ping", helloV2 + "/latest", helloV2 + "/revisions/r1/files/conanmanifest.txt",
		helloPath + "/download_urls", helloV2 + "/revisions/r1/packages/nope/latest",
	} {
		w := hotWorld(t)
		w.warm(path)
		routed := w.get(path)
		routedBody := bodyOf(t, routed)
		frontWarm(t, w, path)
		logged := w.access.Len()
		inFront := w.get(path)
		if diff := cmp.Diff(routedBody, bodyOf(t, inFront)); diff != "" {
			t.Errorf("%s: body (-routed +front):\n%s", path, diff)
		}
		if diff := cmp.Diff(routed.Header, inFront.Header); diff != "" {
			t.Errorf("%s: header (-routed +front):\n%s", path, diff)
		}
		if routed.StatusCode != inFront.StatusCode {
			t.Errorf("%s: status %d in front, %d routed", path, inFront.StatusCode, routed.StatusCode)
		}
		lines := w.access.All()
		if len(lines) != logged+1 {
			t.Fatalf("%s: %d lines in the access log, want one more than %d", path, len(lines), logged)
		}
		before, after := lines[logged-1].ContextMap(), lines[logged].ContextMap()
		delete(before, "duration")
		delete(after, "duration")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s: log (-routed +front):\n%s", path, diff)
		}
	}
}

func TestFrontAnswersOnlyAnonymousPlainRequests(t *testing.T) {
	w := hotWorld(t)
	path := helloV2 + "/latest"
	frontWarm(t, w, path)
	for _, name := range []string{"Authorization", "Range", "If-None-Match", "X-Forwarded-Prefix"} {
		req := httptest.NewRequest("GET", path, nil)
		req.Header.Set(name, "x")
		if w.server.documents.frontAnswer(req) != nil {
			t.Errorf("a request with %s was answered in front", name)
		}
	}
	for _, other := range []*http.Request{httptest.NewRequest("HEAD", path, nil), httptest.NewRequest("DELETE", path, nil), httptest.NewRequest("GET", path+"?x=y", nil)} {
		if w.server.documents.frontAnswer(other) != nil {
			t.Errorf("%s %s was answered in front", other.Method, other.RequestURI)
		}
	}
	wantStatus(t, w.do(call{method: "GET", path: path, user: "nobody"}), http.StatusUnauthorized)
}

func TestFrontObservesTimeRulesAndChanges(t *testing.T) {
	path := helloV2 + "/latest"
	changes := map[string]func(*world){
		"time": func(w *world) { w.now = w.now.Add(time.Hour) },
		"change": func(w *world) {
			w.server.Forget(conan.Ref{Name: "hello", Version: "1.0", User: "demo", Channel: "testing"})
		},
		"views": func(w *world) {
			if err := w.server.SetViews(w.views()); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, change := range changes {
		w := hotWorld(t)
		frontWarm(t, w, path)
		change(w)
		if w.server.documents.frontAnswer(httptest.NewRequest("GET", path, nil)) != nil {
			t.Errorf("still answered in front after: %s", name)
		}
	}
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
	d, err := newDocuments(1<<20, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	good := []conan.Origin{{Member: "local", Expires: conan.Forever}, {Member: "x", Expires: now.Add(time.Minute)}}
	tests := []struct {
		name    string
		doc     document
		origins []conan.Origin
		stale   bool // something was published while it was rendered
		want    bool
	}{
		{"good", document{body: []byte("x")}, good, false, true},
		{"no origins", document{body: []byte("x")}, nil, false, false},
		{"an origin that is not to be remembered", document{body: []byte("x")}, append(good, conan.Origin{Member: "y"}), false, false},
		{"expired", document{body: []byte("x")}, []conan.Origin{{Expires: now}}, false, false},
		{"too large", document{body: make([]byte, 100<<10)}, good, false, false},
		{"overtaken", document{body: []byte("x")}, good, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begun := d.begin(conan.Ref{Name: "x", Version: "1.0"})
			if tt.stale {
				d.forgetAll()
			}
			d.put(tt.name, &tt.doc, begun, provenance{}, tt.origins)
			d.cache.Wait()
			if got := d.get(tt.name) != nil; got != tt.want {
				t.Errorf("kept: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestProvenance(t *testing.T) {
	local := conan.Origin{Member: "local", State: conan.StateLocal}
	hit := conan.Origin{Member: "a", State: conan.StateHit, Age: time.Minute}
	stale := conan.Origin{Member: "a", State: conan.StateStale, Age: time.Hour}
	tests := []struct {
		name    string
		origins []conan.Origin
		merged  bool
		want    provenance
	}{
		{"nothing", nil, false, provenance{}},
		{"last member answers", []conan.Origin{local, hit}, false, provenance{"a", conan.StateHit, time.Minute}},
		{"merged", []conan.Origin{local, hit}, true, provenance{"local, a", conan.StateHit, time.Minute}},
		{"worst of its parts", []conan.Origin{stale, local, hit}, true, provenance{"a, local", conan.StateStale, time.Hour}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var trace conan.Trace
			ctx := conan.WithTrace(t.Context(), &trace)
			for _, o := range tt.origins {
				conan.Note(ctx, o)
			}
			if got := provenanceOf(&trace, tt.merged); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
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

// BenchmarkWarmAnswer is what installs ask most: for a binary that is there, for one that is not, and for a manifest.
func BenchmarkWarmAnswer(b *testing.B) {
	for name, path := range map[string]string{
		"found":    helloV2 + "/latest",
		"missing":  helloV2 + "/revisions/r1/packages/nope/latest",
		"manifest": helloV2 + "/revisions/r1/files/conanmanifest.txt",
	} {
		b.Run(name, func(b *testing.B) {
			w := hotWorld(b)
			w.warm(path)
			handler := w.server.Handler()
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
			}
		})
	}
}
