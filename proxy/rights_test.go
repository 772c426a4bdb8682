package proxy

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// A caller without the right to read a store cannot tell whether something is in it: status,
// header, bytes and the questions to other members are the same, and the store is not asked, also
// after a caller with the right has had its answers.
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

// A fetch of md5 sums is shared by callers with the same readable members only: the archives of one
// revision differ from member to member.
func TestSumsAreFetchedPerReadableMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		public, private := recipeFiles, changed(recipeFiles, conan.RecipeFile, "class Private")
		w, dev := memberWorld(t, nil)
		w.local.have(t, "sums/1.0#r1", public)
		dev.have(t, "sums/1.0#r1", private)
		hold := make(chan struct{})
		for _, m := range []*memStore{w.local, dev} {
			m.noMD5, m.filling, m.hold = true, true, hold
		}
		var asked sync.WaitGroup
		for user, files := range map[string]map[string]string{"demo": private, "other": public, "": public} {
			asked.Go(func() {
				resp := w.do(call{method: http.MethodGet, path: "/v1/conans/sums/1.0/_/_", user: user})
				if got, want := urlsOf(t, resp)[conan.RecipeFile], infoOf("", []byte(files[conan.RecipeFile])).MD5; got != want {
					t.Errorf("as %q: md5 %s, want %s", user, got, want)
				}
			})
		}
		synctest.Wait()
		if n := len(w.server.sums.running); n != 2 {
			t.Errorf("%d fetches for two sets of readable members", n)
		}
		close(hold)
		asked.Wait()
	})
}

// Caches on the way may keep a file, and its URL for Conan 1 needs no signature, only where
// anonymous callers may read it in every member of the view.
func TestFilesOfAViewWithAPrivateMember(t *testing.T) {
	w, _ := memberWorld(t, nil)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.local.have(t, "hello/1.0@demo/testing#r1:aaa1#p1", packageFiles)
	const ofPackage = "/v2/conans/hello/1.0/demo/testing/revisions/r1/packages/aaa1/revisions/p1/files/"
	for mount, public := range map[string]bool{"": false, "/local": true, "/upstream/conancenter": true} {
		for _, user := range []string{"demo", "other", ""} {
			for _, name := range []string{"conan_package.tgz", conan.InfoFile} {
				want := "private, max-age=31536000, immutable"
				if public {
					want = "public, max-age=31536000, immutable"
				}
				resp := w.do(call{method: http.MethodGet, path: mount + ofPackage + name, user: user})
				if got := resp.Header.Get("Cache-Control"); got != want {
					t.Errorf("%s%s as %q: Cache-Control %q, want %q", mount, name, user, got, want)
				}
			}
			urls := w.do(call{method: http.MethodGet, path: mount + "/v1/conans/hello/1.0/demo/testing/download_urls", user: user})
			for name, url := range urlsOf(t, urls) {
				if signed := strings.Contains(url, "signature="); signed == public {
					t.Errorf("%s as %q: signed is %v for %s", mount, user, signed, name)
				}
			}
		}
	}
}

// Bytes of a store that is no longer configured are linked for no caller, though the rules for all
// members would let the caller read them.
func TestNoLinkFromAStoreThatIsNotConfigured(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0#r1", recipeFiles)
	probe := call{
		method: http.MethodPut, path: "/local/v2/conans/new/1.0/_/_/revisions/r1/files/conanfile.py", user: "demo",
		header: map[string]string{"X-Checksum-Deploy": "true", "X-Checksum-Sha1": infoOf("", []byte(recipeFiles[conan.RecipeFile])).SHA1},
	}
	w.local.name = "retired" // the member that holds the bytes
	wantStatus(t, w.do(probe), http.StatusNotFound)
	w.local.name = "local"
	wantStatus(t, w.do(probe), http.StatusCreated)
}
