package e2e

import (
	"strings"
	"testing"
)

// TestOwnership: names that the local store owns and names that an upstream excludes are never asked upstream, on no
// route and by no client; upstream's own log is the witness.
func TestOwnership(t *testing.T) {
	t.Parallel()
	server := startConanServer(t, Conan1, conanServerOptions{})
	outside := newConan2(t, server.url()).as("demo", "demo")
	// The attack: upstream offers a newer version under an owned name, and an excluded one.
	outside.create(recipe(t, "lib", `"1.0"`, `"9.9"`), "acme/stable")
	outside.create(recipe(t, "header", `"header"`, `"secret"`), "")
	outside.create(recipe(t, "header", `"header"`, `"public"`), "")
	outside.upload("*")

	up := record(t, server.url(), bothAPIs)
	proxy := startConanproxy(t, settings{
		"local":     settings{"owns": []string{"*@acme/*"}},
		"upstreams": []settings{upstream("up", up.url(), settings{"include": []string{"*"}, "exclude": []string{"secret/*"}})},
	})
	inside := newConan2(t, proxy.url()).as("demo", "demo")
	inside.create(recipe(t, "lib"), "acme/stable")
	inside.upload("lib/1.0@acme/stable")
	old := newConan1(t, proxy.url()).as("demo", "demo")
	old.create(recipe(t, "lib"), "acme/stable", "-o", "lib:flavour=sweet")
	old.upload("lib/1.0@acme/stable")

	reader := newConan2(t, proxy.url())
	reader.install("lib/[>=1.0]@acme/stable")
	says(t, reader.must("list", "lib/*", "-r", "r"), "lib/1.0@acme/stable")
	silentAbout(t, reader.must("list", "*", "-r", "r"), "lib/9.9", "secret")
	silentAbout(t, reader.must("list", "*#*:*#*", "-r", "r"), "lib/9.9", "secret")
	reader.must("list", "*@acme/*", "-r", "r")
	reader.must("list", "lib/1.0@acme/stable#*:*#*", "-r", "r")
	reader.fails(nil, reader.installArgs("lib/9.9@acme/stable")...)
	reader.fails(nil, reader.installArgs("secret/1.0")...)
	reader.must("graph", "outdated", "--requires=lib/1.0@acme/stable", "-r", "r")
	reader.must("install", "--requires=lib/1.0@acme/stable", "--update", "-r", "r")
	reader.fails(nil, "install", "--requires=lib/1.0@acme/stable", "-o", "lib/*:shared=True", "-r", "r")
	plain := newConan1(t, proxy.url())
	plain.install("lib/[>=1.0]@acme/stable", "-o", "lib:flavour=sweet")
	silentAbout(t, plain.must("search", "*", "-r", "r"), "lib/9.9", "secret")
	plain.must("search", "lib/1.0@acme/stable", "-r", "r")
	plain.fails(nil, plain.installArgs("secret/1.0")...)
	inside.must("remove", "lib/1.0@acme/stable", "-c", "-r", "r")
	newConan2(t, proxy.url()).fails(nil, reader.installArgs("lib/1.0@acme/stable")...)

	for _, call := range up.calls() {
		for _, name := range []string{"acme", "secret"} {
			if strings.Contains(call, name) {
				t.Errorf("upstream was asked for %s: %s", name, call)
			}
		}
	}
	// The rules hide no more than they say.
	newConan2(t, proxy.url()).install("public/1.0")
}

// TestClientGenerations: an upstream limited to one generation of clients is asked for that one only.
func TestClientGenerations(t *testing.T) {
	t.Parallel()
	server := startConanServer(t, Conan1, conanServerOptions{})
	ones, twos := record(t, server.url(), bothAPIs), record(t, server.url(), bothAPIs)
	publisher := newConan2(t, server.url()).as("demo", "demo")
	publisher.create(recipe(t, "lib"), "demo/testing")
	publisher.upload("*")
	proxy := startConanproxy(t, settings{"upstreams": []settings{
		upstream("twos", twos.url(), settings{"clients": "conan2"}),
		upstream("ones", ones.url(), settings{"clients": "conan1"}),
	}})

	newConan2(t, proxy.url()).install("lib/1.0@demo/testing")
	if calls := ones.calls(); len(calls) != 0 {
		t.Errorf("a Conan 2 client reached the upstream for Conan 1:\n%s", strings.Join(calls, "\n"))
	}
	twos.forget()
	for _, g := range generation1 {
		c := g.client(t, proxy.url())
		c.install("lib/1.0@demo/testing", "--build=missing")
	}
	if calls := twos.calls(); len(calls) != 0 {
		t.Errorf("a Conan 1 client reached the upstream for Conan 2:\n%s", strings.Join(calls, "\n"))
	}
	if len(ones.calls()) == 0 {
		t.Error("the Conan 1 clients asked nobody")
	}
}
