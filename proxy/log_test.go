package proxy

import (
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// line is the last line of the access log.
func (w *world) line() map[string]any {
	w.t.Helper()
	lines := w.access.All()
	if len(lines) == 0 {
		w.t.Fatal("no line in the access log")
	}
	return lines[len(lines)-1].ContextMap()
}

func TestAccessLogTellsWhatWasAsked(t *testing.T) {
	w := newWorld(t, trusting("192.0.2.0/24"))
	w.do(call{method: "GET", path: "/v2/conans/search?q=zlib%2F*&token=topsecret", header: map[string]string{"User-Agent": "Conan/2.9.1", "X-Request-Id": "from-the-proxy"}})
	line := w.line()
	for name, want := range map[string]string{"search": "zlib/*", "agent": "Conan/2.9.1", "id": "from-the-proxy"} {
		if line[name] != want {
			t.Errorf("%s is %v, want %q", name, line[name], want)
		}
	}
	w.upstream.err = &conan.UnavailableError{Member: "conancenter", Reason: "connection refused"}
	resp := w.get(helloV2 + "/latest")
	line = w.line()
	if reason, _ := line["reason"].(string); !strings.Contains(reason, "connection refused") || line["member"] != "conancenter" {
		t.Errorf("line %v", line)
	}
	if resp.Header.Get("X-Request-Id") != line["id"] {
		t.Errorf("the answer says id %q, the log %v", resp.Header.Get("X-Request-Id"), line["id"])
	}
}

// An id is taken from trusted proxies only.
func TestRequestIDsOfStrangers(t *testing.T) {
	w := newWorld(t)
	w.do(call{method: "GET", path: "/v1/ping", header: map[string]string{"X-Request-Id": "forged"}})
	if id := w.line()["id"]; id == "forged" || id == "" {
		t.Errorf("id %v", id)
	}
}

func TestLevelsOfTheAccessLog(t *testing.T) {
	w := newWorld(t)
	const file = helloV2 + "/revisions/r1/files/conanfile.py"
	for _, tt := range []struct {
		call call
		want string
	}{
		{call{method: "GET", path: "/v1/ping"}, "info"},
		{call{method: "GET", path: helloV2 + "/latest"}, "info"},
		{call{method: "PUT", path: file, user: "demo", body: "x"}, "info"},
		{call{method: "PUT", path: file, body: "x"}, "info"}, // 401: a login follows
		{call{method: "PUT", path: file, user: "demo", header: map[string]string{"X-Checksum-Deploy": "true"}}, "info"},
		{call{method: "PUT", path: file, user: "demo", body: "x", header: map[string]string{"X-Checksum-Sha1": strings.Repeat("0", 40)}}, "warn"},
		{call{method: "PUT", path: strings.Replace(file, "hello", "locked", 1), user: "demo", body: "x"}, "warn"},
		{call{method: "GET", path: "/upstream/nope/v1/ping"}, "warn"},
	} {
		w.do(tt.call)
		if lines := w.access.All(); lines[len(lines)-1].Level.String() != tt.want {
			t.Errorf("%s %s: level %s, want %s (%v)", tt.call.method, tt.call.path, lines[len(lines)-1].Level, tt.want, w.line())
		}
	}
}

func TestProbesAreLoggedOnlyIfWanted(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		w := newWorld(t, func(o *worldOptions) { o.LogProbes = wanted })
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			w.get(path)
		}
		if n := w.access.Len(); wanted != (n == 3) || !wanted && n != 0 {
			t.Errorf("wanted %v: %d lines", wanted, n)
		}
	}
}

// Untrusted text in the log is bounded, and cannot steer a terminal or reorder what it shows.
func TestAccessLogIsPrintable(t *testing.T) {
	w := newWorld(t)
	w.do(call{method: "GET", path: "/%C2%9B31m/%E2%80%AEtxt.exe?q=%1B%5B2J", header: map[string]string{"User-Agent": "x\u009b\u202e"}})
	w.do(call{method: strings.Repeat("M", 50<<10), path: "/" + strings.Repeat("p", 50<<10), header: map[string]string{"User-Agent": strings.Repeat("u", 50<<10)}})
	for _, line := range w.access.All() {
		size := 0
		for name, value := range line.ContextMap() {
			text, _ := value.(string)
			size += len(text)
			if strings.ContainsAny(text, "\x1b\u009b\u202e") {
				t.Errorf("%s is %q", name, text)
			}
		}
		if size > 2<<10 {
			t.Errorf("a line of %d bytes", size)
		}
	}
}

func TestRefusedUploadsAreCounted(t *testing.T) {
	w := newWorld(t)
	w.local.putErr = conan.ErrNoSpace
	w.do(call{method: "PUT", path: helloV2 + "/revisions/r1/files/conanfile.py", user: "demo", body: "x"})
	if text := bodyOf(t, w.get("/metrics")); !strings.Contains(text, `conanproxy_http_refused_uploads_total{status="403"} 1`) {
		t.Error("not counted")
	}
	if n := w.access.FilterLevelExact(zap.WarnLevel).Len(); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

// A page of another site cannot write with what a browser knows.
func TestWritesFromOtherSites(t *testing.T) {
	w := v2World(t)
	remove := call{
		method: "POST", path: helloPath + "/packages/delete", user: "demo", body: `{"package_ids":[]}`,
		header: map[string]string{"Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site"},
	}
	wantStatus(t, w.do(remove), http.StatusForbidden)
	remove.header = map[string]string{"Content-Type": "text/plain", "Origin": "https://evil.example"}
	wantStatus(t, w.do(remove), http.StatusForbidden)
	remove.header = nil
	wantStatus(t, w.do(remove), http.StatusOK)
}

// Who may not read a reference is not told which file names it could have.
func TestCredentialsBeforeNames(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		method, path string
	}{
		{"GET", "/v1/files/secret/1.0/_/_/0/export/evil.exe"},
		{"PUT", "/v1/files/hello/1.0/demo/testing/0/export/evil.exe"},
		{"PUT", "/v1/files/hello/1.0/demo/testing/0/export/evil.exe/authorize"},
		{"GET", "/v2/conans/secret/1.0/_/_/revisions/r1/files/evil.exe"},
	} {
		wantStatus(t, w.do(call{method: tt.method, path: tt.path}), http.StatusUnauthorized)
	}
}
