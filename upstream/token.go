package upstream

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
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

// current is the Authorization to use, after a login if there was none yet; empty without credentials.
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
	return t.logins.do(ctx, "", t.deadline, func(ctx context.Context) (string, error) { return t.enter(ctx, old) })
}

// enter logs in and remembers the outcome, unless somebody did it a moment ago.
func (t *tokens) enter(ctx context.Context, old string) (string, error) {
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

// login asks the authenticate routes, v2 first, for a token. A server that has neither is sent Basic.
func (r *Remote) login(ctx context.Context, basic string) (string, error) {
	for _, path := range []string{"/v2/users/authenticate", "/v1/users/authenticate"} {
		token, err := r.authenticate(ctx, path, basic)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		return "Bearer " + token, nil
	}
	return basic, nil
}

func (r *Remote) authenticate(ctx context.Context, path, basic string) (string, error) {
	u, err := r.address(path, nil)
	if err != nil {
		return "", err
	}
	resp, err := r.send(ctx, request{method: http.MethodGet, url: u, auth: basic})
	if err != nil {
		return "", err
	}
	defer discard(resp.Body)
	if resp.StatusCode == http.StatusMethodNotAllowed {
		return "", errNotThere
	}
	if f := classify(resp, expectToken, "", r.now()); f != nil {
		if f.kind == kindDenied {
			f.reason = "it refuses the configured user name or password"
		}
		r.metrics.answered(r.name, f.kind)
		return "", f
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxToken+1))
	if err != nil {
		return "", classifyTransport(ctx, err, r.timeout)
	}
	r.metrics.answered(r.name, kindOK)
	token := strings.TrimSpace(string(body))
	if !isToken(token) {
		return "", bad("answered the login with something that is not a token")
	}
	return token, nil
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
