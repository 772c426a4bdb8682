package upstream

import (
	"compress/gzip"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

func TestClassifyDocuments(t *testing.T) {
	const page = "<!DOCTYPE html>\n<html><body>Please log in</body></html>"
	tests := map[string]struct {
		status   int
		media    string
		body     string
		want     string
		wantKind kind
	}{
		"JSON":                 {200, "application/json", `{"results": []}`, "ok", kindOK},
		"charset":              {200, "application/json;charset=UTF-8", `{"results": []}`, "ok", kindOK},
		"vendor JSON":          {200, "application/vnd.acme+json", `{"results": []}`, "ok", kindOK},
		"no type":              {200, "", `{"results": []}`, "ok", kindOK},
		"octet-stream":         {200, "application/octet-stream", `{"results": []}`, "ok", kindOK},
		"byte order mark":      {200, "application/json", "\ufeff" + `{"results": []}` + "\n", "ok", kindOK},
		"login page":           {200, "text/html; charset=utf-8", page, "unavailable: answered with a web page instead of JSON", kindForeign},
		"page called JSON":     {200, "application/json", page, "unavailable: answered with a web page instead of JSON", kindForeign},
		"text":                 {200, "text/plain", `{"results": []}`, `unavailable: answered with "text/plain" instead of JSON`, kindBadAnswer},
		"broken JSON":          {200, "application/json", `{"results": [`, "unavailable: answered with something that is not a JSON object", kindBadAnswer},
		"two objects":          {200, "application/json", `{"results": []}{}`, "unavailable: answered with something that is not a JSON object", kindBadAnswer},
		"array":                {200, "application/json", `[]`, "unavailable: answered with something that is not a JSON object", kindBadAnswer},
		"empty":                {200, "application/json", ``, "unavailable: answered with something that is not a JSON object", kindBadAnswer},
		"no content":           {204, "", ``, "unavailable: answered with the unexpected status 204", kindBadAnswer},
		"created":              {201, "application/json", `{"results": []}`, "unavailable: answered with the unexpected status 201", kindBadAnswer},
		"partial":              {206, "application/json", `{"results": []}`, "unavailable: answered with the unexpected status 206", kindBadAnswer},
		"redirect to nowhere":  {302, "", ``, "unavailable: answered with the unexpected status 302", kindBadAnswer},
		"bad request":          {400, "text/plain", `?`, "unavailable: refuses it (400): ?", kindDenied},
		"unauthorized":         {401, "text/plain", ``, "unavailable: asks for a login, or refuses the configured one (401)", kindDenied},
		"forbidden":            {403, "text/plain", ``, "unavailable: forbids access (403)", kindDenied},
		"not found":            {404, "text/plain", ``, "ok", kindNotFound},
		"not found, HTML":      {404, "text/html", page, "ok", kindNotFound},
		"gone":                 {410, "text/plain", ``, "ok", kindNotFound},
		"too many":             {429, "text/plain", ``, "unavailable: asks for a pause (429)", kindThrottled},
		"sign-in of a network": {511, "text/html", page, "unavailable: is behind a network that asks for a sign-in (511)", kindForeign},
		"internal error":       {500, "text/html", page, "unavailable: failed with status 500", kindServerError},
		"not implemented":      {501, "text/html", page, "unavailable: failed with status 501", kindServerError},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				metrics := NewMetrics(prometheus.NewRegistry())
				r, _ := newFake(t, Options{Metrics: metrics}, func(w http.ResponseWriter, req *http.Request) {
					w.Header()["Content-Type"] = nil
					if test.media != "" {
						w.Header().Set("Content-Type", test.media)
					}
					w.WriteHeader(test.status)
					io.WriteString(w, test.body)
				})
				_, err := r.Search(t.Context(), conan.Pattern{})
				if word(err) != test.want {
					t.Errorf("error %q, want %q", word(err), test.want)
				}
				if value(t, metrics.answers.WithLabelValues("test", string(test.wantKind))) == 0 {
					t.Errorf("not counted as %s", test.wantKind)
				}
			})
		})
	}
}

