package conformance

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// rightsWorld is a server with an upstream "direct", both with the same packages in three levels of
// secrecy: open, known (to every user) and secret (to ann). demo and ann may write, bob may write
// his own name only.
type rightsWorld struct {
	*site
	levels map[string][]conantest.Set // of each level packages, one with an owner and one without
	absent map[string][]conantest.Set // the same of what is nowhere
}

// TestRights shows what the matrix of rights does not: kept answers, links by checksum and
// signatures.
func TestRights(t *testing.T) {
	t.Parallel()
	w := newRightsWorld(t)
	t.Run("what is kept for one caller is not shown to another", w.keptAnswers)
	t.Run("checksum deploy reveals nothing", w.checksumDeploy)
	t.Run("signatures of downloads", w.downloadSignatures)
	t.Run("signatures of uploads", w.uploadSignatures)
	t.Run("no secret in the log", w.silentLog)
}

func newRightsWorld(t *testing.T) *rightsWorld {
	t.Helper()
	w := &rightsWorld{levels: make(map[string][]conantest.Set), absent: make(map[string][]conantest.Set)}
	var recipes, pkgs []conantest.Set
	for _, level := range []string{"open", "known", "secret"} {
		for _, owner := range [][]conantest.Option{nil, {conantest.Owner("acme", "stable")}} {
			code := conantest.Code("# " + level + fmt.Sprint(len(owner)))
			recipe := conantest.Recipe(level, "1.0", append(owner, code, conantest.Conan1())...)
			pkg := conantest.Package(recipe, conantest.Conan1(), conantest.File("lib/a.a", level+fmt.Sprint(len(owner))))
			recipes, pkgs = append(recipes, recipe), append(pkgs, pkg)
			w.levels[level] = append(w.levels[level], pkg)
			w.absent[level] = append(w.absent[level], conantest.Package(conantest.Recipe(level, "9.9", append(owner, conantest.Conan1())...), conantest.Conan1()))
		}
	}
	up := conantest.NewServer(t, conantest.Both, append(recipes, pkgs...)...)
	w.site = startSite(t, harness.Settings{
		"upstreams": []harness.Settings{harness.Upstream("direct", up.URL)},
		"auth": harness.Settings{
			"read": []harness.Settings{
				{"pattern": "secret/*", "users": []string{"ann"}},
				{"pattern": "known/*", "users": []string{"?"}},
				{"pattern": "*", "users": []string{"*"}},
			},
			"write": []harness.Settings{
				{"pattern": "secret/*", "users": []string{"ann"}},
				{"pattern": "*@{user}/*", "users": []string{"?"}},
				{"pattern": "*", "users": []string{"demo", "ann"}},
			},
		},
	})
	w.publish1(t, "ann", recipes...)
	w.publish1(t, "ann", pkgs...)
	return w
}

// rightsRoute is a route for a package or its recipe.
type rightsRoute struct {
	method, target string
	send           tweak
	write          bool
}

