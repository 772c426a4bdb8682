package upstream

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxToken     = 64 << 10
	tokenIsFresh = 30 * time.Second // a 401 to a token this young is a refusal, not an expiry
	loginMemory  = time.Minute      // how long refused credentials are not tried again: accounts get locked
)

// tokens keeps the Authorization for one upstream: none without a user name, else a Bearer
// token got by a login, or Basic if the server has no login route.
type tokens struct {
	user, password string
	login          func(ctx context.Context, basic string) (authorization string, err error)
	deadline       time.Duration // of a login, which outlives the caller that began it
	now            func() time.Time
	logins         shared[string]

	mu      sync.Mutex
	value   string
	since   time.Time // of value
	refused error
	until   time.Time // of refused
}

// current is the Authorization to use, after a login if there was none yet; empty without
// credentials.
func (t *tokens) current(ctx context.Context) (string, error) {
	if t.user == "" {
		return "", nil
	}
	t.mu.Lock()
	value := t.value
	t.mu.Unlock()
	if value != "" {
		return value, nil
	}
	return t.renew(ctx, "")
}

// renew replaces old, which was answered with 401. It returns old itself if another login is
// not going to help. Concurrent callers share one login, and none of them can end it.
func (t *tokens) renew(ctx context.Context, old string) (string, error) {
	t.mu.Lock()
	value, fresh := t.value, t.now().Sub(t.since) < tokenIsFresh
	refused := t.refused
	if !t.now().Before(t.until) {
		refused = nil
	}
	t.mu.Unlock()
	switch {
	case value != "" && (value != old || fresh):
		return value, nil
	case refused != nil:
		return "", refused
	}
	return t.logins.do(ctx, "", t.deadline, func(ctx context.Context) (string, error) { return t.logIn(ctx, old) })
}

// logIn gets a token and remembers the outcome, unless another call did it a moment ago.
func (t *tokens) logIn(ctx context.Context, old string) (string, error) {
	t.mu.Lock()
	value := t.value
	t.mu.Unlock()
	if value != "" && value != old {
		return value, nil
	}
	value, err := t.login(ctx, "Basic "+base64.StdEncoding.EncodeToString([]byte(t.user+":"+t.password)))
	if ctx.Err() != nil && err != nil {
		err = &failure{kind: kindTimeout, reason: "the login took too long", err: err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var f *failure
	if errors.As(err, &f) && f.kind == kindDenied {
		t.refused, t.until = err, t.now().Add(loginMemory)
	}
	t.value, t.since = value, t.now()
	return value, err
}

// leaks tells whether a text holds the credentials.
func (t *tokens) leaks(text string) bool {
	t.mu.Lock()
	value := t.value
	t.mu.Unlock()
	_, token, _ := strings.Cut(value, " ")
	for _, secret := range []string{t.password, token} {
		if secret != "" && strings.Contains(text, secret) {
			return true
		}
	}
	return false
}

// login asks the authenticate routes for a token, first that of the dialect that ping told. A
// server that has neither is sent Basic. Some servers answer the route of a dialect that they lack
// with 400 or 500.
func (r *Remote) login(ctx context.Context, basic string) (string, error) {
	paths := []string{"/v2/users/authenticate", "/v1/users/authenticate"}
	if r.detector.speaksV1() {
		slices.Reverse(paths)
	}
	var failed error
	for _, path := range paths {
		token, other, err := r.authenticate(ctx, path, basic)
		if err == nil {
			return "Bearer " + token, nil
		}
		if !other {
			return "", err
		}
		if failed == nil && !isNotFound(err) {
			failed = err
		}
	}
	if failed != nil {
		return "", failed
	}
	return basic, nil
}

// authenticate asks one route. After a failure, other tells that the route may be missing.
func (r *Remote) authenticate(ctx context.Context, path, basic string) (token string, other bool, err error) {
	u, err := r.address(path, nil)
	if err != nil {
		return "", false, err
	}
	resp, err := r.send(ctx, request{url: u, auth: basic})
	if err != nil {
		return "", false, err
	}
	defer discard(resp.Body)
	if f := r.classify(resp, expectToken, ""); f != nil {
		failed := *f
		failed.refused = false // it is not about one thing
		switch resp.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			failed.reason, failed.permanent = "it refuses the configured user name or password", true
		case http.StatusMethodNotAllowed:
			failed = *errNotThere
		}
		r.metrics.answered(r.name, failed.kind)
		return "", slices.Contains(missingRoute, resp.StatusCode), &failed
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxToken+1))
	if err != nil {
		return "", false, r.classifyTransport(ctx, err)
	}
	r.metrics.answered(r.name, kindOK)
	token = strings.TrimSpace(string(body))
	if !isToken(token) {
		return "", false, badAnswer("answered the login with something that is not a token")
	}
	return token, false, nil
}

// missingRoute are the answers of known servers to a login by a dialect that they lack.
var missingRoute = []int{
	http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone,
	http.StatusInternalServerError, http.StatusNotImplemented,
}

// isToken accepts printable ASCII without blanks, of a bounded length.
func isToken(s string) bool {
	if s == "" || len(s) > maxToken || strings.Contains(strings.ToLower(s), "html>") {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
