package proxy

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

	"conanproxy/internal/conan"
)

var here = netip.MustParseAddr("192.0.2.1")

// loginGuard is a Guard whose users have these passwords, and the path of their file.
func loginGuard(t *testing.T, passwords map[string]string) (*Guard, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeUsers(t, path, passwords)
	g, err := NewGuard(GuardOptions{HtpasswdFile: path, Secret: testSecret, TokenLifetime: time.Hour, SignatureLifetime: time.Hour})
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

func loginHeader(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestIdentify(t *testing.T) {
	const odd = "Jörg @ acme/ops*"
	g, _ := loginGuard(t, map[string]string{"ann": "pä:ss:", odd: "x"})
	issue := func(user string) string {
		token, err := g.IssueToken(Caller{Name: user})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	signature, err := g.Sign(Grant{Method: "GET", Path: "p", User: "ann"})
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
			if errors.Is(err, errLogin) != tt.wantLogin || (err != nil) != tt.wantLogin {
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

func TestNoUsersAtAll(t *testing.T) {
	g, err := NewGuard(GuardOptions{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	token, err := g.IssueToken(Caller{Name: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{loginHeader("ann", "x"), loginHeader("", ""), "Bearer " + token} {
		if _, err := g.Identify(t.Context(), header, here); !errors.Is(err, errLogin) {
			t.Errorf("error %v, want a login", err)
		}
	}
}

// A change of the users' file counts at once, also for tokens and remembered passwords.
func TestUsersChange(t *testing.T) {
	g, path := loginGuard(t, map[string]string{"ann": "one", "bob": "b"})
	token, err := g.IssueToken(Caller{Name: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	want := func(when, header string, wantErr bool) {
		t.Helper()
		if _, err := g.Identify(t.Context(), header, here); errors.Is(err, errLogin) != wantErr {
			t.Errorf("%s: error %v, want a login: %v", when, err, wantErr)
		}
	}
	want("at first", loginHeader("ann", "one"), false)
	want("at first", "Bearer "+token, false)
	writeUsers(t, path, map[string]string{"ann": "two", "bob": "b"})
	want("old password", loginHeader("ann", "one"), true)
	want("new password", loginHeader("ann", "two"), false)
	writeUsers(t, path, map[string]string{"bob": "b"})
	want("password of a user who is gone", loginHeader("ann", "two"), true)
	want("token of a user who is gone", "Bearer "+token, true)
	want("another user", loginHeader("bob", "b"), false)
}

func TestIssueTokenNeedsAUser(t *testing.T) {
	g, _ := loginGuard(t, map[string]string{"ann": "x"})
	if token, err := g.IssueToken(Caller{}); !errors.Is(err, errLogin) || token != "" {
		t.Errorf("token %q, error %v; want a login", token, err)
	}
}

func TestTokenLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginGuard(t, map[string]string{"ann": "x"})
		token, err := g.IssueToken(Caller{Name: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Second)
		if _, err := g.Identify(t.Context(), "Bearer "+token, here); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(time.Second)
		_, err = g.Identify(t.Context(), "Bearer "+token, here)
		if !errors.Is(err, errLogin) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("at its end: error %v, want that it has expired", err)
		}
	})
}

func TestInjectedClock(t *testing.T) {
	now := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	g, err := NewGuard(GuardOptions{Secret: testSecret, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	signature, err := g.Sign(Grant{Method: "GET", Path: "p"})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := g.VerifySignature(signature, "GET", "p")
	if err != nil || !grant.Started.Equal(now) {
		t.Errorf("grant %+v, error %v; want one that started at %v", grant, err, now)
	}
	now = now.Add(defaultLifetime)
	if _, err := g.VerifySignature(signature, "GET", "p"); !errors.Is(err, conan.ErrDenied) {
		t.Errorf("after the default lifetime: error %v, want denied", err)
	}
}

func TestNewGuardErrors(t *testing.T) {
	tests := []struct {
		name string
		o    GuardOptions
	}{
		{"no secret", GuardOptions{}},
		{"short secret", GuardOptions{Secret: testSecret[1:]}},
		{"negative token lifetime", GuardOptions{Secret: testSecret, TokenLifetime: -1}},
		{"negative signature lifetime", GuardOptions{Secret: testSecret, SignatureLifetime: -1}},
		{"bad rule", GuardOptions{Secret: testSecret, Read: []Rule{{Pattern: "a b"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewGuard(tt.o)
			if !errors.Is(err, conan.ErrInvalid) {
				t.Fatalf("error %v, want invalid", err)
			}
			if strings.Contains(err.Error(), "sss") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestIdentifyLeftByCaller(t *testing.T) {
	g, _ := loginGuard(t, map[string]string{"ann": "x"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, user := range []string{"ann", "nobody"} {
		if _, err := g.Identify(ctx, loginHeader(user, "x"), here); !errors.Is(err, context.Canceled) || errors.Is(err, errLogin) {
			t.Errorf("%s: error %v, want canceled", user, err)
		}
	}
}
