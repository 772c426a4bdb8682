package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestConan1Login logs in by command and by environment, with right and wrong passwords.
func TestConan1Login(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, nil)
	front := record(t, proxy.url(), bothAPIs)
	c := newConan1(t, front.url()+"/local")
	c.create(recipe(t, "header"), "demo/testing")
	const ref = "header/1.0@demo/testing"

	says(t, c.must("user", "-p", "demo", "-r", "r", "demo"), "Changed user of remote 'r' from 'None' (anonymous) to 'demo'")
	c.fails([]string{"Wrong user or password"}, "user", "-p", "wrong", "-r", "r", "ann")

	front.forget()
	wrong := newConan1(t, front.url()+"/local").as("demo", "wrong")
	wrong.create(recipe(t, "header"), "demo/testing")
	wrong.fails([]string{"Too many failed login attempts"}, wrong.uploadArgs(ref, "r")...)
	if n := front.count("users/authenticate"); n != 3 {
		t.Errorf("%d logins with a wrong password from the environment, want 3", n)
	}

	front.forget()
	nobody := newConan1(t, front.url()+"/local")
	nobody.create(recipe(t, "header"), "demo/testing")
	nobody.fails([]string{"interactive mode disabled"}, nobody.uploadArgs(ref, "r")...)
	if n := front.count("PUT "); n != 0 {
		t.Errorf("%d files sent by an anonymous client", n)
	}

	c.upload(ref)
	newConan1(t, front.url()).install(ref)
}

// TestConan1Rights: a known user without the right is told so at once, anonymous readers of a private name are asked
// to log in, and references without user and channel are not everybody's.
func TestConan1Rights(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, settings{"auth": settings{
		"read":  []settings{{"pattern": "*@ann/*", "users": []string{"ann"}}, {"pattern": "*", "users": []string{"*"}}},
		"write": []settings{{"pattern": "*@{user}/*", "users": []string{"?"}}, {"pattern": "*/*", "users": []string{"demo"}}},
	}})
	front := record(t, proxy.url(), bothAPIs)

	ann := newConan1(t, front.url()+"/local").as("ann", "ann")
	ann.create(recipe(t, "header"), "ann/testing")
	ann.create(recipe(t, "lib"), "")
	ann.upload("header/1.0@ann/testing")

	front.forget()
	ann.fails([]string{"Permission denied for user: 'ann'"}, ann.uploadArgs("lib/1.0@", "r")...)
	if calls := front.calls(); len(calls) > 8 {
		t.Errorf("%d requests for one refusal:\n%s", len(calls), strings.Join(calls, "\n"))
	}
	if n := front.count("PUT "); n != 0 {
		t.Errorf("%d files were sent before the refusal", n)
	}

	anonymous := newConan1(t, front.url())
	anonymous.fails([]string{"interactive mode disabled"}, anonymous.installArgs("header/1.0@ann/testing")...)
	demo := newConan1(t, front.url()).as("demo", "demo")
	demo.must("user", "-p", "demo", "-r", "r", "demo")
	demo.fails([]string{"Permission denied"}, demo.installArgs("header/1.0@ann/testing")...)
	silentAbout(t, demo.must("search", "*", "-r", "r"), "header")
	reader := newConan1(t, front.url()).as("ann", "ann")
	reader.install("header/1.0@ann/testing")
	sameTree(t, "header", ann, reader)
}

// TestConan1ExpiredToken: an expired token costs one new login where one is needed, and nothing where anonymous
// readers are welcome.
func TestConan1ExpiredToken(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, settings{"auth": settings{"token_lifetime": "1s"}})
	front := record(t, proxy.url(), bothAPIs)
	c := newConan1(t, front.url()+"/local")
	c.must("user", "-p", "demo", "-r", "r", "demo")
	c.create(recipe(t, "header"), "demo/testing")
	time.Sleep(2100 * time.Millisecond) // lifetimes count in whole seconds

	front.forget()
	// The reading half of this command meets the expired token first and goes on as nobody.
	c.fails([]string{"interactive mode disabled"}, c.uploadArgs("header/1.0@demo/testing", "r")...)
	if front.count(" 401") == 0 {
		t.Errorf("an expired token was accepted:\n%s", strings.Join(front.calls(), "\n"))
	}
	c.must("user", "-p", "demo", "-r", "r", "demo")
	time.Sleep(2100 * time.Millisecond)
	front.forget()
	says(t, c.must("search", "*", "-r", "r"), "There are no packages")
	if front.count("conans/search", " 401") != 1 || front.count("conans/search", " 200") != 1 {
		t.Errorf("an expired token on a public route, want one 401 and then an anonymous 200:\n%s", strings.Join(front.calls(), "\n"))
	}
	c.as("demo", "demo").upload("header/1.0@demo/testing")
}