// routesFor are all routes of both APIs that need a right.
func routesFor(pkg conantest.Set) []rightsRoute {
	recipe := pkg.Recipe()
	ref, id := recipe.With(""), pkg.Revision.With("")
	nothing, content := text(""), []byte("x")
	var routes []rightsRoute
	for _, target := range []string{
		path1(recipe), path1(recipe) + "/digest", path1(recipe) + "/download_urls", path1(recipe) + "/search",
		path1(id), path1(id) + "/digest", path1(id) + "/download_urls",
		file1(recipe, conan.RecipeFile), file1(recipe, conan.ManifestFile), file1(id, conan.InfoFile), file1(id, "conan_package.tgz"),
		"/v1/files/" + pkg.Ref.Path() + "/" + pkg.RRev + "/export/" + conan.RecipeFile,
		"/v1/files/" + pkg.Ref.Path() + "/" + pkg.RRev + "/package/" + pkg.PackageID + "/" + pkg.PRev + "/conan_package.tgz",
		path2(ref) + "/latest", path2(ref) + "/revisions", path2(ref) + "/search",
		path2(recipe) + "/files", path2(recipe) + "/search", path2(recipe) + "/search?list_only=True", file2(recipe, conan.RecipeFile),
		path2(id) + "/latest", path2(id) + "/revisions", path2(pkg.Revision) + "/files", file2(pkg.Revision, conan.InfoFile), file2(pkg.Revision, "conan_package.tgz"),
	} {
		routes = append(routes, rightsRoute{http.MethodGet, target, nothing, false}, rightsRoute{http.MethodHead, target, nothing, false})
	}
	write := func(method, target string, send tweak) {
		routes = append(routes, rightsRoute{method, target, send, true})
	}
	write(http.MethodPost, path1(recipe)+"/upload_urls", asJSON(map[string]int{conan.RecipeFile: 1, conan.ManifestFile: 1}))
	write(http.MethodPost, path1(id)+"/upload_urls", asJSON(sizesOf(pkg.Files)))
	write(http.MethodPost, path1(recipe)+"/remove_files", asJSON(map[string]any{"files": []string{"conan_sources.tgz"}}))
	write(http.MethodPost, path1(recipe)+"/packages/delete", asJSON(map[string]any{"package_ids": []string{pkg.PackageID}}))
	write(http.MethodPost, path1(recipe)+"/packages/delete", asJSON(map[string]any{"package_ids": []string{}}))
	write(http.MethodDelete, path1(recipe), nothing)
	for _, target := range []string{
		file1(recipe, conan.RecipeFile), file1(id, conan.InfoFile), file2(recipe, conan.RecipeFile), file2(recipe, "metadata/x"), file2(pkg.Revision, conan.InfoFile), file2(pkg.Revision, "metadata/x"),
	} {
		write(http.MethodPut, target, file(content))
		write(http.MethodPut, target, probe(pkg.Files[conan.InfoFile]))
	}
	for _, target := range []string{file1(recipe, conan.RecipeFile), file1(id, conan.InfoFile)} {
		write(http.MethodPut, target+"/authorize", nothing)
	}
	for _, target := range []string{path2(ref), path2(recipe), path2(recipe) + "/packages", path2(id), path2(pkg.Revision)} {
		write(http.MethodDelete, target, nothing)
	}
	return routes
}

// rightsCaller is somebody who asks.
type rightsCaller struct {
	name string
	who  tweak
	user string // who that is; nobody for the anonymous caller
	bad  bool   // the credentials are
	twin bool   // another caller is the same user

	robot *robotLimits // of a token whose owner is user
}

// callers are everybody.
func (w *rightsWorld) callers(t *testing.T) []rightsCaller {
	t.Helper()
	signature := signatureOf(t, w.urls1(t, "", "ann", w.levels["secret"][0].Revision)[conan.InfoFile])
	return append([]rightsCaller{
		{name: "nobody", who: w.as(t, nobody)},
		{name: "bob", who: w.as(t, "bob"), user: "bob"},
		{name: "bob by password", who: basic("bob", "bob"), user: "bob"},
		{name: "ann", who: w.as(t, "ann"), user: "ann"},
		{name: "ann by password", who: basic("ann", "ann"), user: "ann"},
	}, w.badCallers(t, signature)...)
}

