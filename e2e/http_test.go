package e2e

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
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

func hostPort(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func mustURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// getJSON fetches a document anonymously into v and wants it to be JSON as clients demand it.
func getJSON(t testing.TB, url string, v any) {
	t.Helper()
	status, header, body := get(t, url)
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		t.Fatalf("GET %s: %d %s %s", url, status, header.Get("Content-Type"), body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
}

// packageID returns the id of the only package of a recipe, given as a path of four segments.
func packageID(t testing.TB, p *conanproxy, path string) string {
	t.Helper()
	var found map[string]any
	getJSON(t, p.url("v1/conans", path, "search"), &found)
	for id := range found {
		if len(found) == 1 {
			return id
		}
	}
	t.Fatalf("packages of %s: %v, want one", path, found)
	return ""
}

// revisions lists the recipe revisions of a recipe, given as a path of four segments, newest first.
func revisions(t testing.TB, p *conanproxy, path string) []string {
	t.Helper()
	var answer struct {
		Revisions []struct{ Revision string }
	}
	getJSON(t, p.url("v2/conans", path, "revisions"), &answer)
	var out []string
	for _, r := range answer.Revisions {
		out = append(out, r.Revision)
	}
	return out
}

// downloads returns the download URLs of a recipe or package, given as its v1 path.
func downloads(t testing.TB, p *conanproxy, path string) map[string]string {
	t.Helper()
	var urls map[string]string
	getJSON(t, p.url(path, "download_urls"), &urls)
	return urls
}

// fetchAll fetches root-relative URLs of the program.
func fetchAll(t testing.TB, p *conanproxy, urls map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, path := range urls {
		status, _, body := get(t, p.url()+path)
		if status != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, status, body)
		}
		out[name] = body
	}
	return out
}

func md5Hex(text []byte) string {
	sum := md5.Sum(text)
	return hex.EncodeToString(sum[:])
}
