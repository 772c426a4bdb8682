package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"conanproxy/internal/conan"
)

var testSecret = []byte(strings.Repeat("s", minSecret))

var here = netip.MustParseAddr("192.0.2.1")

// loginDirectory is a Directory whose users have these passwords, and the path of their file.
func loginDirectory(t *testing.T, passwords map[string]string) (*Directory, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeUsers(t, path, passwords)
	g, err := New(Options{HtpasswdFile: path, Secret: testSecret, TokenLifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return g, path
}

func writeUsers(t *testing.T, path string, passwords map[string]string) {
	t.Helper()
	var h Htpasswd
	for user, password := range passwords {
		if err := h.Set(user, cheapHash(t, password)); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteHtpasswd(path, &h); err != nil {
		t.Fatal(err)
	}
}

// loggedIn is the caller with a password.
func loggedIn(t *testing.T, d *Directory, user, password string) Caller {
	t.Helper()
	c, err := d.Identify(t.Context(), loginHeader(user, password), here)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func loginHeader(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestIdentify(t *testing.T) {
	const odd = "Jörg @ acme/ops*"
	g, _ := loginDirectory(t, map[string]string{"ann": "pä:ss:", odd: "x"})
	issue := func(user string) string {
		a, _ := g.users.account(user)
		token, err := g.tokens.issue(Caller{Name: user, state: a.state}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	claims := g.tokens.Claims("conanproxy-files", time.Hour)
	claims.Subject = "ann"
	signature, err := g.tokens.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, header string
		want         string // the caller
		wantLogin    bool   // 401
	}{
		{"no header", "", "", false},
		{"Basic", loginHeader("ann", "pä:ss:"), "ann", false},
		{"Basic, again", loginHeader("ann", "pä:ss:"), "ann", false},
		{"Basic, other case and more blanks", "bASIC  " + strings.TrimPrefix(loginHeader("ann", "pä:ss:"), "Basic ") + " ", "ann", false},
		{"Basic, odd name", loginHeader(odd, "x"), odd, false},
		{"Basic, wrong password", loginHeader("ann", "pa:ss:"), "", true},
		{"Basic, empty password", loginHeader("ann", ""), "", true},
		{"Basic, name in another case", loginHeader("Ann", "pä:ss:"), "", true},
		{"Basic, unknown user", loginHeader("eve", "pä:ss:"), "", true},
		{"Basic, no user", loginHeader("", ""), "", true},
		{"Basic, no colon", "Basic " + base64.StdEncoding.EncodeToString([]byte("ann")), "", true},
		{"Basic, not base64", "Basic !!!", "", true},
		{"Basic, nothing", "Basic", "", true},
		{"Bearer", "Bearer " + issue("ann"), "ann", false},
		{"Bearer, other case", "bearer " + issue("ann"), "ann", false},
		{"Bearer, odd name", "Bearer " + issue(odd), odd, false},
		{"Bearer, no such user", "Bearer " + issue("gone"), "", true},
		{"Bearer unset", "Bearer unset", "", true},
		{"Bearer, nothing", "Bearer ", "", true},
		{"Bearer, a file signature", "Bearer " + signature, "", true},
		{"another scheme", "Digest username=ann", "", true},
		{"no scheme", "ann", "", true},
		{"blank", " ", "", true},
		{"very long", "Bearer " + strings.Repeat("x", maxAuthorization), "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := g.Identify(t.Context(), tt.header, here)
			if errors.Is(err, ErrLogin) != tt.wantLogin || (err != nil) != tt.wantLogin {
				t.Fatalf("error %v, want a login: %v", err, tt.wantLogin)
			}
			if got.Name != tt.want {
				t.Errorf("caller %q, want %q", got.Name, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "ss:") || strings.Contains(err.Error(), "ey")) {
				t.Errorf("the error tells what was sent: %v", err)
			}
		})
	}
}

// Conan's clients send letters beyond ASCII in Latin-1, others in UTF-8. Some Latin-1 texts are
// UTF-8 texts too.
func TestEncodings(t *testing.T) {
	users := map[string]string{"jörg": "paßwörd", "ann": "TÜ§ 10", "eve": strings.Repeat("ä", 36)}
	d, _ := loginDirectory(t, users)
	for user, password := range users {
		var latin []byte
		for _, r := range user + ":" + password {
			latin = append(latin, byte(r))
		}
		for name, sent := range map[string]string{"UTF-8": user + ":" + password, "Latin-1": string(latin)} {
			header := "Basic " + base64.StdEncoding.EncodeToString([]byte(sent))
			for range 2 { // the second one is remembered
				if c, err := d.Identify(t.Context(), header, here); err != nil || c.Name != user {
					t.Errorf("%s in %s: caller %q, error %v", user, name, c.Name, err)
				}
			}
		}
	}
	if d.logins.throttle.counts.Len() != 0 {
		t.Error("a right login counted as a wrong one")
	}
}

// bcrypt looks at 72 bytes of a password; what follows must not be without effect.
func TestPasswordLongerThanBcryptSees(t *testing.T) {
	longest := strings.Repeat("a", maxPassword)
	d, _ := loginDirectory(t, map[string]string{"ann": longest})
	loggedIn(t, d, "ann", longest)
	for _, user := range []string{"ann", "eve"} {
		_, err := d.Identify(t.Context(), loginHeader(user, longest+"b"), here)
		if !errors.Is(err, ErrLogin) || !strings.Contains(err.Error(), "longer than 72 bytes") {
			t.Errorf("%s: error %v, want a login that says why", user, err)
		}
	}
}

// Logins are counted, and a refused one is in the log with its name and without what else was sent.
func TestLoginsAreReported(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeUsers(t, path, map[string]string{"ann": "right"})
	metrics := NewMetrics(prometheus.NewRegistry())
	d, err := New(Options{HtpasswdFile: path, Secret: testSecret, Metrics: metrics, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.IssueToken(loggedIn(t, d, "ann", "right"))
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{
		loginHeader("ann", "hunter2"), loginHeader("e\u202eve\u0085"+strings.Repeat("x", 300), "hunter2"), "Bearer hunter2",
	} {
		if _, err := d.Identify(t.Context(), header, here); !errors.Is(err, ErrLogin) {
			t.Errorf("error %v, want a login", err)
		}
	}
	writeUsers(t, path, nil)
	if _, err := d.Identify(t.Context(), "Bearer "+token, here); !errors.Is(err, ErrLogin) {
		t.Errorf("error %v, want a login", err)
	}
	type entry struct{ Message, User, Address, Error string }
	var got []entry
	for _, e := range logs.FilterLevelExact(zapcore.WarnLevel).All() {
		fields := e.ContextMap()
		user, _ := fields["user"].(string)
		address, _ := fields["address"].(string)
		reason, _ := fields["error"].(string)
		got = append(got, entry{e.Message, user, address, reason})
	}
	want := []entry{
		{"login refused", "ann", "192.0.2.1", ""},
		{"login refused", "e\ufffdve\ufffd" + strings.Repeat("x", 56) + "…", "192.0.2.1", ""},
		{"token refused", "ann", "192.0.2.1", "log in: the user of the token is gone or has a new password"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	counted := map[string]float64{"refused tokens": value(t, metrics.refusedTokens)}
	for _, result := range []string{loginOK, loginRefused, loginBusy} {
		counted[result] = value(t, metrics.logins.WithLabelValues(result))
	}
	if diff := cmp.Diff(map[string]float64{"refused tokens": 2, loginOK: 1, loginRefused: 2, loginBusy: 0}, counted); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestNoUsersAtAll(t *testing.T) {
	g, err := New(Options{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	token, err := g.tokens.issue(Caller{Name: "ann"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{loginHeader("ann", "x"), loginHeader("", ""), "Bearer " + token} {
		if _, err := g.Identify(t.Context(), header, here); !errors.Is(err, ErrLogin) {
			t.Errorf("error %v, want a login", err)
		}
	}
}

// A change of the users' file counts at once, also for tokens and remembered passwords.
func TestUsersChange(t *testing.T) {
	g, path := loginDirectory(t, map[string]string{"ann": "one", "bob": "b"})
	ann := loggedIn(t, g, "ann", "one")
	token, err := g.IssueToken(ann)
	if err != nil {
		t.Fatal(err)
	}
	want := func(when, header string, wantErr bool) {
		t.Helper()
		if _, err := g.Identify(t.Context(), header, here); errors.Is(err, ErrLogin) != wantErr {
			t.Errorf("%s: error %v, want a login: %v", when, err, wantErr)
		}
	}
	want("at first", loginHeader("ann", "one"), false)
	want("at first", "Bearer "+token, false)
	writeUsers(t, path, map[string]string{"ann": "two", "bob": "b"})
	want("old password", loginHeader("ann", "one"), true)
	want("new password", loginHeader("ann", "two"), false)
	want("token of the old password", "Bearer "+token, true)
	late, err := g.IssueToken(ann)
	if err != nil {
		t.Fatal(err)
	}
	want("token made now for a login with the old password", "Bearer "+late, true)
	writeUsers(t, path, map[string]string{"bob": "b"})
	want("password of a user who is gone", loginHeader("ann", "two"), true)
	want("token of a user who is gone", "Bearer "+token, true)
	want("another user", loginHeader("bob", "b"), false)
	writeUsers(t, path, map[string]string{"ann": "three", "bob": "b"})
	want("token of an earlier user of that name", "Bearer "+token, true)
}

func TestIssueTokenNeedsAUser(t *testing.T) {
	g, _ := loginDirectory(t, map[string]string{"ann": "x"})
	if token, err := g.IssueToken(Caller{}); !errors.Is(err, ErrLogin) || token != "" {
		t.Errorf("token %q, error %v; want a login", token, err)
	}
}

func TestTokenLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "x"})
		token, err := g.IssueToken(loggedIn(t, g, "ann", "x"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Second)
		if _, err := g.Identify(t.Context(), "Bearer "+token, here); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(time.Second)
		_, err = g.Identify(t.Context(), "Bearer "+token, here)
		if !errors.Is(err, ErrLogin) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("at its end: error %v, want that it has expired", err)
		}
	})
}

func TestIdentifyLeftByCaller(t *testing.T) {
	g, _ := loginDirectory(t, map[string]string{"ann": "x"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, user := range []string{"ann", "nobody"} {
		if _, err := g.Identify(ctx, loginHeader(user, "x"), here); !errors.Is(err, context.Canceled) || errors.Is(err, ErrLogin) {
			t.Errorf("%s: error %v, want canceled", user, err)
		}
	}
}

func TestNewErrors(t *testing.T) {
	for name, o := range map[string]Options{
		"no secret":               {},
		"short secret":            {Secret: testSecret[1:]},
		"negative token lifetime": {Secret: testSecret, TokenLifetime: -1},
	} {
		_, err := New(o)
		if !errors.Is(err, conan.ErrInvalid) {
			t.Fatalf("%s: error %v, want invalid", name, err)
		}
		if strings.Contains(err.Error(), "sss") {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}
