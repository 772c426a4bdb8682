package conformance

import (
	"conanproxy/e2e/e2etest"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// path1 is the path of a recipe or package on the v1 API.
func path1(rev conan.Revision) string {
	p := "/v1/conans/" + rev.Ref.Path()
	if rev.IsPackage() {
		p += "/packages/" + rev.PackageID
	}
	return p
}

// path2 is the path of a node on the v2 API.
func path2(rev conan.Revision) string {
	p := "/v2/conans/" + rev.Ref.Path()
	for _, part := range []struct{ word, id string }{{"revisions", rev.RRev}, {"packages", rev.PackageID}, {"revisions", rev.PRev}} {
		if part.id != "" {
			p += "/" + part.word + "/" + part.id
		}
	}
	return p
}

// file2 is the path of a file on the v2 API.
func file2(rev conan.Revision, name string) string {
	segments := strings.Split(name, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return path2(rev) + "/files/" + strings.Join(segments, "/")
}

// file1 is the path of a file on the v1 API, of the newest revision or of the one that an upload
// makes.
func file1(rev conan.Revision, name string) string {
	p := "/v1/files/" + rev.Ref.Path() + "/0"
	if rev.IsPackage() {
		return p + "/package/" + rev.PackageID + "/0/" + name
	}
	return p + "/export/" + name
}

func sizesOf(files map[string][]byte) map[string]int {
	sizes := make(map[string]int, len(files))
	for name, content := range files {
		sizes[name] = len(content)
	}
	return sizes
}

// announce asks where to send the files of an upload of Conan 1.
func (s *site) announce(t testing.TB, user string, rev conan.Revision, files map[string][]byte) map[string]string {
	t.Helper()
	urls := decode[map[string]string](t, s.call(t, http.MethodPost, path1(rev)+"/upload_urls", s.as(t, user), asJSON(sizesOf(files))))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(urls))); diff != "" {
		t.Fatalf("upload_urls of %s (-asked +answered):\n%s", rev, diff)
	}
	return urls
}

// publish1 uploads sets as Conan 1 does: announced, the files in the order of their names.
func (s *site) publish1(t testing.TB, user string, sets ...conantest.Set) {
	t.Helper()
	for _, set := range sets {
		urls := s.announce(t, user, set.Revision, set.Files)
		for _, name := range set.Names() {
			s.call(t, http.MethodPut, urls[name], file(set.Files[name])).is(t, http.StatusOK)
		}
	}
}

// publish2 uploads sets as Conan 2 does: the files in the order of their names, metadata last.
func (s *site) publish2(t testing.TB, user string, sets ...conantest.Set) {
	t.Helper()
	for _, set := range sets {
		for _, name := range set.Names() {
			s.put2(t, user, set, name).is(t, http.StatusOK)
		}
	}
}

// put2 sends one file of a set on the v2 API. A file without bytes goes chunked, as the client
// sends it.
func (s *site) put2(t testing.TB, user string, set conantest.Set, name string) reply {
	t.Helper()
	send := file(set.Files[name])
	if len(set.Files[name]) == 0 {
		send = chunked("")
	}
	return s.call(t, http.MethodPut, file2(set.Revision, name), s.as(t, user), send)
}

// install1 reads a recipe or package as Conan 1 does, below a mount, and wants the files of the
// set. Only an unsigned URL gets the token.
func (s *site) install1(t testing.TB, mount, user string, set conantest.Set) {
	t.Helper()
	s.sameFiles(t, user, s.urls1(t, mount, user, set.Revision), set)
}

// urls1 is the answer of download_urls.
func (s *site) urls1(t testing.TB, mount, user string, rev conan.Revision) map[string]string {
	t.Helper()
	return decode[map[string]string](t, s.call(t, http.MethodGet, mount+path1(rev)+"/download_urls", s.as(t, user)))
}

// sameFiles fetches what download_urls named and wants the files of the set.
func (s *site) sameFiles(t testing.TB, user string, urls map[string]string, set conantest.Set) {
	t.Helper()
	got := make(map[string]string)
	for name, target := range urls {
		who := s.as(t, user)
		if strings.Contains(target, "signature=") {
			who = s.as(t, nobody)
		}
		got[name] = e2etest.Md5Hex([]byte(s.call(t, http.MethodGet, target, who).is(t, http.StatusOK).body))
	}
	if diff := cmp.Diff(sumsOf(set), got); diff != "" {
		t.Errorf("files of %s (-want +got):\n%s", set.Revision, diff)
	}
}

