package conantest

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// client is a client without reuse of connections, so that faults of one do not meet another.
type client struct {
	t    *testing.T
	http *http.Client
}

func newClient(t *testing.T) *client {
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, http: &http.Client{Transport: transport}}
}

// get asks and reads the whole body. header is name, value, name, value …
func (c *client) get(url string, header ...string) (*http.Response, []byte, error) {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

// json asks for a document.
func (c *client) json(url string) map[string]any {
	c.t.Helper()
	resp, b, err := c.get(url)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		c.t.Fatalf("GET %s: %v, %v, %s", url, resp, err, b)
	}
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		c.t.Fatalf("GET %s: %v: %s", url, err, b)
	}
	return v
}

func TestServerV2(t *testing.T) {
	first := Recipe("zlib", "1.3", File("conandata.yml", "x"), Metadata("logs/a b.log", "log"))
	second := Recipe("zlib", "1.3", Code("    # fixed\n"), Published(DefaultTime.Add(time.Hour)))
	lib, old := Package(first), Package(first, Conan1())
	srv := NewServer(t, V2, first, second, lib, old, Recipe("bzip2", "1.0.8", Owner("acme", "stable")))
	c := newClient(t)
	base := srv.URL + "/v2/conans/zlib/1.3/_/_"
	of := func(s Set) string {
		u := base + "/revisions/" + s.RRev
		if s.IsPackage() {
			u += "/packages/" + s.PackageID + "/revisions/" + s.PRev
		}
		return u
	}

	if resp, b, err := c.get(srv.URL + "/v1/ping"); err != nil || len(b) > 0 || resp.Header.Get("X-Conan-Server-Capabilities") != "complex_search,revisions" {
		t.Errorf("ping: %v, %q, %v", resp, b, err)
	}
	const firstTime, secondTime = "2026-01-02T03:04:05.678901+00:00", "2026-01-02T04:04:05.678901+00:00"
	for path, want := range map[string]any{
		base + "/latest": map[string]any{"revision": second.RRev, "time": secondTime},
		base + "/revisions": map[string]any{"revisions": []any{
			map[string]any{"revision": second.RRev, "time": secondTime},
			map[string]any{"revision": first.RRev, "time": firstTime},
		}},
		of(first) + "/files": map[string]any{"files": map[string]any{"conan_export.tgz": map[string]any{}, "conanfile.py": map[string]any{}, "conanmanifest.txt": map[string]any{}, "metadata/logs/a b.log": map[string]any{}}},
		of(first) + "/packages/" + lib.PackageID + "/latest":   map[string]any{"revision": lib.PRev, "time": firstTime},
		of(first) + "/search?list_only=True":                   map[string]any{lib.PackageID: map[string]any{}, old.PackageID: map[string]any{}},
		of(second) + "/search":                                 map[string]any{},
		srv.URL + "/v2/conans/search?q=ZLIB*":                  map[string]any{"results": []any{"zlib/1.3"}},
		srv.URL + "/v2/conans/search?q=ZLIB*&ignorecase=False": map[string]any{"results": []any{}},
		srv.URL + "/v2/conans/search":                          map[string]any{"results": []any{"bzip2/1.0.8@acme/stable", "zlib/1.3", "zlib/1.3"}},
		of(lib) + "/files":                                     map[string]any{"files": map[string]any{"conan_package.tgz": map[string]any{}, "conaninfo.txt": map[string]any{}, "conanmanifest.txt": map[string]any{}}},
	} {
		if diff := cmp.Diff(want, any(c.json(path))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", path, diff)
		}
	}
	for url, want := range map[string]string{
		of(lib) + "/files/conan_package.tgz":         string(lib.Files["conan_package.tgz"]),
		of(first) + "/files/metadata/logs/a%20b.log": "log",
	} {
		if resp, b, err := c.get(url); err != nil || string(b) != want || resp.ContentLength != int64(len(want)) || resp.Header.Get("Accept-Ranges") != "bytes" {
			t.Errorf("%s: %v, %d bytes, %v", url, resp, len(b), err)
		}
	}
	for _, url := range []string{
		base + "/revisions/abc/files", of(first) + "/packages/abc/latest", of(first) + "/files/conan_sources.tgz",
		srv.URL + "/v2/conans/nope/1.0/_/_/latest", srv.URL + "/v1/conans/zlib/1.3/_/_/digest", srv.URL + "/v2/other", srv.URL,
	} {
		if resp, _, err := c.get(url); err != nil || resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %v, %v; want 404", url, resp, err)
		}
	}
	if n := srv.Count("GET */latest"); n != 4 {
		t.Errorf("latest was asked %d times, want 4", n)
	}
	srv.Remove(second.Revision)
	if got := c.json(base + "/latest")["revision"]; got != first.RRev {
		t.Errorf("after Remove the latest is %v", got)
	}
	srv.Remove(conan.Revision{Ref: first.Ref})
	if resp, _, err := c.get(base + "/latest"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("after Remove of all: %v, %v", resp, err)
	}
}

