package operators

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// tokensProxy has two stores that ann may write and read, and demo as its administrator.
func tokensProxy(t *testing.T) *e2etest.Conanproxy {
	return e2etest.StartConanproxy(t, harness.Settings{
		"stores":    []harness.Settings{{"name": "dev"}, {"name": "release"}},
		"views":     []harness.Settings{{"name": "team", "members": []string{"release", "dev"}, "publish": "dev"}},
		"upstreams": []harness.Settings{},
		"auth": harness.Settings{
			"read":  []harness.Settings{{"pattern": "*", "users": []string{"ann", "demo"}}},
			"write": []harness.Settings{{"pattern": "*", "users": []string{"ann", "demo"}}},
			"admin": []string{"demo"},
		},
	})
}

// makeToken returns the secret of a token that an operator makes.
func makeToken(o e2etest.Operator, args ...string) string {
	o.T().Helper()
	out := o.Must(append([]string{"token", "create"}, args...)...)
	if !regexp.MustCompile(`^cpr_[A-Za-z0-9_-]{43}\n$`).MatchString(out) {
		o.T().Fatalf("token create %q printed %q, want the secret alone", args, out)
	}
	return strings.TrimSpace(out)
}

// status is that of a GET, with an Authorization header unless it is empty.
func status(t *testing.T, url, authorization string) int {
	t.Helper()
	header := []string{"Authorization", authorization}
	if authorization == "" {
		header = nil
	}
	got, _, _ := e2etest.Get(t, url, header...)
	return got
}

// TestRobotTokens: programs log in with a token, may do what the token and its owner may, and are
// out at once when it is revoked or its owner is gone.
func TestRobotTokens(t *testing.T) {
	t.Parallel()
	proxy := tokensProxy(t)
	ann, demo := e2etest.NewOperator(t, proxy, "ann"), e2etest.NewOperator(t, proxy, "demo")
	secrets := []string{
		makeToken(ann, "builder", "--read", "--write", "--pattern", "*@acme/*"),
		makeToken(ann, "reader", "--read"),
		makeToken(ann, "shipper", "--read", "--in", "release", "--expires", "720h"),
	}
	builder, reader, shipper := secrets[0], secrets[1], secrets[2]
	ann.Fails(1, "a token \"reader\" already", "token", "create", "reader", "--read")
	ann.Fails(1, "a user \"bob\"", "token", "create", "bob", "--read")
	ann.Fails(2, "to read or to write", "token", "create", "idle")
	ann.Fails(2, "no store or upstream \"team\"", "token", "create", "viewer", "--read", "--in", "team")
	e2etest.NewOperator(t, proxy, "bob").Fails(1, "may write nothing", "token", "create", "bobs", "--read")

	for name, client := range map[string]func(testing.TB, string) *e2etest.Client{
		"conan2": e2etest.NewConan2, "conan29": e2etest.NewConan29, "conan1": e2etest.NewConan1Revisions,
	} {
		useTokens(ann, name, func(view, user string) *e2etest.Client {
			secret := map[string]string{"builder": builder, "reader": reader, "shipper": shipper}[user]
			return client(t, proxy.URL("r", view)).As(user, secret)
		})
	}
	operateByTokens(t, proxy, builder, reader)
	e2etest.Says(t, demo.Must("token", "list"), "builder", "ann", "read write *@acme/*", "in release")
	e2etest.SilentAbout(t, e2etest.NewOperator(t, proxy, "bob").Must("token", "list"), "builder")

	latest := proxy.URL("r", "dev") + "/v2/conans/lib-conan2/1.0/acme/stable/latest"
	session := e2etest.NewOperatorAs(t, proxy, "reader", reader).Token()
	for _, bearer := range []string{reader, session} {
		if got := status(t, latest, "Bearer "+bearer); got != http.StatusOK {
			t.Errorf("as Bearer: %d", got)
		}
	}
	e2etest.NewOperator(t, proxy, "bob").Fails(2, "there is no token", "token", "revoke", "reader")
	demo.Must("token", "revoke", "reader")
	for _, bearer := range []string{reader, session} {
		if got := status(t, latest, "Bearer "+bearer); got != http.StatusUnauthorized {
			t.Errorf("after it was revoked: %d", got)
		}
	}
	brief := makeToken(ann, "brief", "--read", "--expires", "1s")
	e2etest.WaitFor(t, time.Minute, func() bool { return status(t, latest, "Bearer "+brief) == http.StatusUnauthorized })
	expired := e2etest.NewConan2(t, proxy.URL("r", "dev"))
	expired.Fails([]string{"Wrong user or password"}, "remote", "login", "r", "brief", "-p", brief)
	e2etest.Says(t, demo.Must("audit"), "token_create", "token_revoke", "builder")
	for _, secret := range secrets {
		e2etest.SilentAbout(t, proxy.Log(), secret)
	}
	testOwnerRemoved(t, proxy, latest, builder)
}

// useTokens publishes and installs with clients that log in by tokens.
func useTokens(owner e2etest.Operator, name string, as func(view, user string) *e2etest.Client) {
	lib, header := "lib-"+name, "header-"+name
	ref := lib + "/1.0@acme/stable"
	publisher := as("dev", "builder")
	publisher.Create(e2etest.Recipe(owner.T(), "lib", `name = "lib"`, `name = "`+lib+`"`), "acme/stable")
	publisher.Upload(lib + "/*")
	as("team", "reader").Install(ref)
	narrow := as("team", "shipper") // it reads release only
	narrow.Fails([]string{notFound[name]}, narrow.InstallArgs(ref)...)
	owner.Must("promote", "--from", "dev", "--to", "release", ref)
	narrow.Install(ref)

	for user, place := range map[string]string{"reader": "acme/stable", "builder": "else/stable"} {
		refused := as("dev", user)
		refused.Create(e2etest.Recipe(owner.T(), "header", `name = "header"`, `name = "`+header+`"`), place)
		refused.Fails([]string{"ermission"}, refused.UploadArgs(header+"/*", "r")...)
	}
}

// operateByTokens runs commands with tokens in place of a login.
func operateByTokens(t *testing.T, proxy *e2etest.Conanproxy, builder, reader string) {
	const ref = "lib-conan2/1.0@acme/stable"
	robot := e2etest.OperatorWith(t, proxy, builder)
	robot.Fails(1, "administrators", "audit")
	robot.Fails(1, "cannot manage", "token", "create", "more", "--read")
	robot.Fails(1, "cannot manage", "token", "list")
	e2etest.OperatorWith(t, proxy, reader).Fails(1, "may not write", "remove", "--in", "release", "--yes", ref)
	e2etest.Says(t, robot.Must("promote", "--from", "dev", "--to", "release", ref), "2 skipped")
}

// testOwnerRemoved removes ann from the users: her tokens and what they logged in to end at once.
func testOwnerRemoved(t *testing.T, proxy *e2etest.Conanproxy, url, secret string) {
	session := e2etest.NewOperatorAs(t, proxy, "builder", secret).Token()
	file := filepath.Join(proxy.Dir, "users")
	users, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	without := regexp.MustCompile(`(?m)^ann:.*\n`).ReplaceAll(users, nil)
	if err := os.WriteFile(file, without, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bearer := range []string{secret, session} {
		if got := status(t, url, "Bearer "+bearer); got != http.StatusUnauthorized {
			t.Errorf("after its owner was removed: %d", got)
		}
	}
}