// install2 reads a revision as Conan 2 does, below a mount, and wants the files of the set.
func (s *site) install2(t testing.TB, mount, user string, set conantest.Set) {
	t.Helper()
	got := make(map[string]string)
	for _, name := range s.files2(t, mount, user, set.Revision) {
		got[name] = e2etest.Md5Hex([]byte(s.call(t, http.MethodGet, mount+file2(set.Revision, name), s.as(t, user)).is(t, http.StatusOK).body))
	}
	if diff := cmp.Diff(sumsOf(set), got); diff != "" {
		t.Errorf("files of %s (-want +got):\n%s", set.Revision, diff)
	}
}

// files2 lists the files of a revision, sorted.
func (s *site) files2(t testing.TB, mount, user string, rev conan.Revision) []string {
	t.Helper()
	type listing struct{ Files map[string]struct{} }
	return slices.Sorted(maps.Keys(decode[listing](t, s.call(t, http.MethodGet, mount+path2(rev)+"/files", s.as(t, user))).Files))
}

// sumsOf maps the names of a set's files to their md5 sums, as a v1 snapshot does.
func sumsOf(set conantest.Set) map[string]string {
	sums := make(map[string]string)
	for name, content := range set.Files {
		sums[name] = e2etest.Md5Hex(content)
	}
	return sums
}

// revisionTime is one entry of a v2 list.
type revisionTime struct{ Revision, Time string }

// history lists the revisions of a recipe, or of a package in a recipe revision, newest first.
func (s *site) history(t testing.TB, mount string, node conan.Revision) []revisionTime {
	t.Helper()
	type list struct{ Revisions []revisionTime }
	return decode[list](t, s.call(t, http.MethodGet, mount+path2(node.With(""))+"/revisions")).Revisions
}

// ids are the revisions of a history.
func ids(history []revisionTime) []string {
	var out []string
	for _, r := range history {
		out = append(out, r.Revision)
	}
	return out
}

// latest is the newest revision of a recipe, or of a package in a recipe revision.
func (s *site) latest(t testing.TB, mount string, node conan.Revision) revisionTime {
	t.Helper()
	return decode[revisionTime](t, s.call(t, http.MethodGet, mount+path2(node.With(""))+"/latest"))
}

// found are the results of a recipe search; query is the raw query, such as "?q=zlib".
func (s *site) found(t testing.TB, api, query string, tweaks ...tweak) []string {
	t.Helper()
	type results struct{ Results []string }
	r := decode[results](t, s.call(t, http.MethodGet, "/"+api+"/conans/search"+query, tweaks...)).Results
	if r == nil {
		t.Fatalf("search %q: the results are null", query)
	}
	return r
}

// packages1 is the package search of a recipe on the v1 API.
func (s *site) packages1(t testing.TB, recipe conan.Revision) map[string]map[string]any {
	t.Helper()
	return decode[map[string]map[string]any](t, s.call(t, http.MethodGet, "/v1/conans/"+recipe.Ref.Path()+"/search"))
}

// packages2 is the package search of a recipe revision on the v2 API.
func (s *site) packages2(t testing.TB, mount string, recipe conan.Revision) map[string]map[string]any {
	t.Helper()
	return decode[map[string]map[string]any](t, s.call(t, http.MethodGet, mount+path2(recipe.Recipe())+"/search"))
}

// invisible wants nothing of a recipe to be seen on any route of either API.
func (s *site) invisible(t testing.TB, set conantest.Set) {
	t.Helper()
	recipe := set.Recipe()
	for _, target := range []string{
		path1(recipe), path1(recipe) + "/digest", path1(recipe) + "/download_urls", path1(recipe) + "/search",
		path2(recipe.With("")) + "/latest", path2(recipe.With("")) + "/revisions", path2(recipe) + "/files", path2(recipe) + "/search",
		file1(recipe, conan.ManifestFile), file2(recipe, conan.ManifestFile), file2(recipe, conan.RecipeFile),
	} {
		s.call(t, http.MethodGet, target).refuses(t, http.StatusNotFound)
	}
	for _, api := range []string{"v1", "v2"} {
		if found := s.found(t, api, "?q="+url.QueryEscape(recipe.Name)); slices.Contains(found, recipe.Ref.String()) {
			t.Errorf("%s search lists %s", api, recipe.Ref)
		}
	}
}

// withInfo is a package with another conaninfo.txt and a manifest that fits it.
func withInfo(pkg conantest.Set, info string) conantest.Set {
	old := e2etest.Md5Hex(pkg.Files[conan.InfoFile])
	manifest := strings.Replace(string(pkg.Files[conan.ManifestFile]), old, e2etest.Md5Hex([]byte(info)), 1)
	pkg = pkg.With(conan.InfoFile, info).With(conan.ManifestFile, manifest)
	return pkg.As(pkg.Manifest().Summary())
}