func TestServerV1(t *testing.T) {
	recipe := Recipe("zlib", "1.3", Owner("acme", "stable"), Source("a.c", "int a;"))
	lib := Package(recipe, Conan1())
	for _, o := range []Options{
		{API: V1},
		{API: V1, Prefix: "/artifactory/api/conan/center", FileURLs: Relative},
		{API: V1, Prefix: "/conan", FileURLs: Absolute, Unsigned: true},
		{API: V1, Prefix: "/conan", FileURLs: Foreign},
		{API: V1, Unsigned: true, FileURLs: Foreign},
	} {
		srv := NewServerWith(t, o, recipe, lib)
		c := newClient(t)
		remote, err := url.Parse(srv.URL + "/")
		if err != nil {
			t.Fatal(err)
		}
		base := srv.URL + "/v1/conans/zlib/1.3/acme/stable"
		for folder, set := range map[string]Set{base: recipe, base + "/packages/" + lib.PackageID: lib} {
			snapshot := make(map[string]any)
			for _, f := range set.Snapshot() {
				snapshot[f.Name] = f.MD5
			}
			if diff := cmp.Diff(snapshot, c.json(folder)); diff != "" {
				t.Errorf("%+v: snapshot (-want +got)\n%s", o, diff)
			}
			urls := c.json(folder + "/download_urls")
			if len(urls) != len(snapshot) {
				t.Errorf("%+v: download_urls %v", o, urls)
			}
			digest := c.json(folder + "/digest")
			if len(digest) != 1 {
				t.Errorf("%+v: digest %v", o, digest)
			}
			urls[conan.ManifestFile] = digest[conan.ManifestFile]
			for name, text := range urls {
				u, err := remote.Parse(text.(string))
				if err != nil {
					t.Fatal(err)
				}
				if _, b, err := c.get(u.String()); err != nil || fmt.Sprintf("%x", md5.Sum(b)) != snapshot[name] {
					t.Errorf("%+v: GET %s: %q, %v", o, u, b, err)
				}
				if u.Query().Has("signature") == o.Unsigned || (u.Host != remote.Host) != (o.FileURLs == Foreign) {
					t.Errorf("%+v: URL %s", o, u)
				}
			}
			if !o.Unsigned {
				srv.ExpireSignatures()
				u, err := remote.Parse(urls[conan.ManifestFile].(string))
				if err != nil {
					t.Fatal(err)
				}
				if resp, _, err := c.get(u.String()); err != nil || resp.StatusCode != http.StatusNotFound {
					t.Errorf("%+v: expired signature: %v, %v", o, resp, err)
				}
			}
		}
		info := c.json(base + "/search")[lib.PackageID].(map[string]any)
		if info["recipe_hash"] != recipe.RRev || !cmp.Equal(info["settings"], any(map[string]any{"os": "Linux"})) || info["content"] == "" {
			t.Errorf("%+v: package search %v", o, info)
		}
		if got := c.json(srv.URL + "/v1/conans/search?q=zlib")["results"]; !cmp.Equal(got, any([]any{"zlib/1.3@acme/stable"})) {
			t.Errorf("%+v: search %v", o, got)
		}
		if resp, _, err := c.get(srv.URL + "/v2/conans/zlib/1.3/acme/stable/latest"); err != nil || resp.StatusCode != http.StatusNotFound {
			t.Errorf("%+v: v2 route: %v, %v", o, resp, err)
		}
	}
}