// badCallers are those with credentials that are not valid, among them the signature of a file URL.
// Every wrong password comes from an address of its own.
func (s *site) badCallers(t testing.TB, signature string) []rightsCaller {
	t.Helper()
	ann := s.token(t, "ann")
	parts := strings.Split(ann, ".")
	foreign := claimsOf(t, ann)
	var address atomic.Int32
	wrong := func(user, password string) tweak {
		return func(r *http.Request) {
			n := address.Add(1)
			basic(user, password)(r)
			from(fmt.Sprintf("198.%d.%d.%d", 50+n/62500, n/250%250, n%250))(r)
		}
	}
	return []rightsCaller{
		{name: "wrong password", who: wrong("ann", "wrong"), bad: true},
		{name: "unknown user", who: wrong("zoe", "zoe"), bad: true},
		{name: "expired token", who: bearer(s.expired(t, "ann")), bad: true},
		{name: "broken token", who: bearer(ann[:len(ann)-4] + "AAAA"), bad: true},
		{name: "token of another key", who: bearer(forge("HS256", []byte(strings.Repeat("k", 48)), foreign)), bad: true},
		{name: "token of an empty key", who: bearer(forge("HS256", nil, foreign)), bad: true},
		{name: "token without a signature", who: bearer(forge("none", nil, foreign)), bad: true},
		{name: "token with its signature cut off", who: bearer(parts[0] + "." + parts[1] + "."), bad: true},
		{name: "token of a user who never was", who: bearer(s.with(t, ann, "sub", "zoe")), bad: true},
		{name: "token of nobody", who: bearer(s.with(t, ann, "sub", "")), bad: true},
		{name: "token of another service", who: bearer(s.with(t, ann, "iss", "other")), bad: true},
		{name: "token for ever", who: bearer(s.without(t, ann, "exp")), bad: true},
		{name: "file signature as a token", who: bearer(signature), bad: true},
		{name: "unset", who: bearer("unset"), bad: true},
		{name: "empty token", who: bearer(""), bad: true},
		{name: "another scheme", who: header("Authorization", "Negotiate "+ann), bad: true},
		{name: "a bare token", who: header("Authorization", ann), bad: true},
	}
}

// without is a token that lacks a claim, signed again with the site's own secret.
func (s *site) without(t testing.TB, token, claim string) string {
	t.Helper()
	claims := claimsOf(t, token)
	delete(claims, claim)
	return forge("HS256", s.secret, claims)
}

func (w *rightsWorld) keptAnswers(t *testing.T) {
	for _, level := range []string{"secret", "known"} {
		pkg := w.levels[level][0]
		for range 3 { // kept after the first
			for _, route := range routesFor(pkg) {
				if route.write {
					continue
				}
				w.call(t, route.method, route.target, w.as(t, "ann")).is(t, http.StatusOK)
				w.call(t, route.method, route.target).is(t, http.StatusUnauthorized)
			}
			for _, api := range []string{"v1", "v2"} {
				for _, tt := range []struct {
					user string
					sees bool
				}{{"ann", true}, {nobody, false}, {"bob", level == "known"}, {nobody, false}, {"ann", true}} {
					found := w.found(t, api, "", w.as(t, tt.user))
					if got := slices.Contains(found, pkg.Ref.String()); got != tt.sees {
						t.Errorf("%s search of %q shows %s: %v", api, tt.user, pkg.Ref, got)
					}
				}
			}
		}
		for _, target := range []string{file2(pkg.Revision, conan.InfoFile), file2(pkg.Revision, "conan_package.tgz")} {
			if got := w.call(t, http.MethodGet, target, w.as(t, "ann")).header.Get("Cache-Control"); strings.Contains(got, "public") || got == "" {
				t.Errorf("%s: Cache-Control %q lets caches on the way show it to everybody", target, got)
			}
		}
	}
}

