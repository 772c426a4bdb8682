package conformance

import (
	"bufio"
	"bytes"
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// site is the built program as raw HTTP sees it: paths go out byte for byte, no redirect is
// followed, nothing is unpacked. Users: demo, ann and bob with their names as passwords, and colon
// with colonPassword.
type site struct {
	*e2etest.Conanproxy
	address string // host:port
	data    string // the data directory
	users   string // the users file
	secret  []byte // signs tokens and file URLs
	client  *http.Client

	mu     sync.Mutex
	tokens map[string]string // by user
}

// colonPassword has what Basic authentication finds hard.
const colonPassword = "pä:ss wörd:"

// startSite starts the program. It believes what callers on 127.0.0.1 say about addresses and
// prefixes.
func startSite(t testing.TB, s harness.Settings) *site {
	t.Helper()
	users := usersFile(t)
	p := e2etest.StartConanproxy(t, siteSettings(users, s))
	data := filepath.Join(p.Dir, "data")
	secret, err := os.ReadFile(filepath.Join(data, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &site{
		Conanproxy: p,
		address:    e2etest.MustURL(t, p.URL()).Host,
		data:       data,
		users:      users,
		secret:     secret,
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       time.Minute,
		},
		tokens: make(map[string]string),
	}
}

// siteSettings are the settings of a site with these users: s and what startSite promises.
func siteSettings(users string, s harness.Settings) harness.Settings {
	all := harness.Settings{"trusted_proxies": []string{"127.0.0.1/32"}}
	maps.Copy(all, s)
	auth := harness.Settings{"htpasswd_file": users}
	if more, ok := all["auth"].(harness.Settings); ok {
		maps.Copy(auth, more)
	}
	all["auth"] = auth
	return all
}

// reload replaces the settings of a running site.
func (s *site) reload(t testing.TB, next harness.Settings) {
	t.Helper()
	s.Reload(t, siteSettings(s.users, next))
}

// usersFile is the users' file of a site.
func usersFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	writeUsers(t, path)
	return path
}

// writeUsers writes the users of a site to a file, and more users with their names as passwords.
func writeUsers(t testing.TB, path string, more ...string) {
	t.Helper()
	users, err := e2etest.Htpasswd()
	if err != nil {
		t.Fatal(err)
	}
	passwords := map[string]string{"colon": colonPassword}
	for _, user := range more {
		passwords[user] = user
	}
	for user, password := range passwords {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		users += user + ":" + string(hash) + "\n"
	}
	if err := os.WriteFile(path, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tweak changes a request before it is sent.
type tweak func(*http.Request)

// header sets a header.
func header(name, value string) tweak {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = []string{value} }
}

// bearer sends a token.
func bearer(token string) tweak { return header("Authorization", "Bearer "+token) }

// basic sends a user and a password.
func basic(user, password string) tweak {
	return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// from makes the request come from another address, for which wrong logins are counted apart.
func from(address string) tweak { return header("X-Forwarded-For", address) }

// text sends a body with its length, also if that is zero.
func text(body string) tweak {
	return func(r *http.Request) {
		r.Body, r.ContentLength = http.NoBody, int64(len(body))
		if body != "" {
			r.Body = io.NopCloser(strings.NewReader(body))
		}
	}
}

// chunked sends a body without its length.
func chunked(body string) tweak {
	return func(r *http.Request) {
		// A reader of an unknown type with an unknown length: net/http sends it chunked, also if it
		// is empty.
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(body))), -1
		r.TransferEncoding = []string{"chunked"}
	}
}

// asJSON sends v as the body.
func asJSON(v any) tweak {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the tests' own values
	}
	return func(r *http.Request) {
		text(string(b))(r)
		r.Header.Set("Content-Type", "application/json")
	}
}

// file sends the bytes of a file as clients do: with their length and sha1.
func file(content []byte) tweak {
	return func(r *http.Request) {
		text(string(content))(r)
		r.Header.Set("X-Checksum-Sha1", sha1Hex(content))
	}
}

// as sends the token of a user, whom it logs in at first; nobody sends none.
func (s *site) as(t testing.TB, user string) tweak {
	t.Helper()
	if user == nobody {
		return func(*http.Request) {}
	}
	return bearer(s.token(t, user))
}

// nobody is the anonymous caller.
const nobody = ""

func (s *site) token(t testing.TB, user string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if token, ok := s.tokens[user]; ok {
		return token
	}
	r := s.call(t, http.MethodGet, "/v1/users/authenticate", basic(user, user)).is(t, http.StatusOK)
	s.tokens[user] = r.body
	return r.body
}

// reply is an answer, read to its end.
type reply struct {
	asked  string // METHOD target
	status int
	header http.Header
	body   string
}

// call sends one request for a target: path and query exactly as they are to stand in the request
// line.
func (s *site) call(t testing.TB, method, target string, tweaks ...tweak) reply {
	t.Helper()
	r, err := s.try(t, method, target, tweaks...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, shorten(target), err)
	}
	return r
}

// try is call for requests whose answer may be cut.
func (s *site) try(t testing.TB, method, target string, tweaks ...tweak) (reply, error) {
	r := reply{asked: method + " " + shorten(target)}
	resp, err := s.open(t, method, target, tweaks...)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	r.status, r.header, r.body = resp.StatusCode, resp.Header, string(body)
	return r, err
}

