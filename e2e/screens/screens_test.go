package screens

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// generation is one generation of clients.
type generation struct {
	name   string
	client func(testing.TB, string) *e2etest.Client
	api    conantest.API
	form   []conantest.Option // of its packages
}

var generations = []generation{
	{"Conan 1.66", e2etest.NewConan1, conantest.V1, []conantest.Option{conantest.HeaderOnly(), conantest.Conan1()}},
	{"Conan 2", e2etest.NewConan2, conantest.V2, []conantest.Option{conantest.HeaderOnly()}},
}

// situation is something that goes wrong for one command of a client.
type situation struct {
	name string
	// arrange brings the situation about, and returns the URL of the client's remote and the
	// client's command.
	arrange func(testing.TB, generation) (url string, args func(*e2etest.Client) []string)
	// says is what has to be on the screen, in any case of letters.
	says []string
	// linked: the texts are at the URL that is on the screen. Of a refused download both
	// generations show only the status and the URL, whatever the status is.
	linked bool
	// succeeds: the command has to succeed in the end.
	succeeds bool
}

// slack is how much longer than an install of what does not exist a refused command may take. With
// the retries that clients make at a 503 it takes 18 seconds more.
const slack = 10 * time.Second

// TestScreens is the table of what is on the screen. A text that a client does not show helps no
// user.
func TestScreens(t *testing.T) {
	t.Parallel()
	situations := []situation{
		{name: "upstream is gone for long", arrange: breakerOpen, says: []string{`"up"`, "connection refused"}},
		{name: "upstream is configured offline", arrange: offline, says: []string{`"up"`, "offline"}},
		{name: "upstream sends wrong bytes", arrange: wrongBytes, linked: true, says: []string{`"up"`, "trying again at once does not help"}},
		{name: "upstream is no Conan remote", arrange: noConanRemote, says: []string{`"up"`, "not a Conan remote"}},
		{name: "upstream's policy refuses a recipe", arrange: refusedRecipe, says: []string{`"up"`, policySentence, "administrator"}},
		{name: "upstream's policy refuses a file", arrange: refusedFile, linked: true, says: []string{`"up"`, policySentence, "administrator"}},
		{name: "a lockfile names a revision that is too young", arrange: tooYoung, says: []string{`"up"`, "younger than 168h", "min_age"}},
		{name: "upstream is overloaded for a moment", arrange: overloaded, succeeds: true},
		{name: "upload without room", arrange: uploadWithoutRoom, says: []string{"no space", "administrator"}},
		{name: "remove of what only upstream has", arrange: removeOfUpstreams, says: []string{"upstream", "exclude"}},
		{name: "upload where no users are configured", arrange: noUsers, says: []string{"no users are configured"}},
	}
	for _, g := range generations {
		for _, s := range situations {
			t.Run(g.name+": "+s.name, func(t *testing.T) {
				t.Parallel()
				s.show(t, g)
			})
		}
	}
}

// show runs the command and looks at the screen and at the clock.
func (s situation) show(t *testing.T, g generation) {
	usual := timeOfNotFound(t, g)
	url, args := s.arrange(t, g)
	c := g.patient(t, url)
	command := args(c)
	begin := time.Now()
	screen, ok := c.Try(command...)
	took := time.Since(begin)
	t.Logf("%s | %s | %.1f s (not found: %.1f s) | %s", g.name, s.name, took.Seconds(), usual.Seconds(), lastLine(screen))
	if ok != s.succeeds {
		t.Errorf("the command succeeded: %t, want %t:\n%s", ok, s.succeeds, screen)
	}
	if s.linked {
		screen += follow(t, screen)
	}
	for _, text := range s.says {
		if !strings.Contains(strings.ToLower(screen), strings.ToLower(text)) {
			t.Errorf("the screen lacks %q:\n%s", text, screen)
		}
	}
	if !s.succeeds && took > usual+slack {
		t.Errorf("it took %v, want at most %v", took, usual+slack)
	}
}

// patient makes a client that waits between its retries as long as a user's does.
func (g generation) patient(t testing.TB, url string) *e2etest.Client {
	t.Helper()
	c := g.client(t, url).As("demo", "demo")
	if c.Two {
		c.Write("global.conf", "core:non_interactive=True\n")
	}
	return c
}

// timeOfNotFound is how long the client takes now to say that something does not exist.
func timeOfNotFound(t testing.TB, g generation) time.Duration {
	t.Helper()
	c := g.patient(t, e2etest.StartConanproxy(t, nil).URL())
	begin := time.Now()
	c.Fails(nil, c.InstallArgs("nothing/1.0@demo/testing")...)
	return time.Since(begin)
}

// failedURL is how both generations name what they could not download.
var failedURL = regexp.MustCompile(`Error 424 downloading file (http://\S+?)\.? `)

// follow opens the URL that is on the screen.
func follow(t testing.TB, screen string) string {
	t.Helper()
	m := failedURL.FindStringSubmatch(screen)
	if m == nil {
		t.Errorf("the screen names no URL:\n%s", screen)
		return ""
	}
	_, _, body := e2etest.Get(t, m[1])
	return body
}

func lastLine(screen string) string {
	lines := strings.Split(strings.TrimSpace(screen), "\n")
	return lines[len(lines)-1]
}

// install is the command of most situations.
func install(c *e2etest.Client) []string { return c.InstallArgs("lib/1.0@demo/testing") }

// sets are a recipe and its package for a generation.
func (g generation) sets() []conantest.Set {
	code := conantest.Code("\n    def package_id(self):\n        self.info.clear()\n")
	recipe := conantest.Recipe("lib", "1.0", conantest.Owner("demo", "testing"), conantest.HeaderOnly(), code)
	return []conantest.Set{recipe, conantest.Package(recipe, g.form...)}
}

