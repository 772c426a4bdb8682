package conan1

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"strings"
	"testing"
	"time"
)

// TestConan1Login logs in by command and by environment, with right and wrong passwords.
func TestConan1Login(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)
	c := e2etest.NewConan1(t, front.URL()+"/local")
	c.Create(e2etest.Recipe(t, "header"), "demo/testing")
	const ref = "header/1.0@demo/testing"

	e2etest.Says(t, c.Must("user", "-p", "demo", "-r", "r", "demo"), "Changed user of remote 'r' from 'None' (anonymous) to 'demo'")
	c.Fails([]string{"Wrong user or password"}, "user", "-p", "wrong", "-r", "r", "ann")

	front.Forget()
	wrong := e2etest.NewConan1(t, front.URL()+"/local").As("demo", "wrong")
	wrong.Create(e2etest.Recipe(t, "header"), "demo/testing")
	wrong.Fails([]string{"Too many failed login attempts"}, wrong.UploadArgs(ref, "r")...)
	if n := front.Count("users/authenticate"); n != 3 {
		t.Errorf("%d logins with a wrong password from the environment, want 3", n)
	}

	front.Forget()
	nobody := e2etest.NewConan1(t, front.URL()+"/local")
	nobody.Create(e2etest.Recipe(t, "header"), "demo/testing")
	nobody.Fails([]string{"interactive mode disabled"}, nobody.UploadArgs(ref, "r")...)
	if n := front.Count("PUT "); n != 0 {
		t.Errorf("%d files sent by an anonymous client", n)
	}

	c.Upload(ref)
	e2etest.NewConan1(t, front.URL()).Install(ref)
}

// TestConan1Rights: a known user without the right is told so at once, anonymous readers of a
// private name are asked to log in, and references without user and channel are not everybody's.
func TestConan1Rights(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{"auth": harness.Settings{
		"read":  []harness.Settings{{"pattern": "*@ann/*", "users": []string{"ann"}}, {"pattern": "*", "users": []string{"*"}}},
		"write": []harness.Settings{{"pattern": "*@{user}/*", "users": []string{"?"}}, {"pattern": "*/*", "users": []string{"demo"}}},
	}})
	front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)

	ann := e2etest.NewConan1(t, front.URL()+"/local").As("ann", "ann")
	ann.Create(e2etest.Recipe(t, "header"), "ann/testing")
	ann.Create(e2etest.Recipe(t, "lib"), "")
	ann.Upload("header/1.0@ann/testing")

	front.Forget()
	ann.Fails([]string{"Permission denied for user: 'ann'"}, ann.UploadArgs("lib/1.0@", "r")...)
	if calls := front.Calls(); len(calls) > 8 {
		t.Errorf("%d requests for one refusal:\n%s", len(calls), strings.Join(calls, "\n"))
	}
	if n := front.Count("PUT "); n != 0 {
		t.Errorf("%d files were sent before the refusal", n)
	}

	anonymous := e2etest.NewConan1(t, front.URL())
	anonymous.Fails([]string{"interactive mode disabled"}, anonymous.InstallArgs("header/1.0@ann/testing")...)
	demo := e2etest.NewConan1(t, front.URL()).As("demo", "demo")
	demo.Must("user", "-p", "demo", "-r", "r", "demo")
	demo.Fails([]string{"Permission denied"}, demo.InstallArgs("header/1.0@ann/testing")...)
	e2etest.SilentAbout(t, demo.Must("search", "*", "-r", "r"), "header")
	reader := e2etest.NewConan1(t, front.URL()).As("ann", "ann")
	reader.Install("header/1.0@ann/testing")
	e2etest.SameTree(t, "header", ann, reader)
}

// TestConan1ExpiredToken: an expired token costs one new login where one is needed, and nothing
// where anonymous readers are welcome.
func TestConan1ExpiredToken(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{"auth": harness.Settings{"token_lifetime": "1s"}})
	front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)
	c := e2etest.NewConan1(t, front.URL()+"/local")
	c.Must("user", "-p", "demo", "-r", "r", "demo")
	c.Create(e2etest.Recipe(t, "header"), "demo/testing")
	time.Sleep(2100 * time.Millisecond) // lifetimes count in whole seconds

	front.Forget()
	// The reading half of this command meets the expired token first and goes on as nobody.
	c.Fails([]string{"interactive mode disabled"}, c.UploadArgs("header/1.0@demo/testing", "r")...)
	if front.Count(" 401") == 0 {
		t.Errorf("an expired token was accepted:\n%s", strings.Join(front.Calls(), "\n"))
	}
	c.Must("user", "-p", "demo", "-r", "r", "demo")
	time.Sleep(2100 * time.Millisecond)
	front.Forget()
	e2etest.Says(t, c.Must("search", "*", "-r", "r"), "There are no packages")
	if front.Count("conans/search", " 401") != 1 || front.Count("conans/search", " 200") != 1 {
		t.Errorf("an expired token on a public route, want one 401 and then an anonymous 200:\n%s", strings.Join(front.Calls(), "\n"))
	}
	c.As("demo", "demo").Upload("header/1.0@demo/testing")
}
