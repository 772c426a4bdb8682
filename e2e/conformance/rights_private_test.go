package conformance

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// privateWorld are two servers that differ in the content of the store dev alone, each with an
// upstream that tells what it was asked. ann reads and writes dev, everybody reads release, users
// read the upstream, and bob writes release.
type privateWorld struct {
	sites     [2]*site // without and with private content
	upstreams [2]*conantest.Server
	pkgs      []conantest.Set // what the questions are about
}

func newPrivateWorld(t *testing.T) *privateWorld {
	t.Helper()
	w := &privateWorld{}
	sets := func(name, version, code string) []conantest.Set {
		recipe := conantest.Recipe(name, version, conantest.Conan1(), conantest.Code("# "+code))
		pkg := conantest.Package(recipe, conantest.Conan1(), conantest.File("lib/a.a", code))
		w.pkgs = append(w.pkgs, pkg)
		return []conantest.Set{recipe, pkg}
	}
	public, upstream := sets("both", "1.0", "public"), sets("outer", "1.0", "public")
	private := slices.Concat(sets("both", "1.0", "private"), sets("both", "2.0", "private"),
		sets("outer", "1.0", "private"), sets("only", "1.0", "private"))
	for _, shared := range [][]conantest.Set{public, upstream} { // another binary for a public recipe
		private = append(private, shared[0],
			conantest.Package(shared[0], conantest.Conan1(), conantest.Setting("os", "Windows")))
	}
	w.pkgs = append(w.pkgs, private[len(private)-1])
	rule := func(in []string, users ...string) harness.Settings {
		return harness.Settings{"pattern": "*", "users": users, "in": in}
	}
	dev, release := []string{"dev"}, []string{"release"}
	for i := range w.sites {
		w.upstreams[i] = conantest.NewServer(t, conantest.Both, upstream...)
		w.sites[i] = startSite(t, harness.Settings{
			"stores":    []harness.Settings{{"name": "dev"}, {"name": "release"}},
			"upstreams": []harness.Settings{harness.Upstream("direct", w.upstreams[i].URL)},
			"views": []harness.Settings{
				{"name": "team", "members": []string{"dev", "release", "direct"}, "publish": "release"},
			},
			"auth": harness.Settings{
				"read":  []harness.Settings{rule(dev, "ann"), rule(release, "*"), rule([]string{"direct"}, "?")},
				"write": []harness.Settings{rule(dev, "ann"), rule(release, "ann", "bob")},
			},
		})
	}
	w.sites[0].publishAt(t, "/r/release", "ann", public...)
	w.sites[1].becomes(t, w.sites[0])
	w.sites[1].publishAt(t, "/r/dev", "ann", private...)
	return w
}

// becomes gives the site the data of another, with its times and its secret. Both start again.
func (s *site) becomes(t *testing.T, other *site) {
	t.Helper()
	other.Stop()
	s.Stop()
	if err := os.RemoveAll(s.data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.data, os.DirFS(other.data)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(s.data, "secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	other.Start()
	s.Start()
	maps.Copy(s.tokens, other.tokens)
}

// questions are what a caller without the right to read dev asks about all that is in dev or not.
// They change nothing.
func (w *privateWorld) questions(writesTo string) (routes []rightsRoute) {
	public := w.pkgs[0]
	for _, pkg := range w.pkgs {
		for _, route := range routesFor(pkg) {
			deletes := route.method == http.MethodDelete && (writesTo == "dev" || pkg.Ref != public.Ref)
			if !route.write || deletes {
				routes = append(routes, route)
			}
		}
		// The bytes of the public binary are linked, those of the private ones are not.
		link := probe(pkg.Files["conan_package.tgz"])
		routes = append(routes, rightsRoute{http.MethodPut, file2(public.Recipe(), "metadata/x"), link, true})
	}
	for _, q := range []string{"", "?q=only", "?q=both*", "?q=both%2F1.0%23*", "?q=only%2F*", "?q=both%2F1.0%23" + w.pkgs[2].RRev} {
		for _, api := range []string{"/v1", "/v2"} {
			routes = append(routes, rightsRoute{http.MethodGet, api + "/conans/search" + q, text(""), false})
		}
	}
	return routes
}

// TestWhatIsPrivateDoesNotExist: a caller who may not read a store gets the same status, header and
// bytes, and the same is asked upstream, whether something is in the store or not.
func TestWhatIsPrivateDoesNotExist(t *testing.T) {
	t.Parallel()
	w := newPrivateWorld(t)
	only := path2(w.pkgs[5].Recipe()) + "/files"
	w.sites[0].call(t, http.MethodGet, "/r/dev"+only, w.sites[0].as(t, "ann")).is(t, http.StatusNotFound)
	w.sites[1].call(t, http.MethodGet, "/r/dev"+only, w.sites[1].as(t, "ann")).is(t, http.StatusOK)
	for _, up := range w.upstreams {
		up.ResetLog()
	}
	w.ask(t, nobody)
	for i := range w.upstreams {
		if asked := w.askedUpstream(i); len(asked) > 0 {
			t.Errorf("an upstream is asked for a caller who may not read it:\n%s", strings.Join(asked, "\n"))
		}
	}
	w.ask(t, "bob")
	w.sameUpstream(t)
}

// ask asks both servers all questions, in views that differ in what they read and where they
// publish.
func (w *privateWorld) ask(t *testing.T, user string) {
	t.Helper()
	for _, view := range []struct{ mount, store string }{
		{"/r/team", "release"}, {"", "dev"}, {"/r/dev", "dev"}, {"/projects/team/packages/conan", "release"},
	} {
		for _, route := range w.questions(view.store) {
			var got [2]string
			for i, s := range w.sites {
				got[i] = shown(s.call(t, route.method, view.mount+route.target, s.as(t, user), route.send))
			}
			if diff := cmp.Diff(got[0], got[1]); diff != "" {
				t.Errorf("%s %s as %q (-without +with private content):\n%s", route.method, view.mount+route.target, user, diff)
			}
		}
	}
}

// askedUpstream is what an upstream was asked about packages, sorted.
func (w *privateWorld) askedUpstream(i int) (lines []string) {
	for _, r := range w.upstreams[i].Log() {
		if !strings.HasSuffix(r.Path, "/ping") {
			lines = append(lines, r.String())
		}
	}
	slices.Sort(lines)
	return lines
}

var signatureText = regexp.MustCompile(`signature=[^"]*`)

// shown is all of an answer but its time, its id and the signatures in it.
func shown(r reply) string {
	h := r.header.Clone()
	h.Del("Date")
	h.Del("X-Request-Id")
	if strings.Contains(r.body, "signature=") {
		h.Del("Content-Length") // signatures have times
	}
	return fmt.Sprintf("%d %v\n%q", r.status, h, signatureText.ReplaceAllString(r.body, "signature"))
}

// sameUpstream wants both upstreams to be asked the same, in any order. Files are fetched ahead, so
// the last requests may come after the last answer.
func (w *privateWorld) sameUpstream(t *testing.T) {
	t.Helper()
	asked := w.askedUpstream
	for end := time.Now().Add(10 * time.Second); !slices.Equal(asked(0), asked(1)) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	for _, s := range w.sites {
		s.Stop()
	}
	if len(asked(0)) == 0 {
		t.Error("upstream is asked nothing, so this shows nothing")
	}
	if diff := cmp.Diff(asked(0), asked(1)); diff != "" {
		t.Errorf("asked upstream (-without +with private content):\n%s", diff)
	}
}