func (w *rightsWorld) checksumDeploy(t *testing.T) {
	secret, open := w.levels["secret"][0], w.levels["open"][0]
	mine := conantest.Recipe("mine", "1.0", conantest.Owner("bob", "testing"))
	w.publish2(t, "bob", mine)
	target := conantest.Package(mine).Revision
	ask := func(user, name string, content []byte) reply {
		t.Helper()
		return w.call(t, http.MethodPut, file2(target, name), w.as(t, user), probe(content))
	}
	unknown := ask("bob", "metadata/x", []byte("bytes that are nowhere")).refuses(t, http.StatusNotFound)
	staged := conantest.Recipe("staged", "1.0", conantest.Owner("ann", "testing"), conantest.Code("# staged only"))
	w.put2(t, "ann", staged, conan.RecipeFile).is(t, http.StatusOK)
	gone := conantest.Recipe("gone", "1.0", conantest.Code("# gone"))
	w.publish2(t, "ann", gone)
	w.call(t, http.MethodDelete, path2(gone.Revision.With("")), w.as(t, "ann")).is(t, http.StatusOK)

	for name, content := range map[string][]byte{
		"of a secret archive":     secret.Files["conan_package.tgz"],
		"of a secret conaninfo":   secret.Files[conan.InfoFile],
		"of a secret manifest":    secret.Files[conan.ManifestFile],
		"of another one's upload": staged.Files[conan.RecipeFile],
		"of a deleted recipe":     gone.Files[conan.RecipeFile],
	} {
		t.Run(name, func(t *testing.T) {
			for _, file := range []string{"metadata/x", "conan_package.tgz", conan.InfoFile} {
				r := ask("bob", file, content).refuses(t, http.StatusNotFound)
				if r.body != unknown.body {
					t.Errorf("%q tells it from unknown bytes: %q", r.body, unknown.body)
				}
			}
			w.call(t, http.MethodGet, file2(target, "metadata/x"), w.as(t, "bob")).refuses(t, http.StatusNotFound)
		})
	}
	// Where he may read, or may not write, or is nobody.
	w.call(t, http.MethodPut, file2(mine.Revision, "metadata/linked"), w.as(t, "bob"), probe(open.Files[conan.InfoFile])).is(t, http.StatusCreated)
	if r := w.call(t, http.MethodGet, file2(mine.Revision, "metadata/linked")).is(t, http.StatusOK); r.body != string(open.Files[conan.InfoFile]) {
		t.Errorf("linked %q", r.body)
	}
	w.call(t, http.MethodPut, file2(open.Recipe(), "metadata/x"), w.as(t, "bob"), probe(open.Files[conan.InfoFile])).refuses(t, http.StatusForbidden)
	w.call(t, http.MethodPut, file2(mine.Revision, "metadata/x"), probe(open.Files[conan.InfoFile])).refuses(t, http.StatusUnauthorized)
	w.call(t, http.MethodPut, file2(secret.Recipe(), "metadata/x"), w.as(t, "ann"), probe(secret.Files[conan.InfoFile])).is(t, http.StatusCreated)
	// By v1 nothing is linked for anybody.
	for _, user := range []string{"bob", "ann"} {
		old := conantest.Recipe("old", "1.0", conantest.Owner(user, "testing"))
		w.call(t, http.MethodPut, file1(old.Revision, conan.RecipeFile), w.as(t, user), probe(secret.Files[conan.InfoFile])).refuses(t, http.StatusNotFound)
		w.call(t, http.MethodPut, file1(old.Revision, conan.RecipeFile), w.as(t, user), probe([]byte("nowhere"))).refuses(t, http.StatusNotFound)
	}
}

