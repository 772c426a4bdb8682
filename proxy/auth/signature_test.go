package auth

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
)

func TestSignature(t *testing.T) {
	const odd = "Jörg @*"
	g, _ := loginGuard(t, map[string]string{"ann": "x", odd: "y"})
	ann, jorg := login(t, g, "ann", "x"), login(t, g, odd, "y")
	sign := func(grant Grant) string {
		s, err := g.Sign(grant)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	upload := Grant{Method: "PUT", Path: "zlib/1.3/_/_/0/export/conanfile.py", View: "team", Member: "dev", Size: 5 << 40, Caller: jorg, Stage: "7"}
	get, put := sign(Grant{Method: "GET", Path: "a/b"}), sign(upload)
	token, err := g.IssueToken(ann)
	if err != nil {
		t.Fatal(err)
	}
	other := ruleGuardWithSecret(t, strings.Repeat("o", minSecret))
	foreign, err := other.Sign(Grant{Method: "GET", Path: "a/b"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, signature, method, path string
		wantReason                    string // empty: allowed
	}{
		{"GET", get, "GET", "a/b", ""},
		{"GET allows HEAD", get, "HEAD", "a/b", ""},
		{"GET allows no PUT", get, "PUT", "a/b", "another method"},
		{"GET of another path", get, "GET", "a/c", "another path"},
		{"GET of a path below", get, "GET", "a/b/c", "another path"},
		{"PUT", put, "PUT", upload.Path, ""},
		{"PUT allows no GET", put, "GET", upload.Path, "another method"},
		{"PUT allows no HEAD", put, "HEAD", upload.Path, "another method"},
		{"PUT of another path", put, "PUT", "zlib/1.3/_/_/0/export/conanmanifest.txt", "another path"},
		{"nothing", "", "GET", "a/b", "broken"},
		{"garbled", get[:len(get)-2] + "zz", "GET", "a/b", "broken"},
		{"of another server", foreign, "GET", "a/b", "broken"},
		{"an API token", token, "GET", "a/b", "broken"},
		{"very long", strings.Repeat("x", maxSignature+1), "GET", "a/b", "broken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			grant, err := g.VerifySignature(tt.signature, tt.method, tt.path)
			if tt.wantReason == "" {
				if err != nil || grant.Path != tt.path {
					t.Errorf("grant %+v, error %v; want it allowed", grant, err)
				}
				return
			}
			if !errors.Is(err, conan.ErrDenied) || errors.Is(err, ErrLogin) || !strings.Contains(err.Error(), tt.wantReason) {
				t.Errorf("error %v, want denied for %q", err, tt.wantReason)
			}
			if grant != (Grant{}) {
				t.Errorf("a refused grant has content: %+v", grant)
			}
			if tt.signature != "" && strings.Contains(err.Error(), tt.signature) {
				t.Errorf("the error quotes the signature: %v", err)
			}
		})
	}
	got, err := g.VerifySignature(put, "PUT", upload.Path)
	if err != nil || got != upload {
		t.Errorf("grant %+v, error %v; want what was signed: %+v", got, err, upload)
	}
}

func ruleGuardWithSecret(t *testing.T, secret string) *Guard {
	t.Helper()
	return newGuard(t, identity.Options{Secret: []byte(secret)}, 0)
}

func TestSignatureLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, identity.Options{Secret: testSecret}, 10*time.Minute)
		signature, err := g.Sign(Grant{Method: "GET", Path: "a/b"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Minute - time.Second)
		if _, err := g.VerifySignature(signature, "GET", "a/b"); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(time.Second)
		_, err = g.VerifySignature(signature, "GET", "a/b")
		if !errors.Is(err, conan.ErrDenied) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("at its end: error %v, want that it has expired", err)
		}
		if _, err := g.VerifySignature(signature, "GET", "a/c"); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("expired and of another path: error %v", err)
		}
	})
}

func TestSignNeedsMethodAndPath(t *testing.T) {
	g := ruleGuardWithSecret(t, string(testSecret))
	for _, grant := range []Grant{{Path: "a"}, {Method: "GET"}} {
		if _, err := g.Sign(grant); !errors.Is(err, conan.ErrInvalid) {
			t.Errorf("%+v: error %v, want invalid", grant, err)
		}
	}
}

// A signature ends with its user, and with the password that the user had shown.
func TestSignatureEndsWithItsUser(t *testing.T) {
	g, path := loginGuard(t, map[string]string{"ann": "one"})
	ann := login(t, g, "ann", "one")
	sign := func() string {
		signature, err := g.Sign(Grant{Method: "PUT", Path: "a/b", Caller: ann})
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	signature := sign()
	want := func(when, signature string, allowed bool) {
		t.Helper()
		grant, err := g.VerifySignature(signature, "PUT", "a/b")
		if (err == nil) != allowed || (grant.Caller == ann) != allowed || (err != nil && !errors.Is(err, conan.ErrDenied)) {
			t.Errorf("%s: grant %+v, error %v; want it allowed: %v", when, grant, err, allowed)
		}
	}
	want("at first", signature, true)
	writeUsers(t, path, map[string]string{"ann": "two"})
	want("after a new password", signature, false)
	want("signed after a new password for a caller with the old one", sign(), false)
	writeUsers(t, path, nil)
	want("without the user", signature, false)
}
