package auth

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
)

func TestSignature(t *testing.T) {
	g, _ := loginGuard(t, map[string]string{"ann": "x"})
	sign := func(grant Grant) string {
		s, err := g.Sign(grant)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	upload := Grant{Method: "PUT", Path: "zlib/1.3/_/_/0/export/conanfile.py", Size: 5 << 40, User: "Jörg @*", Stage: "7"}
	get, put := sign(Grant{Method: "GET", Path: "a/b"}), sign(upload)
	token, err := g.IssueToken(Caller{Name: "ann"})
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
			if diff := cmp.Diff(Grant{}, grant); diff != "" {
				t.Errorf("a refused grant has content:\n%s", diff)
			}
			if tt.signature != "" && strings.Contains(err.Error(), tt.signature) {
				t.Errorf("the error quotes the signature: %v", err)
			}
		})
	}
	got, err := g.VerifySignature(put, "PUT", upload.Path)
	if err != nil || got.Started.IsZero() {
		t.Fatalf("grant %+v, error %v", got, err)
	}
	got.Started = time.Time{}
	if diff := cmp.Diff(upload, got); diff != "" {
		t.Errorf("what was signed (-want +got):\n%s", diff)
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

// A signature ends with its user, and with the password by which the user asked for it.
func TestSignatureEndsWithItsUser(t *testing.T) {
	g, path := loginGuard(t, map[string]string{"ann": "one"})
	signature, err := g.Sign(Grant{Method: "PUT", Path: "a/b", User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	allowed := func() bool {
		_, err := g.VerifySignature(signature, "PUT", "a/b")
		if err != nil && !errors.Is(err, conan.ErrDenied) {
			t.Errorf("error %v, want denied", err)
		}
		return err == nil
	}
	if !allowed() {
		t.Error("refused at first")
	}
	writeUsers(t, path, map[string]string{"ann": "two"})
	if allowed() {
		t.Error("allowed after the password was changed")
	}
	writeUsers(t, path, nil)
	if allowed() {
		t.Error("allowed after the user was removed")
	}
}
