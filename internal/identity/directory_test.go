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

func loginHeader(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestIdentify(t *testing.T) {
	const odd = "Jörg @ acme/ops*"
	g, _ := loginDirectory(t, map[string]string{"ann": "pä:ss:", odd: "x"})
	issue := func(user string) string {
		state, _ := g.State(user)
		token, err := g.tokens.issue(user, state, time.Hour)
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

func TestNoUsersAtAll(t *testing.T) {
	g, err := New(Options{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	token, err := g.tokens.issue("ann", "", time.Hour)
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
	token, err := g.IssueToken(Caller{Name: "ann"})
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