func (w *rightsWorld) downloadSignatures(t *testing.T) {
	secret := w.levels["secret"]
	pkg := secret[0]
	urls := w.urls1(t, "", "ann", pkg.Revision)
	target := urls["conan_package.tgz"]
	path, _, _ := strings.Cut(target, "?")
	good := signatureOf(t, target)
	content := string(pkg.Files["conan_package.tgz"])
	for name, u := range w.urls1(t, "", nobody, w.levels["open"][0].Revision) {
		if strings.Contains(u, "signature") {
			t.Errorf("%s, which everybody may read, has a signed URL: %s", name, u)
		}
	}

	t.Run("good", func(t *testing.T) {
		for _, mount := range mounts { // the view for which it was signed has several paths
			if isMountOfAll := !strings.Contains(mount, "local") && !strings.Contains(mount, "direct"); !isMountOfAll {
				w.call(t, http.MethodGet, mount+target).refuses(t, http.StatusForbidden, "another view")
				continue
			}
			if r := w.call(t, http.MethodGet, mount+target).is(t, http.StatusOK); r.body != content {
				t.Errorf("%s: wrong bytes", r.asked)
			}
		}
		w.call(t, http.MethodHead, target).is(t, http.StatusOK)
		w.call(t, http.MethodGet, target+"&more=1").is(t, http.StatusOK)
		w.call(t, http.MethodGet, target, header("Range", "bytes=1-2")).is(t, http.StatusPartialContent)
		w.call(t, http.MethodGet, "/outside"+target, header("X-Forwarded-Prefix", "/outside")).is(t, http.StatusOK)
		for _, c := range w.callers(t) { // it wins over whatever else is sent
			w.call(t, http.MethodGet, target, c.who).is(t, http.StatusOK)
		}
	})
	t.Run("missing", func(t *testing.T) {
		for _, p := range []string{path, path + "?signature=", path + "?Signature=" + good, path + "?sig=" + good, path + "#signature=" + good} {
			if strings.Contains(p, "#") {
				continue // never sent
			}
			w.call(t, http.MethodGet, p).is(t, http.StatusUnauthorized)
			w.call(t, http.MethodGet, p, w.as(t, "bob")).is(t, http.StatusForbidden)
			w.call(t, http.MethodGet, p, w.as(t, "ann")).is(t, http.StatusOK)
		}
	})

	parts := strings.Split(good, ".")
	claims := claimsOf(t, good)
	other := claimsOf(t, good)
	other["path"] = "/v1/files/" + secret[1].Ref.Path()
	otherURLs := w.urls1(t, "", "ann", secret[1].Revision)
	upload := signatureOf(t, w.announce(t, "ann", pkg.Revision, pkg.Files)["conan_package.tgz"])
	bad := map[string][2]string{ // signature, reason
		"nonsense":                  {"x", "broken"},
		"too long":                  {strings.Repeat("x", 10<<10), "broken"},
		"garbled end":               {good[:len(good)-4] + "AAAA", "broken"},
		"garbled claims":            {parts[0] + "." + parts[1][:10] + "A" + parts[1][11:] + "." + parts[2], "broken"},
		"cut off":                   {parts[0] + "." + parts[1] + ".", "broken"},
		"without a key":             {forge("none", nil, claims), "broken"},
		"of an empty key":           {forge("HS256", nil, claims), "broken"},
		"of another key":            {forge("HS256", []byte(strings.Repeat("k", 48)), claims), "broken"},
		"for ever":                  {w.without(t, good, "exp"), "broken"},
		"expired":                   {w.with(t, good, "exp", time.Now().Add(-time.Second).Unix()), "expired"},
		"API token":                 {w.token(t, "ann"), "broken"},
		"of another file":           {signatureOf(t, urls[conan.InfoFile]), "another path"},
		"of another reference":      {signatureOf(t, otherURLs["conan_package.tgz"]), "another path"},
		"of a folder":               {forge("HS256", w.secret, other), "another path"},
		"of the upload of a file":   {upload, "another path"},
		"with the method rewritten": {w.with(t, good, "met", http.MethodPut), "another method"},
	}
	for name, tt := range bad {
		t.Run(name, func(t *testing.T) {
			for _, mount := range []string{"", "/local", "/upstream/direct"} {
				for _, user := range []string{nobody, "bob", "ann"} { // a bad one is bad, whoever sends it
					w.call(t, http.MethodGet, mount+path+"?signature="+tt[0], w.as(t, user)).refuses(t, http.StatusForbidden, tt[1])
				}
			}
			w.call(t, http.MethodHead, path+"?signature="+tt[0]).is(t, http.StatusForbidden)
		})
	}
	t.Run("on other routes", func(t *testing.T) {
		query := "?signature=" + good
		newest := file1(pkg.Revision, "conan_package.tgz")
		w.call(t, http.MethodGet, newest+query).refuses(t, http.StatusForbidden, "another path")
		w.call(t, http.MethodPut, path+query, file(pkg.Files["conan_package.tgz"])).refuses(t, http.StatusForbidden, "another method")
		w.call(t, http.MethodPut, newest+query, file(pkg.Files["conan_package.tgz"])).refuses(t, http.StatusForbidden)
		w.call(t, http.MethodGet, urls[conan.InfoFile][:strings.Index(urls[conan.InfoFile], "?")]+query).refuses(t, http.StatusForbidden)
		for _, route := range routesFor(pkg) {
			if strings.HasPrefix(route.target, "/v1/files/") {
				continue
			}
			target := route.target + query
			if strings.Contains(route.target, "?") {
				target = route.target + "&" + query[1:]
			}
			w.call(t, route.method, target, route.send).is(t, http.StatusUnauthorized) // it counts on the file route only
		}
		w.install1(t, "", "ann", pkg)
	})
}

