package proxy

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// memberWorld is a world whose view reads a private store before its public one and an upstream.
// demo reads all of them, everybody else not the private store.
func memberWorld(t *testing.T, private map[string]string) (*world, *memStore) {
	t.Helper()
	w := hotWorld(t)
	w.local.have(t, "both/1.0#r1", recipeFiles)
	dev := newMemStore("dev", conan.StateLocal, func() time.Time { return w.now })
	dev.changes = w.changes
	for rev, kind := range private {
		dev.have(t, rev, map[string]map[string]string{"recipe": recipeFiles, "package": packageFiles}[kind])
	}
	devMember := resolver.Member{Name: "dev", Store: dev}
	w.server.SetSettings(w.settings(func(o *SettingsOptions) {
		o.Views = []View{
			w.view("all", "", devMember, w.storeMember(), w.upstreamMember()),
			w.view("dev", "/r/dev", devMember),
			w.view("local", "/local", w.storeMember()),
			w.view("conancenter", "/upstream/conancenter", w.upstreamMember()),
		}
		o.Guard = newTestGuard(t, w.directory, []auth.Rule{
			{Pattern: "*", Users: []string{"demo"}, In: []string{"dev"}},
			{Pattern: "*", Users: []string{"*"}, In: []string{"local", "conancenter"}},
		}, writeRules)
	}))
	return w, dev
}

// memberPaths are questions about what is nowhere else, in the public store and upstream too.
var memberPaths = append([]string{
	"/v2/conans/only/1.0/_/_/latest", "/v2/conans/only/1.0/_/_/revisions", "/v2/conans/only/1.0/_/_/revisions/r1/files",
	"/v2/conans/only/1.0/_/_/revisions/r1/files/conanfile.py", "/v2/conans/only/1.0/_/_/revisions/r1/search",
	"/v1/conans/only/1.0/_/_", "/v1/conans/only/1.0/_/_/download_urls", "/v1/conans/only/1.0/_/_/search",
	"/v2/conans/both/1.0/_/_/latest", "/v2/conans/both/1.0/_/_/revisions", "/v2/conans/both/1.0/_/_/revisions/r1/search",
	"/v2/conans/both/1.0/_/_/revisions/r2/files", "/v2/conans/search?q=*", "/v1/conans/search?q=only",
	"/v2/conans/search?q=both%2F1.0%23r*",
}, hotPaths...)

// privateContent is what the private store has or has not.
var privateContent = map[string]string{
	"only/1.0#r1": "recipe", "both/1.0#r2": "recipe", "hello/1.0@demo/testing#r9": "recipe", "hello/1.0@demo/testing#r9:aaa1#p9": "package",
}

// A caller without the right to read a store cannot tell whether something is in it: status, header,
// bytes and the questions to other members are the same, and the store is not asked, also after a
// caller with the right has had its answers.
func TestWhatIsPrivateDoesNotExist(t *testing.T) {
	for _, user := range []string{"", "other"} {
		for _, path := range memberPaths {
			empty, _ := memberWorld(t, nil)
			filled, dev := memberWorld(t, privateContent)
			for range 2 {
				want := empty.do(call{method: http.MethodGet, path: path, user: user})
				asked := dev.questions()
				got := filled.do(call{method: http.MethodGet, path: path, user: user})
				if dev.questions() != asked {
					t.Errorf("%s as %q: the private store was asked", path, user)
				}
				if want.StatusCode != got.StatusCode || !sameBody(bodyOf(t, want), bodyOf(t, got)) {
					t.Errorf("%s as %q: status %d or the body differ from those without private content", path, user, got.StatusCode)
				}
				for _, h := range []http.Header{want.Header, got.Header} {
					h.Del("X-Request-Id")
				}
				if diff := cmp.Diff(want.Header, got.Header); diff != "" {
					t.Errorf("%s as %q: header (-without +with private content):\n%s", path, user, diff)
				}
				if without, with := empty.upstream.questions(), filled.upstream.questions(); without != with {
					t.Errorf("%s as %q: upstream is asked %d times without and %d times with private content", path, user, without, with)
				}
				for _, w := range []*world{empty, filled} {
					w.server.documents.cache.Wait()
				}
			}
		}
	}
}

var signatureText = regexp.MustCompile(`signature=[^"]*`)

// sameBody compares bodies but for signatures, which have times.
func sameBody(a, b string) bool {
	return signatureText.ReplaceAllString(a, "") == signatureText.ReplaceAllString(b, "")
}

// Answers are kept per set of readable members: nobody gets those of another set.
func TestAnswersAreKeptPerReadableMembers(t *testing.T) {
	w, _ := memberWorld(t, privateContent)
	for range 2 {
		for _, tt := range []struct {
			user, path string
			want       int
		}{
			{"demo", "/v2/conans/only/1.0/_/_/latest", 200}, {"other", "/v2/conans/only/1.0/_/_/latest", 404}, {"", "/v2/conans/only/1.0/_/_/latest", 404},
			{"demo", "/r/dev/v2/conans/only/1.0/_/_/latest", 200}, {"other", "/r/dev/v2/conans/only/1.0/_/_/latest", 403}, {"", "/r/dev/v2/conans/only/1.0/_/_/latest", 401},
		} {
			wantStatus(t, w.do(call{method: http.MethodGet, path: tt.path, user: tt.user}), tt.want)
			w.server.documents.cache.Wait()
		}
		wantJSON(t, w.do(call{method: http.MethodGet, path: "/v2/conans/search?q=only", user: "demo"}), `{"results":["only/1.0"]}`)
		wantJSON(t, w.do(call{method: http.MethodGet, path: "/v2/conans/search?q=only", user: "other"}), `{"results":[]}`)
		wantJSON(t, w.get("/v2/conans/search?q=only"), `{"results":[]}`)
	}
	asked := w.local.questions()
	w.do(call{method: http.MethodGet, path: "/v2/conans/search?q=only", user: "mü"})
	if w.local.questions() != asked {
		t.Error("a search is kept per user, not for all with the same rights")
	}
}

// The right to write is that in the store that takes the upload.
func TestWritingNeedsTheRightInTheStore(t *testing.T) {
	w, _ := memberWorld(t, nil)
	w.server.SetSettings(w.settings(func(o *SettingsOptions) {
		o.Guard = newTestGuard(t, w.directory, readRules, []auth.Rule{{Pattern: "*", Users: []string{"demo"}, In: []string{"local"}}, {Pattern: "*", Users: []string{"other"}, In: []string{"dev"}}})
	}))
	put := call{method: http.MethodPut, path: "/local/v2/conans/new/1.0/_/_/revisions/r1/files/conanfile.py", body: "x"}
	for user, want := range map[string]int{"demo": 200, "other": 403, "": 401} {
		put.user = user
		wantStatus(t, w.do(put), want)
	}
}
