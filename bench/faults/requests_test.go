package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// web is the client of all checks. Every request has a deadline of its caller's.
var web = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // no answer, or a body that ended early
}

// String is short.
func (a answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("%d and then %v", a.status, a.err)
	}
	return fmt.Sprintf("%d %.120q", a.status, a.body)
}

// is tells whether the answer is whole and these bytes.
func (a answer) is(body []byte) bool {
	return a.err == nil && a.status == http.StatusOK && bytes.Equal(a.body, body)
}

// saysNone tells whether the answer is that there is no such thing: of a search, that nothing
// matches.
func (a answer) saysNone() bool {
	text := strings.TrimSpace(string(a.body))
	return a.err == nil && (a.status == http.StatusNotFound || a.status == http.StatusOK && (text == `{"results":[]}` || text == "{}"))
}

// clientTimeout is how long a client waits for an answer; Conan's own give up at a minute of
// silence.
const clientTimeout = 60 * time.Second

func get(ctx context.Context, url string) answer {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	return ask(ctx, http.MethodGet, url, nil, "")
}

// ask sends one request and reads the whole answer.
func ask(ctx context.Context, method, url string, body []byte, token string) answer {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := web.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b, err}
}

func login(ctx context.Context, client *http.Client, base, name, word string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v2/users/authenticate", nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(name, word)
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("log in: %s %s", resp.Status, b)
	}
	return string(b), err
}

// revisionPath is the path of a pinned revision on the v2 API.
func revisionPath(rev conan.Revision) string {
	path := "/v2/conans/" + rev.Ref.Path() + "/revisions/" + rev.RRev
	if rev.IsPackage() {
		path += "/packages/" + rev.PackageID + "/revisions/" + rev.PRev
	}
	return path
}

// filePath is the path of a file on the v2 API.
func filePath(rev conan.Revision, name string) string { return revisionPath(rev) + "/files/" + name }

// archive is the file of a package that holds its contents.
const archive = "conan_package.tgz"

// errRefused is an upload that was answered with a status of 400 or more.
var errRefused = errors.New("refused")

// put uploads one file.
func put(ctx context.Context, base, token string, rev conan.Revision, name string, body []byte) error {
	a := ask(ctx, http.MethodPut, base+filePath(rev, name), body, token)
	if a.err != nil {
		return a.err
	}
	if a.status >= 400 {
		return fmt.Errorf("%w: PUT %s of %s: %d %.200s", errRefused, name, rev, a.status, a.body)
	}
	return nil
}

// publish uploads a set as Conan 2 does: the manifest last. nil means that it was acknowledged.
func publish(ctx context.Context, base, token string, set conantest.Set) error {
	for _, name := range set.Names() {
		if name == conan.ManifestFile {
			continue
		}
		if err := put(ctx, base, token, set.Revision, name, set.Files[name]); err != nil {
			return err
		}
	}
	return put(ctx, base, token, set.Revision, conan.ManifestFile, set.Files[conan.ManifestFile])
}

// readBack compares every file of a published set with what it must be. It returns what is wrong,
// or an empty text.
func readBack(ctx context.Context, base string, set conantest.Set) string {
	for _, name := range set.Names() {
		if a := get(ctx, base+filePath(set.Revision, name)); !a.is(set.Files[name]) {
			return fmt.Sprintf("%s of %s: %s", name, set.Revision, a)
		}
	}
	return ""
}

// uploads are recipes with packages to be published.
func uploads(n, size int, name string) (sets []conantest.Set) {
	for i := range n {
		recipe := conantest.Recipe(fmt.Sprintf("%s%d", name, i), "1.0")
		sets = append(sets, recipe, conantest.Package(recipe, conantest.Random(fmt.Sprintf("lib/%s%d", name, i), size)))
	}
	return sets
}
