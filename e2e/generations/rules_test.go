package generations

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"strings"
	"testing"
)

// TestOwnership: names that the local store owns and names that an upstream excludes are never
// asked upstream, on no route and by no client; upstream's own log is the witness.
func TestOwnership(t *testing.T) {
	t.Parallel()
	server := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: harness.Conan1})
	outside := e2etest.NewConan2(t, server.URL()).As("demo", "demo")
	// The attack: upstream offers a newer version under an owned name, and an excluded one.
	outside.Create(e2etest.Recipe(t, "lib", `"1.0"`, `"9.9"`), "acme/stable")
	outside.Create(e2etest.Recipe(t, "header", `"header"`, `"secret"`), "")
	outside.Create(e2etest.Recipe(t, "header", `"header"`, `"public"`), "")
	outside.Upload("*")

	up := e2etest.Record(t, server.URL(), e2etest.BothAPIs)
	proxy := e2etest.StartConanproxy(t, harness.Settings{
		"local":     harness.Settings{"owns": []string{"*@acme/*"}},
		"upstreams": []harness.Settings{harness.Upstream("up", up.URL(), harness.Settings{"include": []string{"*"}, "exclude": []string{"secret/*"}})},
	})
	inside := e2etest.NewConan2(t, proxy.URL()).As("demo", "demo")
	inside.Create(e2etest.Recipe(t, "lib"), "acme/stable")
	inside.Upload("lib/1.0@acme/stable")
	old := e2etest.NewConan1(t, proxy.URL()).As("demo", "demo")
	old.Create(e2etest.Recipe(t, "lib"), "acme/stable", "-o", "lib:flavour=sweet")
	old.Upload("lib/1.0@acme/stable")

	reader := e2etest.NewConan2(t, proxy.URL())
	reader.Install("lib/[>=1.0]@acme/stable")
	e2etest.Says(t, reader.Must("list", "lib/*", "-r", "r"), "lib/1.0@acme/stable")
	e2etest.SilentAbout(t, reader.Must("list", "*", "-r", "r"), "lib/9.9", "secret")
	e2etest.SilentAbout(t, reader.Must("list", "*#*:*#*", "-r", "r"), "lib/9.9", "secret")
	reader.Must("list", "*@acme/*", "-r", "r")
	reader.Must("list", "lib/1.0@acme/stable#*:*#*", "-r", "r")
	reader.Fails(nil, reader.InstallArgs("lib/9.9@acme/stable")...)
	reader.Fails(nil, reader.InstallArgs("secret/1.0")...)
	reader.Must("graph", "outdated", "--requires=lib/1.0@acme/stable", "-r", "r")
	reader.Must("install", "--requires=lib/1.0@acme/stable", "--update", "-r", "r")
	reader.Fails(nil, "install", "--requires=lib/1.0@acme/stable", "-o", "lib/*:shared=True", "-r", "r")
	plain := e2etest.NewConan1(t, proxy.URL())
	plain.Install("lib/[>=1.0]@acme/stable", "-o", "lib:flavour=sweet")
	e2etest.SilentAbout(t, plain.Must("search", "*", "-r", "r"), "lib/9.9", "secret")
	plain.Must("search", "lib/1.0@acme/stable", "-r", "r")
	plain.Fails(nil, plain.InstallArgs("secret/1.0")...)
	inside.Must("remove", "lib/1.0@acme/stable", "-c", "-r", "r")
	e2etest.NewConan2(t, proxy.URL()).Fails(nil, reader.InstallArgs("lib/1.0@acme/stable")...)

	for _, call := range up.Calls() {
		for _, name := range []string{"acme", "secret"} {
			if strings.Contains(call, name) {
				t.Errorf("upstream was asked for %s: %s", name, call)
			}
		}
	}
	// The rules hide no more than they say.
	e2etest.NewConan2(t, proxy.URL()).Install("public/1.0")
}

// TestClientGenerations: an upstream limited to one generation of clients is asked for that one
// only.
func TestClientGenerations(t *testing.T) {
	t.Parallel()
	server := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: harness.Conan1})
	ones, twos := e2etest.Record(t, server.URL(), e2etest.BothAPIs), e2etest.Record(t, server.URL(), e2etest.BothAPIs)
	publisher := e2etest.NewConan2(t, server.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Upload("*")
	proxy := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{
		harness.Upstream("twos", twos.URL(), harness.Settings{"clients": "conan2"}),
		harness.Upstream("ones", ones.URL(), harness.Settings{"clients": "conan1"}),
	}})
	forgetStart(t, ones)
	forgetStart(t, twos)

	e2etest.NewConan2(t, proxy.URL()).Install("lib/1.0@demo/testing")
	if calls := ones.Calls(); len(calls) != 0 {
		t.Errorf("a Conan 2 client reached the upstream for Conan 1:\n%s", strings.Join(calls, "\n"))
	}
	twos.Forget()
	for _, g := range generation1 {
		c := g.client(t, proxy.URL())
		c.Install("lib/1.0@demo/testing", "--build=missing")
	}
	if calls := twos.Calls(); len(calls) != 0 {
		t.Errorf("a Conan 1 client reached the upstream for Conan 2:\n%s", strings.Join(calls, "\n"))
	}
	if len(ones.Calls()) == 0 {
		t.Error("the Conan 1 clients asked nobody")
	}
}
