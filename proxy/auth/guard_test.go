package auth

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
)

const minSecret = 32

var testSecret = []byte(strings.Repeat("s", minSecret))

func mustRef(t *testing.T, text string) conan.Ref {
	t.Helper()
	ref, err := conan.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func newDirectory(t *testing.T, o identity.Options) *identity.Directory {
	t.Helper()
	d, err := identity.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newGuard(t *testing.T, o identity.Options, signatureLife time.Duration) *Guard {
	t.Helper()
	g, err := New(Options{Directory: newDirectory(t, o), SignatureLifetime: signatureLife})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// loginGuard is a Guard whose users have these passwords, and the path of their file.
func loginGuard(t *testing.T, passwords map[string]string) (*Guard, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeUsers(t, path, passwords)
	return newGuard(t, identity.Options{HtpasswdFile: path, Secret: testSecret}, 0), path
}

func writeUsers(t *testing.T, path string, passwords map[string]string) {
	t.Helper()
	var h identity.Htpasswd
	for user, password := range passwords {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Set(user, string(hash)); err != nil {
			t.Fatal(err)
		}
	}
	if err := identity.WriteHtpasswd(path, &h); err != nil {
		t.Fatal(err)
	}
}

// login is the caller with a password.
func login(t *testing.T, g *Guard, user, password string) Caller {
	t.Helper()
	header := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	c, err := g.Identify(t.Context(), header, netip.MustParseAddr("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestInjectedClock(t *testing.T) {
	now := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	g := newGuard(t, identity.Options{Secret: testSecret, Now: func() time.Time { return now }}, 0)
	signature, err := g.Sign(Grant{Method: "GET", Path: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.VerifySignature(signature, "GET", "p"); err != nil {
		t.Errorf("at first: %v", err)
	}
	now = now.Add(24 * time.Hour)
	if _, err := g.VerifySignature(signature, "GET", "p"); !errors.Is(err, conan.ErrDenied) {
		t.Errorf("after the default lifetime: error %v, want denied", err)
	}
}

func TestNewErrors(t *testing.T) {
	d := newDirectory(t, identity.Options{Secret: testSecret})
	for name, o := range map[string]Options{
		"no directory":                {},
		"negative signature lifetime": {Directory: d, SignatureLifetime: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
