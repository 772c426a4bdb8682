package conformance

import (
	"conanproxy/e2e/e2etest"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

func v1MissingRecipe(t *testing.T, w *v1World) {
	for _, ref := range []string{"nothing/1.0/_/_", "hello/9.9/demo/testing", "hello/1.0/_/_", "nouc/2.0/demo/testing"} {
		for _, route := range []string{"", "/digest", "/download_urls", "/search"} {
			w.call(t, http.MethodGet, "/v1/conans/"+ref+route).refuses(t, http.StatusNotFound)
		}
	}
}

func v1MissingPackage(t *testing.T, w *v1World) {
	for _, id := range []string{strings.Repeat("0", 40), w.big.PackageID + "x"} {
		for _, route := range []string{"", "/digest", "/download_urls"} {
			w.call(t, http.MethodGet, path1(w.hello.Revision)+"/packages/"+id+route).refuses(t, http.StatusNotFound)
		}
	}
}

func v1NoBinaries(t *testing.T, w *v1World) {
	set := conantest.Recipe("nobinaries", "1.0", conantest.Conan1())
	w.publish1(t, "demo", set)
	if r := w.call(t, http.MethodGet, path1(set.Revision)+"/search").is(t, http.StatusOK); r.body != "{}" {
		t.Errorf("body %q, want {}", r.body)
	}
}

func v1Digest(t *testing.T, w *v1World) {
	for _, set := range []conantest.Set{w.hello, w.lib} {
		urls := decode[map[string]string](t, w.call(t, http.MethodGet, path1(set.Revision)+"/digest"))
		if len(urls) != 1 {
			t.Errorf("digest of %s: %v, want the manifest only", set.Revision, urls)
		}
		got := w.call(t, http.MethodGet, urls[conan.ManifestFile]).is(t, http.StatusOK)
		if diff := cmp.Diff(string(set.Files[conan.ManifestFile]), got.body); diff != "" {
			t.Errorf("manifest of %s:\n%s", set.Revision, diff)
		}
	}
}

func v1Staged(t *testing.T, w *v1World) {
	set := conantest.Recipe("staged", "1.0", conantest.Conan1(), conantest.File("a.txt", "a"))
	urls := w.announce(t, "demo", set.Revision, set.Files)
	for _, name := range set.Names() {
		w.invisible(t, set)
		w.call(t, http.MethodPut, urls[name], file(set.Files[name])).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)

	undeclared := conantest.Recipe("staged", "2.0", conantest.Conan1(), conantest.File("a.txt", "a"))
	for _, name := range undeclared.Names() {
		w.invisible(t, undeclared)
		w.call(t, http.MethodPut, file1(undeclared.Revision, name), w.as(t, "demo"), file(undeclared.Files[name])).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, undeclared)
}

// v1URLsResolve joins the URLs of answers as the client does: with the remote's URL as the user
// typed it.
func v1URLsResolve(t *testing.T, w *v1World) {
	private := conantest.Recipe("privateurls", "1.0", conantest.Conan1())
	w.publish1(t, "ann", private)
	front := func(start func(http.Handler) *httptest.Server, prefix string) *httptest.Server {
		target := e2etest.MustURL(t, w.URL())
		proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.URL.Path = strings.TrimPrefix(p.In.URL.Path, prefix)
			p.SetXForwarded()
			if prefix != "" {
				p.Out.Header.Set("X-Forwarded-Prefix", prefix)
			}
		}}
		s := start(proxy)
		t.Cleanup(s.Close)
		return s
	}
	for _, tt := range []struct {
		name   string
		start  func(http.Handler) *httptest.Server
		prefix string
		mount  string
	}{
		{"http", httptest.NewServer, "", ""},
		{"http, another view", httptest.NewServer, "", "/local"},
		{"http, prefix", httptest.NewServer, "/a/conan", ""},
		{"https", httptest.NewTLSServer, "", ""},
		{"https, prefix, another view", httptest.NewTLSServer, "/conan", "/projects/local/packages/conan"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := front(tt.start, tt.prefix)
			for _, slash := range []string{"", "/"} {
				remote := e2etest.MustURL(t, s.URL+tt.prefix+tt.mount+slash)
				for _, set := range []conantest.Set{w.hello, w.lib, private} {
					who := w.as(t, "ann")
					urls := decode[map[string]string](t, fetch(t, s.Client(), remote.String(), strings.TrimPrefix(path1(set.Revision), "/")+"/download_urls", who))
					if len(urls) != len(set.Files) {
						t.Errorf("%d URLs, want %d", len(urls), len(set.Files))
					}
					for name, text := range urls {
						whole := remote.ResolveReference(e2etest.MustURL(t, text)).String()
						if got := fetch(t, s.Client(), whole, "").is(t, http.StatusOK); got.body != string(set.Files[name]) {
							t.Errorf("%s is not %s of %s", whole, name, set.Revision)
						}
					}
				}
			}
		})
	}
}