func (w *rightsWorld) uploadSignatures(t *testing.T) {
	set := conantest.Recipe("secret", "2.0", conantest.Conan1(), conantest.File("a.txt", "a"))
	urls := w.announce(t, "ann", set.Revision, set.Files)
	target := urls[conan.RecipeFile]
	path, _, _ := strings.Cut(target, "?")
	good := signatureOf(t, target)
	content := set.Files[conan.RecipeFile]

	for name, tt := range map[string]struct{ target, says string }{
		"garbled":              {path + "?signature=" + good[:len(good)-4] + "AAAA", "broken"},
		"expired":              {path + "?signature=" + w.with(t, good, "exp", time.Now().Add(-time.Second).Unix()), "expired"},
		"of another file":      {path + "?signature=" + signatureOf(t, urls[conan.ManifestFile]), "another path"},
		"on another name":      {file1(set.Revision, "conan_sources.tgz") + "?signature=" + good, "another path"},
		"on another reference": {strings.Replace(target, "/secret/", "/open/", 1), "another path"},
		"of a download":        {path + "?signature=" + signatureOf(t, w.urls1(t, "", "ann", w.levels["secret"][0].Revision)[conan.InfoFile]), "another path"},
		"API token":            {path + "?signature=" + w.token(t, "ann"), "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, user := range []string{nobody, "bob", "ann"} {
				w.call(t, http.MethodPut, tt.target, w.as(t, user), file(content)).refuses(t, http.StatusForbidden, tt.says)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		w.call(t, http.MethodPut, path, file(content)).refuses(t, http.StatusUnauthorized)
		w.call(t, http.MethodPut, path, w.as(t, "bob"), file(content)).refuses(t, http.StatusForbidden)
	})
	t.Run("reads nothing", func(t *testing.T) {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w.call(t, method, target).is(t, http.StatusForbidden)
		}
		w.call(t, http.MethodDelete, path1(set.Revision)+"?signature="+good).is(t, http.StatusUnauthorized)
	})
	t.Run("of another user", func(t *testing.T) {
		w.call(t, http.MethodPut, path+"?signature="+w.with(t, good, "sub", "bob"), file(content)).refuses(t, http.StatusForbidden, "user of the signed URL")
	})
	t.Run("binds the size", func(t *testing.T) {
		w.call(t, http.MethodPut, target, file(append(slices.Clone(content), 'x'))).refuses(t, http.StatusBadRequest)
	})
	t.Run("in another view", func(t *testing.T) {
		for _, mount := range []string{"/upstream/direct", "/projects/direct/packages/conan", "/local"} {
			w.call(t, http.MethodPut, mount+target, file(content)).refuses(t, http.StatusForbidden, "another view")
		}
		w.call(t, http.MethodPut, target, file(content)).is(t, http.StatusOK)
	})
	t.Run("beside unrelated credentials", func(t *testing.T) {
		for _, name := range []string{"conan_export.tgz", conan.ManifestFile} {
			w.call(t, http.MethodPut, urls[name], basic("someone", "else"), file(set.Files[name])).is(t, http.StatusOK)
		}
		w.install1(t, "", "ann", set)
	})
	t.Run("does not outlive its upload", func(t *testing.T) {
		w.call(t, http.MethodPut, target, file(content)).is(t, http.StatusOK) // the answer may have been lost
		changed := []byte(strings.Replace(string(content), "Recipe", "Altere", 1))
		if r := w.call(t, http.MethodPut, target, file(changed)); r.status != http.StatusConflict && r.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", r.asked, r.status, r.body)
		}
		w.install1(t, "", "ann", set)
	})
}

// silentLog runs last: it looks at what the program said during all of the above.
func (w *rightsWorld) silentLog(t *testing.T) {
	log := w.Log()
	if !strings.Contains(log, "upload_urls") || !strings.Contains(log, "conan_package.tgz") {
		t.Fatal("the log does not tell of requests, so this shows nothing")
	}
	for what, secret := range map[string]string{
		"a token or a signature": "eyJ",
		"basic credentials":      "Ym9iOmJvYg", // bob:bob
		"the signing key":        string(w.secret),
	} {
		if i := strings.Index(log, secret); i >= 0 {
			t.Errorf("the log has %s: …%s…", what, shorten(log[max(0, i-200):]))
		}
	}
}
