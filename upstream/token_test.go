package upstream

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// guarded is a server behind a login. Tokens end when the number is raised.
type guarded struct {
	mu     sync.Mutex
	routes []string // that exist for a login
	number int
	logins int
	basic  bool // accept Basic everywhere
	deny   bool // refuse every token
}

func (g *guarded) serve(w http.ResponseWriter, req *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
	auth := req.Header.Get("Authorization")
	if strings.HasSuffix(req.URL.Path, "/users/authenticate") {
		switch {
		case !strings.Contains(strings.Join(g.routes, " "), req.URL.Path):
			notFoundPage(w)
		case auth != want:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			g.logins++
			fmt.Fprintf(w, "token-%d\n", g.number)
		}
		return
	}
	if auth == fmt.Sprintf("Bearer token-%d", g.number) && !g.deny || g.basic && auth == want {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"results": ["zlib/1.3"]}`)
		return
	}
	w.WriteHeader(http.StatusUnauthorized)
}

func (g *guarded) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.number++
}

func TestLogin(t *testing.T) {
	both := []string{"/v2/users/authenticate", "/v1/users/authenticate"}
	tests := map[string]struct {
		server         *guarded
		user, password string
		want           string
		wantAsked      int
	}{
		"v2 route":       {&guarded{routes: both[:1]}, "me", "s3cret", "ok", 2},
		"v1 route":       {&guarded{routes: both[1:]}, "me", "s3cret", "ok", 3},
		"no route":       {&guarded{basic: true}, "me", "s3cret", "ok", 3},
		"wrong password": {&guarded{routes: both}, "me", "other", "unavailable: it refuses the configured user name or password", 1},
		"anonymous":      {&guarded{routes: both}, "", "", "unavailable: asks for a login, or refuses the configured one (401)", 1},
		"useless token":  {&guarded{routes: both, deny: true}, "me", "s3cret", "unavailable: asks for a login, or refuses the configured one (401)", 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, f := newFake(t, Options{Username: test.user, Password: test.password}, test.server.serve)
				_, err := r.Search(t.Context(), conan.Pattern{})
				if word(err) != test.want {
					t.Errorf("error %q, want %q", word(err), test.want)
				}
				if len(f.asked()) != test.wantAsked {
					t.Errorf("asked %q, want %d questions", f.asked(), test.wantAsked)
				}
				if err != nil && strings.Contains(err.Error(), "s3cret") {
					t.Errorf("the error shows the password: %v", err)
				}
			})
		})
	}
}

func TestTokenIsRenewedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guarded{routes: []string{"/v2/users/authenticate"}}
		r, f := newFake(t, Options{Username: "me", Password: "s3cret"}, g.serve)
		if _, err := r.Search(t.Context(), conan.Pattern{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		g.expire()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if _, err := r.Search(t.Context(), conan.Pattern{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if g.logins != 2 {
			t.Errorf("%d logins, want 2 (asked %q)", g.logins, f.asked())
		}
	})
}

func TestRefusedLoginIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guarded{routes: []string{"/v2/users/authenticate"}}
		r, f := newFake(t, Options{Username: "me", Password: "wrong"}, g.serve)
		for range 3 {
			r.Search(t.Context(), conan.Pattern{})
		}
		if diff := cmp.Diff([]string{"GET /v2/users/authenticate"}, f.asked()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(loginMemory)
		r.Search(t.Context(), conan.Pattern{})
		if len(f.asked()) != 2 {
			t.Errorf("asked %q, want another try after %v", f.asked(), loginMemory)
		}
	})
}

// The first caller leaves while it logs in; the others get their answer all the same.
func TestLoginOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guarded{routes: []string{"/v2/users/authenticate"}}
		r, _ := newFake(t, Options{Username: "me", Password: "s3cret"}, func(w http.ResponseWriter, req *http.Request) {
			if strings.HasSuffix(req.URL.Path, "authenticate") {
				sleep(req.Context(), 10*time.Second)
			}
			g.serve(w, req)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go r.Search(ctx, conan.Pattern{})
		synctest.Wait()
		if _, err := r.Search(t.Context(), conan.Pattern{}); err != nil || g.logins != 1 {
			t.Errorf("%v after %d logins", err, g.logins)
		}
	})
}

func TestBadTokens(t *testing.T) {
	tests := map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; x=y")
			io.WriteString(w, "t")
		}, "unavailable: answered the login with a web page"},
		"hidden page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, "<b>x</b><html>")
		}, "unavailable: answered the login with something that is not a token"},
		"empty": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/plain") }, "unavailable: answered the login with something that is not a token"},
		"two lines": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, "a\nb")
		}, "unavailable: answered the login with something that is not a token"},
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, strings.Repeat("x", maxToken+1))
		}, "unavailable: answered the login with something that is not a token"},
		"server broken": {status(501), "unavailable: failed with status 501"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := newFake(t, Options{Username: "me", Password: "s3cret"}, test.answer)
				if _, err := r.Search(t.Context(), conan.Pattern{}); word(err) != test.want {
					t.Errorf("error %q, want %q", word(err), test.want)
				}
			})
		})
	}
}