func TestClassifyFiles(t *testing.T) {
	const page = "<!DOCTYPE html>\n<html><body>Please log in</body></html>"
	gz := "\x1f\x8b\x08\x00rest of the archive"
	tests := map[string]struct {
		file, media, coding, body string
		want                      string
	}{
		"tgz":                {"conan_sources.tgz", "application/gzip", "", gz, "ok"},
		"tgz, any type":      {"conan_sources.tgz", "x-gzip", "", gz, "ok"},
		"txz":                {"conan_sources.txz", "", "", "\xfd7zXZ\x00rest", "ok"},
		"tzst":               {"conan_sources.tzst", "", "", "\x28\xb5\x2f\xfdrest", "ok"},
		"identity":           {"conan_sources.tgz", "", "identity", gz, "ok"},
		"tgz with a coding":  {"conan_sources.tgz", "", "gzip", gz, `unavailable: answered a file in the coding "gzip"`},
		"tgz is a page":      {"conan_sources.tgz", "text/html", "", page, "unavailable: answered with a web page instead of the file"},
		"tgz is text":        {"conan_sources.tgz", "text/plain", "", "no", "unavailable: conan_sources.tgz does not begin like such an archive"},
		"tgz is empty":       {"conan_sources.tgz", "", "", "", "unavailable: conan_sources.tgz does not begin like such an archive"},
		"txz is tgz":         {"conan_sources.txz", "", "", gz, "unavailable: conan_sources.txz does not begin like such an archive"},
		"recipe":             {"conanfile.py", "text/x-python", "", "import os", "ok"},
		"recipe is a page":   {"conanfile.py", "text/plain", "", "  " + page, "unavailable: answered with a web page instead of conanfile.py"},
		"manifest is a page": {"conanmanifest.txt", "text/html; charset=utf-8", "", page, "unavailable: answered with a web page instead of the file"},
		"report page":        {"metadata/test/report.html", "text/html", "", page, "ok"},
		"page for a log":     {"metadata/test/build.log", "text/html", "", page, "unavailable: answered with a web page instead of the file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, f := newFake(t, Options{}, func(w http.ResponseWriter, req *http.Request) {
					w.Header().Set("Content-Type", test.media)
					if test.coding != "" {
						w.Header().Set("Content-Encoding", test.coding)
					}
					io.WriteString(w, test.body)
				})
				file, err := r.Open(t.Context(), zlibRev(t), test.file)
				if word(err) != test.want {
					t.Errorf("error %q, want %q", word(err), test.want)
				}
				if err == nil {
					if got, err := readAll(t, file); got != test.body || err != nil {
						t.Errorf("read %q, %v", got, err)
					}
				}
				if len(f.asked()) != 1 {
					t.Errorf("asked %d times, want once", len(f.asked()))
				}
			})
		})
	}
}

func TestEmptyInfoFile(t *testing.T) {
	r, _ := newFake(t, Options{}, func(w http.ResponseWriter, req *http.Request) {})
	file, err := r.Open(t.Context(), zlibPackage(t), conan.InfoFile)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(t, file); got != "" || err != nil || file.Size != 0 {
		t.Errorf("read %q, %v, size %d", got, err, file.Size)
	}
}

func TestGzippedDocument(t *testing.T) {
	r, f := newFake(t, Options{}, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, `{"results": ["zlib/1.3"]}`)
		z.Close()
	})
	refs, err := r.Search(t.Context(), conan.Pattern{})
	if len(refs) != 1 || err != nil {
		t.Errorf("got %v, %v", refs, err)
	}
	if got := f.header(0).Get("Accept-Encoding"); got != "gzip" {
		t.Errorf("Accept-Encoding is %q", got)
	}
}

func TestDocumentTooLarge(t *testing.T) {
	block := make([]byte, 1<<20)
	r, _ := newFake(t, Options{}, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for range maxDocument>>20 + 1 {
			z.Write(block)
		}
		z.Close()
	})
	_, err := r.Search(t.Context(), conan.Pattern{})
	if want := "unavailable: answered with more than 33554432 bytes"; word(err) != want {
		t.Errorf("error %q, want %q", word(err), want)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		" 7 ":                           7 * time.Second,
		"-7":                            0,
		"soon":                          0,
		"99999999999999999999":          0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:00:00 GMT": 0,
	}
	for value, want := range tests {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q is %v, want %v", value, got, want)
		}
	}
}

// A nil logger and nil metrics are enough; secrets stay out of errors.
func TestErrorsHoldNoSecrets(t *testing.T) {
	for _, raw := range []string{"http://user:secret@conan.test", "://secret", "ftp://secret@x", "http://h/?token=secret"} {
		_, err := New(Options{Name: "x", URL: raw, Log: zap.NewNop()})
		if err == nil {
			t.Errorf("%q was accepted", raw)
			continue
		}
		if got := err.Error(); len(got) == 0 || contains(got, "secret") {
			t.Errorf("error %q", got)
		}
	}
}