// fetch gets base/more with some client.
func fetch(t testing.TB, client *http.Client, base, more string, tweaks ...tweak) reply {
	t.Helper()
	if more != "" {
		base = strings.TrimSuffix(base, "/") + "/" + more
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range tweaks {
		change(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", base, err)
	}
	return reply{asked: "GET " + shorten(base), status: resp.StatusCode, header: resp.Header, body: string(body)}
}

func v1TwoHosts(t *testing.T, w *v1World) {
	for _, host := range []string{w.address, "localhost:1234", "conan.example.com"} {
		r := w.call(t, http.MethodGet, path1(w.hello.Revision)+"/download_urls", func(r *http.Request) { r.Host = host })
		for name, text := range decode[map[string]string](t, r) {
			u := e2etest.MustURL(t, text)
			if u.Host != "" && u.Host != host || u.Host == "" && !strings.HasPrefix(text, "/v1/files/") {
				t.Errorf("asked as %s: %s is at %s", host, name, text)
			}
		}
	}
}

func v1FileHeaders(t *testing.T, w *v1World) {
	for _, target := range []string{w.urls1(t, "", nobody, w.big.Revision)["conan_package.tgz"], file1(w.big.Revision, "conan_package.tgz"), file1(w.big.Revision, "conaninfo.txt")} {
		name := target[strings.LastIndexByte(target, '/')+1:]
		r := w.call(t, http.MethodGet, target, header("Accept-Encoding", "gzip, deflate")).is(t, http.StatusOK)
		if got, want := r.header.Get("Content-Length"), strconv.Itoa(len(w.big.Files[name])); got != want {
			t.Errorf("%s: Content-Length %q, want %s", name, got, want)
		}
		if got := r.header.Get("Accept-Ranges"); got != "bytes" {
			t.Errorf("%s: Accept-Ranges %q", name, got)
		}
		if got := r.header.Get("Content-Encoding"); got != "" {
			t.Errorf("%s: Content-Encoding %q", name, got)
		}
		if r.body != string(w.big.Files[name]) {
			t.Errorf("%s: wrong bytes", name)
		}
	}
}

func v1Range(t *testing.T, w *v1World) {
	content := w.big.Files["conan_package.tgz"]
	const at = 300_000
	target := w.urls1(t, "", nobody, w.big.Revision)["conan_package.tgz"]
	r := w.call(t, http.MethodGet, target, header("Range", fmt.Sprintf("bytes=%d-", at))).is(t, http.StatusPartialContent)
	if got, want := r.header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", at, len(content)-1, len(content)); got != want {
		t.Errorf("Content-Range %q, want %q", got, want)
	}
	if r.body != string(content[at:]) {
		t.Errorf("%d wrong bytes", len(r.body))
	}
}

func v1OddRanges(t *testing.T, w *v1World) {
	target := w.urls1(t, "", nobody, w.lib.Revision)["conan_package.tgz"]
	content := w.lib.Files["conan_package.tgz"]
	past := w.call(t, http.MethodGet, target, header("Range", fmt.Sprintf("bytes=%d-", len(content)))).is(t, http.StatusRequestedRangeNotSatisfiable)
	if got, want := past.header.Get("Content-Range"), fmt.Sprintf("bytes */%d", len(content)); got != want {
		t.Errorf("Content-Range %q, want %q", got, want)
	}
	for _, ranges := range []string{"bytes=0-1,4-5", "bytes=0-0, -1", "bytes=" + strings.Repeat("0-1,", 500) + "0-1", "lines=0-1", "bytes"} {
		r := w.call(t, http.MethodGet, target, header("Range", ranges)).is(t, http.StatusOK)
		if r.body != string(content) || strings.Contains(r.header.Get("Content-Type"), "multipart") {
			t.Errorf("Range %s: %d bytes of %s, want the whole file", shorten(ranges), len(r.body), r.header.Get("Content-Type"))
		}
	}
}

func v1Resume(t *testing.T, w *v1World) {
	content := w.big.Files["conan_package.tgz"]
	target := w.urls1(t, "", nobody, w.big.Revision)["conan_package.tgz"]
	relay := conantest.NewRelay(t, w.address)
	through := &site{Conanproxy: w.Conanproxy, address: relay.Address, client: w.client}
	relay.ResetAfter(300_000)
	first, err := through.try(t, http.MethodGet, target)
	if err == nil || len(first.body) == 0 || len(first.body) >= len(content) {
		t.Fatalf("%d bytes and error %v, want a part and an error", len(first.body), err)
	}
	if first.header.Get("Accept-Ranges") != "bytes" {
		t.Fatal("the first answer has no Accept-Ranges: clients would not go on")
	}
	relay.ResetAfter(-1)
	rest := through.call(t, http.MethodGet, target, header("Range", fmt.Sprintf("bytes=%d-", len(first.body)))).is(t, http.StatusPartialContent)
	if first.body+rest.body != string(content) {
		t.Error("the two parts are not the file")
	}
}

func v1Signatures(t *testing.T, w *v1World) {
	set := conantest.Recipe("privatesigned", "1.0", conantest.Conan1())
	w.publish1(t, "ann", set)
	urls := w.urls1(t, "", "ann", set.Revision)
	target := urls["conanfile.py"]
	good := signatureOf(t, target)
	path, _, _ := strings.Cut(target, "?")
	w.call(t, http.MethodGet, target).is(t, http.StatusOK)

	t.Run("missing", func(t *testing.T) {
		for _, p := range []string{path, path + "?signature=", path + "?other=1"} {
			w.call(t, http.MethodGet, p).refuses(t, http.StatusUnauthorized)
			w.call(t, http.MethodGet, p, w.as(t, "bob")).refuses(t, http.StatusForbidden)
			w.call(t, http.MethodGet, p, w.as(t, "ann")).is(t, http.StatusOK)
		}
	})
	upload := signatureOf(t, w.announce(t, "ann", set.Revision, set.Files)["conanfile.py"])
	past := w.with(t, good, "exp", time.Now().Add(-time.Minute).Unix())
	for name, tt := range map[string]struct{ target, says string }{
		"garbled":         {path + "?signature=" + good[:len(good)-4] + "AAAA", "broken"},
		"nonsense":        {path + "?signature=abc", "broken"},
		"expired":         {path + "?signature=" + past, "expired"},
		"of another path": {path + "?signature=" + signatureOf(t, urls[conan.ManifestFile]), "another path"},
		"of an upload":    {file1(set.Revision, "conanfile.py") + "?signature=" + upload, "another method"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, user := range []string{nobody, "ann", "bob"} { // a bad signature is bad, whoever sends it
				w.call(t, http.MethodGet, tt.target, w.as(t, user)).refuses(t, http.StatusForbidden, tt.says)
			}
		})
	}
}

