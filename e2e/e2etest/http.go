package e2etest

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// do sends one request; header is a list of names and values. It returns status, header and body.
func do(t testing.TB, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func MustURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// GetJSON fetches a document anonymously into v and wants it to be JSON as clients demand it.
func GetJSON(t testing.TB, url string, v any) {
	t.Helper()
	status, header, body := Get(t, url)
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		t.Fatalf("GET %s: %d %s %s", url, status, header.Get("Content-Type"), body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
}

// PackageID returns the id of the only package of a recipe, given as a path of four segments.
func PackageID(t testing.TB, p *Conanproxy, path string) string {
	t.Helper()
	var found map[string]any
	GetJSON(t, p.URL("v1/conans", path, "search"), &found)
	for id := range found {
		if len(found) == 1 {
			return id
		}
	}
	t.Fatalf("packages of %s: %v, want one", path, found)
	return ""
}

// Revisions lists the recipe revisions of a recipe, given as a path of four segments, newest first.
func Revisions(t testing.TB, p *Conanproxy, path string) []string {
	t.Helper()
	return revisions(t, p.URL("v2/conans", path, "revisions"))
}

// RevisionsAt is Revisions of a store, upstream or view.
func RevisionsAt(t testing.TB, p *Conanproxy, view, path string) []string {
	t.Helper()
	return revisions(t, p.URL("r", view, "v2/conans", path, "revisions"))
}

func revisions(t testing.TB, url string) []string {
	t.Helper()
	var answer struct {
		Revisions []struct{ Revision string }
	}
	GetJSON(t, url, &answer)
	var out []string
	for _, r := range answer.Revisions {
		out = append(out, r.Revision)
	}
	return out
}

// Downloads returns the download URLs of a recipe or package, given as its v1 path.
func Downloads(t testing.TB, p *Conanproxy, path string) map[string]string {
	t.Helper()
	var urls map[string]string
	GetJSON(t, p.URL(path, "download_urls"), &urls)
	return urls
}

// FetchAll fetches root-relative URLs of the program.
func FetchAll(t testing.TB, p *Conanproxy, urls map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, path := range urls {
		status, _, body := Get(t, p.URL()+path)
		if status != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, status, body)
		}
		out[name] = body
	}
	return out
}

func Md5Hex(text []byte) string {
	sum := md5.Sum(text)
	return hex.EncodeToString(sum[:])
}