// open is try for a body that the caller reads.
func (s *site) open(t testing.TB, method, target string, tweaks ...tweak) (*http.Response, error) {
	path, query, _ := strings.Cut(target, "?")
	req := (&http.Request{
		Method: method,
		URL:    &url.URL{Scheme: "http", Host: s.address, Opaque: path, RawQuery: query},
		Host:   s.address,
		Header: http.Header{},
	}).WithContext(t.Context())
	for _, change := range tweaks {
		change(req)
	}
	return s.client.Do(req)
}

// is wants a status.
func (r reply) is(t testing.TB, status int) reply {
	t.Helper()
	if r.status != status {
		t.Errorf("%s: %d %s, want %d", r.asked, r.status, shorten(r.body), status)
	}
	return r
}

// refuses wants a status and a sentence of plain text, which has the given parts.
func (r reply) refuses(t testing.TB, status int, parts ...string) reply {
	t.Helper()
	r.is(t, status)
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") || r.body == "" || strings.Contains(r.body, "html>") {
		t.Errorf("%s: refused with %q %q, want a sentence of plain text", r.asked, kind, shorten(r.body))
	}
	for _, part := range parts {
		if !strings.Contains(r.body, part) {
			t.Errorf("%s: %q does not say %q", r.asked, r.body, part)
		}
	}
	return r
}

// unavailable wants a failure that is never taken for "not found": 503 with a short Retry-After
// while trying again can help, and 424, whose text clients show, once it cannot.
func (r reply) unavailable(t testing.TB, parts ...string) reply {
	t.Helper()
	seconds := r.header.Get("Retry-After")
	if r.status == http.StatusFailedDependency {
		if seconds != "" {
			t.Errorf("%s: 424 with Retry-After %q", r.asked, seconds)
		}
		return r.refuses(t, http.StatusFailedDependency, parts...)
	}
	if seconds == "" || len(seconds) > 2 {
		t.Errorf("%s: Retry-After %q", r.asked, seconds)
	}
	return r.refuses(t, http.StatusServiceUnavailable, parts...)
}

// decode wants a JSON answer as clients demand it.
func decode[T any](t testing.TB, r reply) (v T) {
	t.Helper()
	if r.status != http.StatusOK || r.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %q %s, want JSON", r.asked, r.status, r.header.Get("Content-Type"), shorten(r.body))
	}
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("%s: %v in %s", r.asked, err, shorten(r.body))
	}
	return v
}

// raw writes a request as it is, and nothing more if end is set. The status is 0 if there was no
// answer.
func (s *site) raw(t testing.TB, request string, end bool) reply {
	t.Helper()
	c := s.dial(t)
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if end {
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	return readReply(t, c, request)
}

func (s *site) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", s.address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// readReply reads the answer to a request that was written by hand.
func readReply(t testing.TB, c net.Conn, request string) reply {
	t.Helper()
	line, _, _ := strings.Cut(request, "\r\n")
	method, _, _ := strings.Cut(line, " ")
	r := reply{asked: shorten(line)}
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return r
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s: answer cut: %v", r.asked, err)
	}
	r.status, r.header, r.body = resp.StatusCode, resp.Header, string(body)
	return r
}

// forge makes a token of any claims, signed with any key: what the program itself would make, or
// not.
func forge(algorithm string, key []byte, claims map[string]any) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // the tests' own values
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	head := part(map[string]string{"alg": algorithm, "typ": "JWT"}) + "." + part(claims)
	if algorithm == "none" {
		return head + "."
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(head))
	return head + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// claimsOf reads what a token or a signature says, without checking it.
func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts in a token, want 3", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	if err := decoder.Decode(&claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// with is a token with one claim changed, signed again with the site's own secret.
func (s *site) with(t testing.TB, token, claim string, value any) string {
	t.Helper()
	claims := claimsOf(t, token)
	claims[claim] = value
	return forge("HS256", s.secret, claims)
}

// expired is the token of a user as it will be when its time is over. That the same token with more
// time is accepted is checked here, so that nothing else is wrong with it.
func (s *site) expired(t testing.TB, user string) string {
	t.Helper()
	token := s.token(t, user)
	s.call(t, http.MethodGet, "/v1/users/check_credentials", bearer(s.with(t, token, "exp", time.Now().Add(time.Hour).Unix()))).is(t, http.StatusOK)
	return s.with(t, token, "exp", time.Now().Add(-time.Minute).Unix())
}

// signatureOf is the signature in a URL of the program.
func signatureOf(t testing.TB, target string) string {
	t.Helper()
	signature := e2etest.MustURL(t, target).Query().Get("signature")
	if signature == "" {
		t.Fatalf("%s has no signature", target)
	}
	return signature
}

// blobs lists the files below the data directory that hold bytes of packages.
func (s *site) blobs(t testing.TB) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join(s.data, "blobs"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func sha1Hex(b []byte) string {
	sum := sha1.Sum(b)
	return hex.EncodeToString(sum[:])
}

// shorten bounds what is printed.
func shorten(s string) string {
	const most = 300
	if len(s) > most {
		return fmt.Sprintf("%s… (%d bytes)", s[:most], len(s))
	}
	return s
}
