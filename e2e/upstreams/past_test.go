package upstreams

import (
	"testing"
	"time"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestPointInTime: through /r/team/at/TIME clients of both generations resolve a version range as
// it was, from a store that has newer revisions and versions since and from which all of the old
// version was removed, and from an upstream that has published since. Nothing is published there,
// and a time that is not over is refused.
func TestPointInTime(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]struct {
		client func(testing.TB, string) *e2etest.Client
		form   []conantest.Option // of the upstream's packages
		remove []string
	}{
		"Conan 1.66": {e2etest.NewConan1, []conantest.Option{conantest.HeaderOnly(), conantest.Conan1()}, []string{"-f"}},
		"Conan 2":    {e2etest.NewConan2, []conantest.Option{conantest.HeaderOnly()}, []string{"-c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			origin := conantest.NewServer(t, conantest.Both, published(g.form, "1.0", "1.0 old", began.Add(-time.Hour))...)
			proxy := e2etest.StartConanproxy(t, harness.Settings{
				"stores":    []harness.Settings{{"name": "dev"}},
				"upstreams": []harness.Settings{harness.Upstream("up", origin.URL, nil)},
				"views":     []harness.Settings{{"name": "team", "members": []string{"dev", "up"}, "publish": "dev"}},
			})
			publish := func(edits ...string) *e2etest.Client {
				c := g.client(t, proxy.URL("r", "dev")).As("demo", "demo")
				c.Create(e2etest.Recipe(t, "header", edits...), "acme/stable")
				c.Upload("header/*")
				return c
			}
			publish()
			then := time.Now().UTC().Format(time.RFC3339Nano)
			publisher := publish("first", "second", `"*.h"`, `"*.h", "*.txt"`)
			origin.Add(published(g.form, "1.0", "1.0 new", time.Now())...)
			origin.Add(published(g.form, "1.1", "1.1", time.Now())...)
			publish("first", "third", `"1.0"`, `"1.1"`)

			at := proxy.URL("r", "team", "at", then)
			installs := func(when, url, header, lib string) {
				t.Helper()
				c := g.client(t, url)
				c.Install("header/[>=1.0]@acme/stable")
				c.Install("lib/[>=1.0]@demo/testing")
				if got := c.CacheTree("header")["include/header.h"]; got != header {
					t.Errorf("%s: header.h is %q, want %q", when, got, header)
				}
				if got := c.CacheTree("lib")["include/version.h"]; got != lib {
					t.Errorf("%s: version.h is %q, want %q", when, got, lib)
				}
			}
			const first, third = "#define HEADER_TEXT \"first\"\n", "#define HEADER_TEXT \"third\"\n"
			installs("then", at, first, "1.0 old")
			installs("now", proxy.URL("r", "team"), third, "1.1")
			publisher.Must(append([]string{"remove", "header/1.0@acme/stable", "-r", "r"}, g.remove...)...)
			installs("then, removed since", at, first, "1.0 old")

			c := g.client(t, at).As("demo", "demo")
			c.Create(e2etest.Recipe(t, "header", `"1.0"`, `"2.0"`), "acme/stable")
			c.Fails([]string{"the past takes no uploads and no deletes: use /r/team"}, c.UploadArgs("header/2.0@acme/stable", "r")...)
			future := g.client(t, proxy.URL("r", "team", "at", began.AddDate(0, 0, 2).Format(time.DateOnly)))
			future.Fails([]string{"is in the future"}, future.InstallArgs("header/[>=1.0]@acme/stable")...)
		})
	}
}

// published is a version of a library with one package, published at a time.
func published(form []conantest.Option, version, content string, at time.Time) []conantest.Set {
	code := conantest.Code("\n    # " + content + "\n    def package_id(self):\n        self.info.clear()\n")
	recipe := conantest.Recipe("lib", version, conantest.Owner("demo", "testing"), conantest.HeaderOnly(), code, conantest.Published(at))
	return []conantest.Set{recipe, conantest.Package(recipe, append(form, conantest.Published(at), conantest.File("include/version.h", content))...)}
}