func TestServerLogin(t *testing.T) {
	recipe := Recipe("zlib", "1.3")
	srv := NewServerWith(t, Options{Users: map[string]string{"anna": "secret"}, Private: true}, recipe)
	c := newClient(t)
	latest := srv.URL + "/v2/conans/zlib/1.3/_/_/latest"
	status := func(url string, header ...string) (int, string) {
		t.Helper()
		resp, b, err := c.get(url, header...)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	basic := func(user, password string) string {
		req := &http.Request{Header: http.Header{}}
		req.SetBasicAuth(user, password)
		return req.Header.Get("Authorization")
	}
	if code, _ := status(srv.URL + "/v1/ping"); code != 200 {
		t.Errorf("ping: %d", code)
	}
	if code, _ := status(latest); code != 401 {
		t.Errorf("anonymous: %d", code)
	}
	if code, _ := status(srv.URL+"/v2/users/authenticate", "Authorization", basic("anna", "wrong")); code != 401 {
		t.Errorf("wrong password: %d", code)
	}
	_, token := status(srv.URL+"/v1/users/authenticate", "Authorization", basic("anna", "secret"))
	if code, _ := status(latest, "Authorization", "Bearer "+token); code != 200 {
		t.Errorf("with a token: %d", code)
	}
	if code, user := status(srv.URL+"/v2/users/check_credentials", "Authorization", "Bearer "+token); code != 200 || user != "anna" {
		t.Errorf("check_credentials: %d, %q", code, user)
	}
	srv.ExpireTokens()
	if code, text := status(latest, "Authorization", "Bearer "+token); code != 401 || text != "Wrong JWT token!" {
		t.Errorf("with an expired token: %d, %q", code, text)
	}
	_, token = status(srv.URL+"/v2/users/authenticate", "Authorization", basic("anna", "secret"))
	if code, _ := status(latest, "Authorization", "Bearer "+token); code != 200 {
		t.Errorf("with a new token: %d", code)
	}
	if n := srv.Count("GET */users/authenticate"); n != 3 {
		t.Errorf("%d logins in the log", n)
	}
}

func TestServerRanges(t *testing.T) {
	lib := Package(Recipe("zlib", "1.3"), Random("a", 10_000))
	whole := lib.Files["conan_package.tgz"]
	for _, tt := range []struct {
		validator Validator
		header    string
		status    int
	}{{LastModified, "Last-Modified", 206}, {ETag, "Etag", 206}, {NoValidator, "", 206}, {NoRanges, "", 200}} {
		srv := NewServerWith(t, Options{API: V2, Validator: tt.validator}, lib)
		c := newClient(t)
		u := srv.URL + "/v2/conans/zlib/1.3/_/_/revisions/" + lib.RRev + "/packages/" + lib.PackageID + "/revisions/" + lib.PRev + "/files/conan_package.tgz"
		resp, _, err := c.get(u)
		if err != nil {
			t.Fatal(err)
		}
		validator := resp.Header.Get(tt.header)
		if (tt.header == "") != (resp.Header.Get("Last-Modified")+resp.Header.Get("Etag") == "") {
			t.Errorf("validator %d: %v", tt.validator, resp.Header)
		}
		header := []string{"Range", "bytes=4000-"}
		if tt.header != "" {
			header = append(header, "If-Range", validator)
		}
		resp, b, err := c.get(u, header...)
		want := whole
		if tt.status == 206 {
			want = whole[4000:]
		}
		if err != nil || resp.StatusCode != tt.status || string(b) != string(want) {
			t.Errorf("validator %d: %v, %d bytes, %v", tt.validator, resp, len(b), err)
		}
		srv.Add(lib.With("conan_package.tgz", strings.Repeat("new", 5000)))
		if resp, b, err := c.get(u, header...); tt.validator == ETag && (err != nil || resp.StatusCode != 200 || len(b) != 15000) {
			t.Errorf("after a change: %v, %d bytes, %v", resp, len(b), err)
		}
	}
}

func TestFaults(t *testing.T) {
	lib := Package(Recipe("zlib", "1.3"), Random("a", 10_000))
	whole := lib.Files["conan_package.tgz"]
	size := int64(len(whole))
	const route = "GET */conan_package.tgz"
	type result struct {
		Status int
		Type   string
		Body   string
		Err    bool
	}
	good := result{Status: 200, Type: "x-gzip", Body: string(whole)}
	const plain = "text/plain; charset=utf-8"
	flipped := append([]byte(nil), whole...)
	flipped[5] ^= 0x40
	tests := []struct {
		name  string
		fault Fault
		want  []result // of requests one after the other
	}{
		{"other route", Fault{Route: "POST *", Status: 500}, []result{good}},
		{"status", Fault{Route: route, Count: 1, Status: 503, Body: Text("later"), Header: http.Header{"Retry-After": {"7"}}}, []result{{Status: 503, Type: plain, Body: "later"}, good}},
		{"third request", Fault{Route: route, Skip: 2, Count: 1, Status: 500}, []result{good, good, {Status: 500, Type: plain}, good}},
		{"for ever", Fault{Route: "*", Status: 500}, []result{{Status: 500, Type: plain}, {Status: 500, Type: plain}, {Status: 500, Type: plain}}},
		{"HTML", HTML(route), []result{{Status: 200, Type: "text/html; charset=utf-8", Body: *HTML("").Body}}},
		{"text", PlainText(route), []result{{Status: 200, Type: plain, Body: *PlainText("").Body}}},
		{"broken JSON", BrokenJSON(route), []result{{Status: 200, Type: "application/json", Body: *BrokenJSON("").Body}}},
		{"content type", Fault{Route: route, ContentType: "a/b"}, []result{{Status: 200, Type: "a/b", Body: string(whole)}}},
		{"cut", Fault{Route: route, Count: 1, Cut: At(4000)}, []result{{Status: 200, Type: "x-gzip", Body: string(whole[:4000]), Err: true}, good}},
		{"cut at once", Fault{Route: route, Cut: At(0)}, []result{{Status: 200, Type: "x-gzip", Err: true}}},
		{"flip", Fault{Route: route, Flip: At(5)}, []result{{Status: 200, Type: "x-gzip", Body: string(flipped)}}},
		{"short announcement", Fault{Route: route, ContentLength: At(100)}, []result{{Status: 200, Type: "x-gzip", Body: string(whole[:100])}}},
		{"long announcement", Fault{Route: route, ContentLength: At(size + 1)}, []result{{Status: 200, Type: "x-gzip", Body: string(whole), Err: true}}},
		{"no length", Fault{Route: route, NoLength: true}, []result{good}},
		{"no length and cut", Fault{Route: route, NoLength: true, Cut: At(10)}, []result{{Status: 200, Type: "x-gzip", Body: string(whole[:10]), Err: true}}},
		{"reset", Fault{Route: route, Count: 1, Reset: true}, []result{{Err: true}, good}},
		{"redirect loop", Fault{Route: route, RedirectLoop: true}, []result{{Err: true}}},
		{"redirect away", Fault{Route: route, Status: 302, Header: http.Header{"Location": {"/v1/ping"}}}, []result{{Status: 200, Type: "text/html; charset=UTF-8"}}},
		{"delay and drip", Fault{Route: route, Delay: time.Millisecond, BytesPerSecond: 200_000}, []result{good}},
	}
	for _, tt := range tests {
		srv := NewServer(t, V2, lib)
		end := srv.Fault(tt.fault)
		c := newClient(t)
		u := srv.URL + "/v2/conans/zlib/1.3/_/_/revisions/" + lib.RRev + "/packages/" + lib.PackageID + "/revisions/" + lib.PRev + "/files/conan_package.tgz"
		ask := func() result {
			resp, b, err := c.get(u)
			got := result{Body: string(b), Err: err != nil}
			if resp != nil {
				got.Status = resp.StatusCode
				for name, values := range tt.fault.Header {
					if resp.StatusCode == tt.fault.Status && resp.Header.Get(name) != values[0] {
						t.Errorf("%s: header %v", tt.name, resp.Header)
					}
				}
				got.Type = resp.Header.Get("Content-Type")
			}
			return got
		}
		for i, want := range tt.want {
			if diff := cmp.Diff(want, ask()); diff != "" {
				t.Errorf("%s, request %d: (-want +got)\n%s", tt.name, i, diff)
			}
		}
		end()
		if diff := cmp.Diff(good, ask()); diff != "" {
			t.Errorf("%s, after its end: (-want +got)\n%s", tt.name, diff)
		}
	}
}

// TestFaultsOfSilence: a black hole and a stalled body end with the client's patience or the
// server.
func TestFaultsOfSilence(t *testing.T) {
	recipe := Recipe("zlib", "1.3")
	srv := NewServer(t, V2, recipe)
	u := srv.URL + "/v2/conans/zlib/1.3/_/_/revisions/" + recipe.RRev + "/files/conanfile.py"
	for _, fault := range []Fault{{Route: "*", BlackHole: true}, {Route: "*", Stall: At(3)}} {
		end := srv.Fault(fault)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		var body []byte
		resp, err := newClient(t).http.Do(req)
		if err == nil {
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if !errors.Is(err, context.DeadlineExceeded) || (fault.Stall != nil && len(body) != 3) {
			t.Errorf("%+v: %q, %v", fault, body, err)
		}
		cancel()
		done := make(chan error, 1)
		before := len(srv.Log())
		go func() {
			_, _, err := newClient(t).get(u)
			done <- err
		}()
		for len(srv.Log()) == before { // until the request is there
			time.Sleep(time.Millisecond)
		}
		srv.Stop()
		if err := <-done; err == nil {
			t.Errorf("%+v: the stopped server answered", fault)
		}
		end()
		srv.Start()
		if _, b, err := newClient(t).get(u); err != nil || len(b) == 0 {
			t.Errorf("%+v: after the restart: %q, %v", fault, b, err)
		}
	}
}

func TestServerStop(t *testing.T) {
	srv := NewServer(t, Both, Recipe("zlib", "1.3"))
	c := newClient(t)
	srv.Stop()
	srv.Stop()
	if _, _, err := c.get(srv.URL + "/v1/ping"); err == nil {
		t.Error("stopped: no error")
	}
	srv.Start()
	srv.Start()
	if _, _, err := c.get(srv.URL + "/v1/ping"); err != nil {
		t.Errorf("started again: %v", err)
	}
	log := srv.Log()
	if len(log) != 1 || log[0].String() != "GET /v1/ping" || log[0].Status != 200 {
		t.Errorf("log: %v", log)
	}
	srv.ResetLog()
	if len(srv.Log()) != 0 {
		t.Error("the log is not empty")
	}
}

func TestRelay(t *testing.T) {
	lib := Package(Recipe("zlib", "1.3"), Random("a", 200_000))
	srv := NewServer(t, V2, lib)
	relay := NewRelay(t, srv.URL)
	u := relay.URL(srv.URL) + "/v2/conans/zlib/1.3/_/_/revisions/" + lib.RRev + "/packages/" + lib.PackageID + "/revisions/" + lib.PRev + "/files/conan_package.tgz"
	c := newClient(t)
	whole := string(lib.Files["conan_package.tgz"])
	good := func(when string) {
		t.Helper()
		if _, b, err := c.get(u); err != nil || string(b) != whole {
			t.Errorf("%s: %d bytes, %v", when, len(b), err)
		}
	}
	good("first")

	relay.ResetAfter(50_000)
	if _, b, err := c.get(u); err == nil || len(b) >= 50_000 {
		t.Errorf("reset: %d bytes, %v", len(b), err)
	}
	relay.ResetAfter(-1)
	good("after resets")

	relay.Refuse(true)
	if _, _, err := c.get(u); err == nil {
		t.Error("refused: no error")
	}
	relay.Refuse(false)

	relay.Limit(4_000_000)
	good("limited")
	relay.Limit(0)

	relay.Stall(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.http.Do(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stalled: %v", err)
	}
	relay.Stall(false)
	good("after the stall")
	if n := relay.Accepted(); n != 7 {
		t.Errorf("%d connections, want 7", n)
	}
	if req := srv.Log()[0]; req.Host != relay.Address {
		t.Errorf("host %s", req.Host)
	}
}