// over starts a proxy over an upstream named "up".
func over(t testing.TB, url string, more ...harness.Settings) *e2etest.Conanproxy {
	t.Helper()
	return e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{harness.Upstream("up", url, more...)}})
}

// breakerOpen: upstream has been gone so long that it is not even asked any more.
func breakerOpen(t testing.TB, g generation) (string, func(*e2etest.Client) []string) {
	origin := conantest.NewServer(t, g.api, g.sets()...)
	proxy := over(t, origin.URL)
	origin.Stop()
	e2etest.WaitFor(t, time.Minute, func() bool {
		status, _, _ := e2etest.Get(t, proxy.URL("v2/conans/lib/1.0/demo/testing/latest"))
		return status == http.StatusFailedDependency
	})
	return proxy.URL(), install
}

func offline(t testing.TB, g generation) (string, func(*e2etest.Client) []string) {
	origin := conantest.NewServer(t, g.api, g.sets()...)
	return over(t, origin.URL, harness.Settings{"mode": "offline"}).URL(), install
}

func wrongBytes(t testing.TB, g generation) (string, func(*e2etest.Client) []string) {
	origin := conantest.NewServer(t, g.api, g.sets()...)
	origin.Fault(conantest.Fault{Route: "GET */conan_package.tgz", Flip: conantest.At(20)})
	return over(t, origin.URL).URL(), install
}

func noConanRemote(t testing.TB, _ generation) (string, func(*e2etest.Client) []string) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!DOCTYPE html><html><body>Welcome to the repository manager</body></html>")
	}))
	t.Cleanup(site.Close)
	return over(t, site.URL).URL(), install
}

// policySentence is what a repository manager says of a package that its policy blocks.
const policySentence = "blocked by policy no-gpl"

// refused starts a proxy over an upstream that refuses what a route names, as a repository manager
// does.
func refused(t testing.TB, g generation, route string) string {
	t.Helper()
	origin := conantest.NewServer(t, g.api, g.sets()...)
	body := `{"errors":[{"status":403,"message":"Artifact download request rejected: ` + policySentence + `"}]}`
	origin.Fault(conantest.Fault{Route: route, Status: http.StatusForbidden, ContentType: "application/json", Body: &body})
	return over(t, origin.URL).URL()
}

func refusedRecipe(t testing.TB, g generation) (string, func(*e2etest.Client) []string) {
	return refused(t, g, "GET */lib/1.0/*"), install
}

func refusedFile(t testing.TB, g generation) (string, func(*e2etest.Client) []string) {
	return refused(t, g, "GET */conan_package.tgz"), install
}

// tooYoung: the client names a revision that the upstream's cool-down hides. Conan 1 has revisions
// only where they are enabled.
func tooYoung(t testing.TB, g generation) (string, func(*e2etest.Client) []string) {
	recipe := conantest.Recipe("lib", "1.0", conantest.Owner("demo", "testing"), conantest.HeaderOnly(), conantest.Published(time.Now()))
	origin := conantest.NewServer(t, conantest.Both, recipe, conantest.Package(recipe, append(g.form, conantest.Published(time.Now()))...))
	proxy := over(t, origin.URL, harness.Settings{"min_age": "168h"})
	return proxy.URL(), func(c *e2etest.Client) []string {
		if !c.Two {
			c.Env = append(c.Env, "CONAN_REVISIONS_ENABLED=1")
		}
		return c.InstallArgs("lib/1.0@demo/testing#" + recipe.RRev)
	}
}

// overloaded: upstream has no room for the first requests. The client is told to try again, does so
// and succeeds.
func overloaded(t testing.TB, g generation) (string, func(*e2etest.Client) []string) {
	origin := conantest.NewServer(t, g.api, g.sets()...)
	proxy := over(t, origin.URL)
	origin.Fault(conantest.Fault{Route: "*", Status: http.StatusServiceUnavailable, Count: 2})
	status, header, body := e2etest.Get(t, proxy.URL("v2/conans/lib/1.0/demo/testing/latest"))
	if status == http.StatusServiceUnavailable && header.Get("Retry-After") == "" {
		t.Errorf("503 without Retry-After: %s", body)
	}
	return proxy.URL(), install
}

func uploadWithoutRoom(t testing.TB, _ generation) (string, func(*e2etest.Client) []string) {
	proxy := e2etest.StartConanproxy(t, harness.Settings{"cache": harness.Settings{"min_free": "1000TiB"}})
	return proxy.URL("local"), upload
}

// upload is a command that uploads a package that was made before.
func upload(c *e2etest.Client) []string {
	c.Create(e2etest.Recipe(c.T(), "header"), "demo/testing")
	return c.UploadArgs("header/1.0@demo/testing", "r")
}

func removeOfUpstreams(t testing.TB, g generation) (string, func(*e2etest.Client) []string) {
	origin := conantest.NewServer(t, g.api, g.sets()...)
	return over(t, origin.URL).URL(), func(c *e2etest.Client) []string {
		if c.Two {
			return []string{"remove", "lib/1.0@demo/testing", "-r", "r", "-c"}
		}
		return []string{"remove", "lib/1.0@demo/testing", "-r", "r", "-f"}
	}
}

func noUsers(t testing.TB, _ generation) (string, func(*e2etest.Client) []string) {
	proxy := e2etest.StartConanproxy(t, harness.Settings{"auth": harness.Settings{"htpasswd_file": ""}})
	return proxy.URL("local"), upload
}