func v1Netrc(t *testing.T, w *v1World) {
	set := conantest.Recipe("privatenetrc", "1.0", conantest.Conan1())
	netrc := basic("someone", "else")
	urls := w.announce(t, "ann", set.Revision, set.Files)
	for name, target := range urls {
		w.call(t, http.MethodPut, target, netrc, file(set.Files[name])).is(t, http.StatusOK)
	}
	for name, target := range w.urls1(t, "", "ann", set.Revision) {
		for _, other := range []tweak{netrc, bearer("of.another.host"), w.as(t, "bob")} {
			if r := w.call(t, http.MethodGet, target, other).is(t, http.StatusOK); r.body != string(set.Files[name]) {
				t.Errorf("%s: wrong bytes", name)
			}
		}
	}
}

func v1Large(t *testing.T, w *v1World) {
	set := conantest.Recipe("large", "1.0", conantest.Conan1())
	pkg := conantest.Package(set, conantest.Conan1(), conantest.Random("lib/large.a", 48<<20))
	w.publish1(t, "demo", set)
	w.constantMemory(t, len(pkg.Files["conan_package.tgz"]), func() { w.publish1(t, "demo", pkg) })
	w.constantMemory(t, len(pkg.Files["conan_package.tgz"]), func() {
		target := w.urls1(t, "", nobody, pkg.Revision)["conan_package.tgz"]
		r := w.call(t, http.MethodGet, target).is(t, http.StatusOK)
		if e2etest.Md5Hex([]byte(r.body)) != e2etest.Md5Hex(pkg.Files["conan_package.tgz"]) {
			t.Error("the large file came back changed")
		}
	})

	const huge = 5 << 30 // does not fit into 32 bits
	sizes := map[string]int64{"conan_package.tgz": huge}
	for name, content := range pkg.Files {
		if name != "conan_package.tgz" {
			sizes[name] = int64(len(content))
		}
	}
	other := path1(set.Revision) + "/packages/" + strings.Repeat("5", 40)
	urls := decode[map[string]string](t, w.call(t, http.MethodPost, other+"/upload_urls", w.as(t, "demo"), asJSON(sizes)))
	begin := func(length int64) string {
		return fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: conan\r\nContent-Length: %d\r\n\r\n%s", urls["conan_package.tgz"], length, pkg.Files["conan_package.tgz"][:1<<20])
	}
	w.raw(t, begin(huge), true).refuses(t, http.StatusConflict, "ended before its end")
	w.raw(t, begin(huge-1<<32), true).refuses(t, http.StatusBadRequest, strconv.FormatInt(huge, 10))
	w.call(t, http.MethodGet, other).refuses(t, http.StatusNotFound)
}

