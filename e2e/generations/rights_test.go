package generations

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"regexp"
	"testing"
)

// TestRightsByMember: in a view over two stores a user who may read only one of them installs from
// that one alone, and sees nothing of the other by install, version range, search or list; a member
// of the group that may read both does.
func TestRightsByMember(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{
		"stores":    []harness.Settings{{"name": "dev"}, {"name": "release"}},
		"views":     []harness.Settings{{"name": "team", "members": []string{"dev", "release"}}},
		"upstreams": []harness.Settings{},
		"auth": harness.Settings{
			"groups": harness.Settings{"insiders": []string{"ann", "demo"}},
			"read": []harness.Settings{
				{"pattern": "*", "users": []string{"@insiders"}, "in": []string{"dev"}},
				{"pattern": "*", "users": []string{"?"}, "in": []string{"release"}},
			},
			"write": []harness.Settings{{"pattern": "*", "users": []string{"demo"}}, {"pattern": "*", "users": []string{"ann"}, "in": []string{"dev"}}},
		},
	})
	publish := func(store string, change ...string) *e2etest.Client {
		c := e2etest.NewConan2(t, proxy.URL("r", store)).As("demo", "demo")
		c.Create(e2etest.Recipe(t, "lib", change...), "acme/stable")
		c.Upload("lib/*")
		return c
	}
	released := publish("release")
	publish("dev", `"1.0"`, `"2.0"`)
	developed := publish("dev", "from conan import", "# another revision\nfrom conan import")

	team := proxy.URL("r", "team")
	for name, client := range map[string]func(user string) *e2etest.Client{
		"Conan 2": func(user string) *e2etest.Client { return e2etest.NewConan2(t, team).As(user, user) },
		"Conan 1": func(user string) *e2etest.Client { return e2etest.NewConan1(t, team).As(user, user) },
	} {
		list := []string{"list", "lib/*", "-r", "r"}
		if name == "Conan 1" {
			list = []string{"search", "lib/*", "-r", "r"}
		}
		ann, bob := client("ann"), client("bob")
		e2etest.Says(t, ann.Must(list...), "lib/1.0@acme/stable", "lib/2.0@acme/stable")
		bobs := bob.Must(list...)
		e2etest.Says(t, bobs, "lib/1.0@acme/stable")
		e2etest.SilentAbout(t, bobs, "lib/2.0")
		if name == "Conan 1" {
			continue // its binaries have other ids than those that were published
		}
		bob.Fails([]string{"Unable to find"}, bob.InstallArgs("lib/2.0@acme/stable")...)
		bob.Install("lib/[>=1.0]@acme/stable")
		e2etest.SameListing(t, revisionsOf(released), revisionsOf(bob))
		ann.Install("lib/2.0@acme/stable")
		ann.Install("lib/1.0@acme/stable")
		e2etest.SameListing(t, revisionsOf(developed), revisionsOf(ann))
	}
	ann := e2etest.NewConan2(t, proxy.URL("r", "release")).As("ann", "ann")
	ann.Create(e2etest.Recipe(t, "header"), "acme/stable")
	ann.Fails([]string{"Permission denied"}, ann.UploadArgs("header/*", "r")...)
}

// revisionsOf lists the recipe revisions of lib/1.0 in a client's cache, without their times.
func revisionsOf(c *e2etest.Client) []string {
	return regexp.MustCompile(`#[0-9a-f]{32}`).FindAllString(c.Output("list", "lib/1.0@acme/stable#*", "--format=compact"), -1)
}