// constantMemory wants the program's peak of memory to rise by less than half of what is
// transferred.
func (s *site) constantMemory(t testing.TB, transferred int, work func()) {
	t.Helper()
	before := s.peakMemory(t)
	work()
	if rise := s.peakMemory(t) - before; rise > transferred/2 {
		t.Errorf("memory rose by %d kB while %d kB were transferred", rise>>10, transferred>>10)
	}
}

func v1OddInfo(t *testing.T, w *v1World) {
	recipe := conantest.Recipe("oddinfo", "1.0", conantest.Conan1())
	w.publish1(t, "demo", recipe)
	plain := func(os string) (conantest.Set, string) {
		pkg := conantest.Package(recipe, conantest.Conan1(), conantest.Setting("os", os), conantest.Choice("shared", "True"))
		return pkg, string(pkg.Files[conan.InfoFile])
	}
	odd := make(map[string]conantest.Set)
	add := func(name, os string, change func(string) string) {
		pkg, info := plain(os)
		odd[name] = withInfo(pkg, change(info))
	}
	add("untouched", "Linux", func(s string) string { return s })
	add("no recipe_hash", "Macos", func(s string) string { return strings.Replace(s, "[recipe_hash]\n    "+recipe.RRev+"\n", "", 1) })
	add("comments", "Windows", func(s string) string {
		return "# first\n" + strings.Replace(s, "[options]", "[options]\n    # comment", 1)
	})
	add("Windows line ends", "FreeBSD", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") })
	add("byte order mark", "SunOS", func(s string) string { return "\ufeff" + s })
	add("no sections known", "AIX", func(s string) string { return "[recipe_hash]\n" + recipe.RRev + "\n[strange]\nx=y\nno equals sign\n[" })
	odd["empty file"] = withInfo(conantest.Package(recipe, conantest.HeaderOnly()), "")
	for _, name := range []string{"untouched", "no recipe_hash", "comments", "Windows line ends", "byte order mark", "no sections known", "empty file"} {
		w.publish1(t, "demo", odd[name])
	}
	found := decode[map[string]map[string]json.RawMessage](t, w.call(t, http.MethodGet, path1(recipe.Revision)+"/search"))
	for name, pkg := range odd {
		entry, ok := found[pkg.PackageID]
		if !ok {
			continue // a broken one may be left out
		}
		for _, key := range []string{"settings", "options"} {
			if !strings.HasPrefix(string(entry[key]), "{") {
				t.Errorf("%s: %s is %s, want an object", name, key, entry[key])
			}
		}
	}
	for _, name := range []string{"untouched", "no recipe_hash", "comments", "Windows line ends"} {
		entry := w.packages1(t, recipe.Revision)[odd[name].PackageID]
		settings, _ := entry["settings"].(map[string]any)
		options, _ := entry["options"].(map[string]any)
		if os, _ := settings["os"].(string); os == "" || strings.ContainsAny(os, "\r\n ") || options["shared"] != "True" || len(options) != 1 {
			t.Errorf("%s: settings %v, options %v", name, settings, options)
		}
		if wantHash := name != "no recipe_hash"; (entry["recipe_hash"] == recipe.RRev) != wantHash {
			t.Errorf("%s: recipe_hash %v", name, entry["recipe_hash"])
		}
	}
}

func v1PackageQuery(t *testing.T, w *v1World) {
	target := path1(w.hello.Revision) + "/search"
	want := w.call(t, http.MethodGet, target).is(t, http.StatusOK).body
	if !strings.Contains(want, w.lib.PackageID) {
		t.Fatalf("package search: %s", want)
	}
	for _, q := range []string{"os=Linux", "os=Windows", "os=Windows AND nonsense", "((("} {
		if got := w.call(t, http.MethodGet, target+"?q="+url.QueryEscape(q)).is(t, http.StatusOK).body; got != want {
			t.Errorf("q=%s: %s", q, got)
		}
	}
}
