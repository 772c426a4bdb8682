package conformance

import (
	"conanproxy/e2e/e2etest"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

func v2NoManifest(t *testing.T, w *v2World) {
	set := conantest.Recipe("nomanifest", "1.0", conantest.File("a.txt", "a"))
	for _, name := range set.Names() {
		w.invisible(t, set)
		w.put2(t, "demo", set, name).is(t, http.StatusOK)
	}
	w.install2(t, "", nobody, set)
	w.order(t, "", set)
}

func v2FailedArchive(t *testing.T, w *v2World) {
	set := conantest.Recipe("failedarchive", "1.0", conantest.File("a.txt", "a"))
	pkg := conantest.Package(set)
	for _, what := range []conantest.Set{set, pkg} { // the recipe is there when its package comes
		archive := "conan_export.tgz"
		if what.IsPackage() {
			archive = "conan_package.tgz"
		}
		w.call(t, http.MethodPut, file2(what.Revision, archive), w.as(t, "demo"), file(what.Files[archive]), header("X-Checksum-Sha1", sha1Hex(nil))).
			refuses(t, http.StatusBadRequest)
		for _, name := range what.Names() {
			switch name {
			case archive:
			case conan.ManifestFile:
				w.put2(t, "demo", what, name).refuses(t, http.StatusBadRequest, archive)
			default:
				w.put2(t, "demo", what, name).is(t, http.StatusOK)
			}
		}
		w.call(t, http.MethodGet, path2(what.Revision)+"/files").refuses(t, http.StatusNotFound)
		w.call(t, http.MethodGet, path2(what.Revision.With(""))+"/revisions").refuses(t, http.StatusNotFound)
		w.publish2(t, "demo", what) // what the client does next, since the revision is not listed
		w.install2(t, "", nobody, what)
	}
}

func v2CutBody(t *testing.T, w *v2World) {
	set := conantest.Recipe("cut", "2.0", conantest.File("a.txt", strings.Repeat("a", 1000)))
	token := "Authorization: Bearer " + w.token(t, "demo") + "\r\n"
	for _, name := range set.Names() {
		content := string(set.Files[name])
		for _, sent := range []int{0, len(content) / 2, len(content) - 1} {
			w.raw(t, put(file2(set.Revision, name), len(content), content[:sent], token), true).refuses(t, http.StatusConflict)
		}
		half := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: conan\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", file2(set.Revision, name), token, len(content)/2, content[:len(content)/2])
		w.raw(t, half, true).refuses(t, http.StatusConflict)
		w.invisible(t, set)
	}
	w.publish2(t, "demo", set)
	w.install2(t, "", nobody, set)

	// Nor is a published file touched.
	content := string(set.Files[conan.ManifestFile])
	w.raw(t, put(file2(set.Revision, conan.ManifestFile), len(content), content[:20], token), true).refuses(t, http.StatusConflict)
	w.install2(t, "", nobody, set)
}

func v2WrongChecksum(t *testing.T, w *v2World) {
	set := conantest.Recipe("checksum", "2.0").With("metadata/log.txt", "log")
	before := w.blobs(t)
	for _, name := range set.Names() {
		for _, sum := range []string{sha1Hex([]byte("other")), "abc", strings.Repeat("z", 40)} {
			w.call(t, http.MethodPut, file2(set.Revision, name), w.as(t, "demo"), file(set.Files[name]), header("X-Checksum-Sha1", sum)).
				refuses(t, http.StatusBadRequest, "X-Checksum-Sha1")
		}
	}
	w.invisible(t, set)
	if diff := cmp.Diff(before, w.blobs(t)); diff != "" {
		t.Errorf("something was stored:\n%s", diff)
	}
}

func v2EmptyInfo(t *testing.T, w *v2World) {
	set := conantest.Recipe("headeronly", "1.0", conantest.HeaderOnly())
	pkg := conantest.Package(set, conantest.HeaderOnly()).With("metadata/empty.log", "")
	if pkg.PackageID != "da39a3ee5e6b4b0d3255bfef95601890afd80709" || len(pkg.Files[conan.InfoFile]) != 0 {
		t.Fatalf("%s is no package without settings", pkg.Revision)
	}
	w.publish2(t, "demo", set, pkg) // empty files go chunked
	w.install2(t, "", nobody, pkg)
	r := w.call(t, http.MethodGet, file2(pkg.Revision, conan.InfoFile)).is(t, http.StatusOK)
	if r.body != "" || r.header.Get("Content-Length") != "0" {
		t.Errorf("body %q, Content-Length %q", r.body, r.header.Get("Content-Length"))
	}
	if found := w.packages2(t, "", set.Revision); found[pkg.PackageID]["content"] != "" {
		t.Errorf("package search: %v", found)
	}
}

func v2Large(t *testing.T, w *v2World) {
	set := conantest.Recipe("large", "1.0")
	pkg := conantest.Package(set, conantest.Random("lib/large.a", 48<<20))
	w.publish2(t, "demo", set)
	size := len(pkg.Files["conan_package.tgz"])
	w.constantMemory(t, size, func() {
		started := time.Now()
		w.publish2(t, "demo", pkg)
		if took := time.Since(started); took > 50*time.Second {
			t.Errorf("the upload took %v", took)
		}
	})
	w.constantMemory(t, size, func() {
		if r := w.call(t, http.MethodGet, file2(pkg.Revision, "conan_package.tgz")).is(t, http.StatusOK); e2etest.Md5Hex([]byte(r.body)) != e2etest.Md5Hex(pkg.Files["conan_package.tgz"]) {
			t.Error("the large file came back changed")
		}
	})
	other := pkg.Revision
	other.PackageID = strings.Repeat("5", 40)
	token := "Authorization: Bearer " + w.token(t, "demo") + "\r\n"
	w.raw(t, put(file2(other, "conan_package.tgz"), 5<<30, string(pkg.Files["conan_package.tgz"][:1<<20]), token), true).refuses(t, http.StatusConflict)
	w.call(t, http.MethodGet, path2(other)+"/files").refuses(t, http.StatusNotFound)
}

func v2ProbeUnknown(t *testing.T, w *v2World) {
	set := conantest.Recipe("probe", "1.0", conantest.Code("# unheard of"))
	before := w.blobs(t)
	for _, name := range set.Names() {
		w.call(t, http.MethodPut, file2(set.Revision, name), w.as(t, "demo"), probe(set.Files[name])).refuses(t, http.StatusNotFound)
		w.call(t, http.MethodPut, file2(set.Revision, name), w.as(t, "demo"), text(""), header("X-Checksum-Deploy", "true")).refuses(t, http.StatusNotFound)
		w.call(t, http.MethodPut, file2(set.Revision, name), w.as(t, "demo"), file(set.Files[name]), header("X-Checksum-Deploy", "true")).refuses(t, http.StatusBadRequest)
	}
	w.invisible(t, set)
	if diff := cmp.Diff(before, w.blobs(t)); diff != "" {
		t.Errorf("something was stored:\n%s", diff)
	}
}

func v2ProbeKnown(t *testing.T, w *v2World) {
	if r := w.call(t, http.MethodGet, "/v1/ping"); !strings.Contains(r.header.Get("X-Conan-Server-Capabilities"), "checksum_deploy") {
		t.Error("checksum_deploy is not announced")
	}
	// The same content under another channel: every byte is here.
	set := conantest.Recipe("known", "1.0", conantest.Owner("demo", "testing"), conantest.File("a.txt", "a"))
	pkg := conantest.Package(set)
	w.publish2(t, "demo", set, pkg)
	copied, copiedPkg := set, pkg
	copied.Channel, copiedPkg.Channel = "stable", "stable"
	for _, what := range []conantest.Set{copied, copiedPkg} {
		for _, name := range what.Names() {
			w.call(t, http.MethodPut, file2(what.Revision, name), w.as(t, "ann"), probe(what.Files[name])).is(t, http.StatusCreated)
		}
		w.install2(t, "", nobody, what)
	}
	// What is linked outlives what it was linked to.
	w.call(t, http.MethodDelete, path2(set.Revision.With("")), w.as(t, "demo")).is(t, http.StatusOK)
	w.install2(t, "", nobody, copied)
	w.install2(t, "", nobody, copiedPkg)
}

func v2NoRecipe(t *testing.T, w *v2World) {
	pkg := conantest.Package(conantest.Recipe("norecipe", "1.0"))
	for _, name := range pkg.Names() {
		w.put2(t, "demo", pkg, name).refuses(t, http.StatusNotFound, "Recipe not found", "norecipe/1.0")
	}
	unknown := conantest.Package(conantest.Recipe("hello", "1.0", conantest.Code("# another revision")))
	w.put2(t, "demo", unknown, conan.InfoFile).refuses(t, http.StatusNotFound)
}

func v2MetadataNames(t *testing.T, w *v2World) {
	set := conantest.Recipe("metadata", "1.0")
	pkg := conantest.Package(set)
	w.publish2(t, "demo", set, pkg)
	// What the client puts on the wire, and the name that it means.
	names := map[string]string{
		"metadata/logs/a%20b.log":     "metadata/logs/a b.log",
		"metadata/i+j.txt":            "metadata/i+j.txt",
		"metadata/k;l":                "metadata/k;l",
		"metadata/%C3%BC":             "metadata/ü",
		"metadata/100%25":             "metadata/100%",
		"metadata/sign/x.sig":         "metadata/sign/x.sig",
		"metadata/a/b/c/d/e":          "metadata/a/b/c/d/e",
		"metadata/conanfile.py":       "metadata/conanfile.py",
		"metadata/(x)[y]{z}'%22~!@$&": `metadata/(x)[y]{z}'"~!@$&`,
	}
	for _, what := range []conantest.Set{set, pkg} {
		for wire, name := range names {
			target := path2(what.Revision) + "/files/" + wire
			w.call(t, http.MethodPut, target, w.as(t, "demo"), file([]byte("content of "+name))).is(t, http.StatusOK)
			if r := w.call(t, http.MethodGet, target).is(t, http.StatusOK); r.body != "content of "+name {
				t.Errorf("%s: %q", name, r.body)
			}
			if !slices.Contains(w.files2(t, "", nobody, what.Revision), name) {
				t.Errorf("%s is not listed", name)
			}
		}
		for _, wire := range []string{"metadata/", "metadata", "metadata/../x", "metadata/%2e%2e/x", "metadata/a//b", "metadata/a%5Cb", "metadata/a%0Ab", "metadata/" + strings.Repeat("x", 2000)} {
			if r := w.call(t, http.MethodPut, path2(what.Revision)+"/files/"+wire, w.as(t, "demo"), file([]byte("x"))); r.status != http.StatusBadRequest && r.status != http.StatusNotFound {
				t.Errorf("%s: %d", r.asked, r.status)
			}
		}
	}
	// Metadata that comes before the rest is seen with the rest.
	early := conantest.Recipe("metadata", "2.0").With("metadata/build.log", "log")
	w.put2(t, "demo", early, "metadata/build.log").is(t, http.StatusOK)
	w.invisible(t, early)
	w.publish2(t, "demo", early)
	w.install2(t, "", nobody, early)
}

func v2MetadataLater(t *testing.T, w *v2World) {
	sets := w.threeRecipes(t, "metadatalater")
	pkg := conantest.Package(sets[0])
	w.publish2(t, "demo", pkg)
	before, beforePkg := w.history(t, "", sets[0].Revision), w.history(t, "", pkg.Revision)
	for _, content := range []string{"first", "second"} {
		later, laterPkg := sets[0].With("metadata/later.log", content), pkg.With("metadata/later.log", content)
		w.put2(t, "demo", later, "metadata/later.log").is(t, http.StatusOK)
		w.put2(t, "ann", laterPkg, "metadata/later.log").is(t, http.StatusOK)
		w.install2(t, "", nobody, later)
		w.install2(t, "", nobody, laterPkg)
	}
	if diff := cmp.Diff(before, w.history(t, "", sets[0].Revision)); diff != "" {
		t.Errorf("recipe revisions (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(beforePkg, w.history(t, "", pkg.Revision)); diff != "" {
		t.Errorf("package revisions (-before +after):\n%s", diff)
	}
}

func v2Compression(t *testing.T, w *v2World) {
	for i, ending := range []string{"tzst", "txz"} {
		set := conantest.Recipe("compression", fmt.Sprintf("%d.0", i+1), conantest.Compression(ending), conantest.File("a.txt", "a"), conantest.Source("b.c", "b"))
		pkg := conantest.Package(set, conantest.Compression(ending))
		w.publish2(t, "demo", set, pkg)
		w.install2(t, "", nobody, set)
		w.install2(t, "", nobody, pkg)
		gz := conantest.Package(set)
		if gz.Revision != pkg.Revision {
			t.Fatal("the same content should have the same revision")
		}
		if r := w.put2(t, "demo", gz, "conan_package.tgz"); r.status != http.StatusConflict && r.status != http.StatusForbidden && r.status != http.StatusOK {
			t.Errorf("a second archive: %d %s", r.status, r.body)
		}
		archives := slices.DeleteFunc(w.files2(t, "", nobody, pkg.Revision), func(name string) bool { return !strings.HasPrefix(name, "conan_package") })
		if len(archives) != 1 {
			t.Errorf("listed together: %q", archives)
		}
	}
	// Two archives in one upload.
	set := conantest.Recipe("compression", "3.0")
	w.publish2(t, "demo", set)
	pkg := conantest.Package(set)
	zst := conantest.Package(set, conantest.Compression("tzst"))
	w.put2(t, "demo", pkg, "conan_package.tgz").is(t, http.StatusOK)
	w.put2(t, "demo", zst, "conan_package.tzst").refuses(t, http.StatusConflict, "conan_package.tgz")
	w.publish2(t, "demo", pkg)
	w.install2(t, "", nobody, pkg)
}

func v2ParallelUploads(t *testing.T, w *v2World) {
	set := conantest.Recipe("parallel", "1.0")
	w.publish2(t, "demo", set)
	var all sync.WaitGroup
	var pkgs []conantest.Set
	who := w.as(t, "demo")
	for i := range 8 {
		pkg := conantest.Package(set, conantest.Setting("os.version", fmt.Sprint(i)))
		pkgs = append(pkgs, pkg)
		all.Go(func() {
			for _, name := range pkg.Names() {
				r, err := w.try(t, http.MethodPut, file2(pkg.Revision, name), who, file(pkg.Files[name]))
				if err != nil {
					t.Error(err)
				}
				r.is(t, http.StatusOK)
			}
		})
	}
	all.Wait()
	if n := len(w.packages2(t, "", set.Revision)); n != len(pkgs) {
		t.Errorf("%d packages, want %d", n, len(pkgs))
	}
	for _, pkg := range pkgs {
		w.order(t, "", pkg)
		w.install2(t, "", nobody, pkg)
	}
}

func v2ReaderDuringUpload(t *testing.T, w *v2World) {
	set := conantest.Recipe("during", "1.0", conantest.File("a.txt", "a"))
	pkg := conantest.Package(set, conantest.Random("lib/a.a", 100_000))
	w.publish2(t, "demo", set, pkg)
	sets := []conantest.Set{set, pkg}
	who := w.as(t, "demo")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 {
			for _, what := range sets {
				for _, name := range what.Names() {
					if r, err := w.try(t, http.MethodPut, file2(what.Revision, name), who, file(what.Files[name])); err != nil || r.status != http.StatusOK {
						t.Errorf("%s: %d %s, %v", r.asked, r.status, r.body, err)
					}
				}
			}
		}
	}()
	for rounds := 0; ; rounds++ {
		for _, what := range sets {
			w.install2(t, "", nobody, what)
			w.order(t, "", what)
		}
		select {
		case <-done:
			if rounds == 0 {
				w.install2(t, "", nobody, pkg)
			}
			return
		default:
		}
	}
}

func v2UserOnly(t *testing.T, w *v2World) {
	set := conantest.Recipe("useronly", "2.0", conantest.Owner("solo", ""))
	pkg := conantest.Package(set)
	if !strings.Contains(path2(set.Revision), "/useronly/2.0/solo/_/") {
		t.Fatalf("path %s", path2(set.Revision))
	}
	w.publish2(t, "demo", set, pkg)
	w.install2(t, "", nobody, set)
	w.install2(t, "", nobody, pkg)
	for _, q := range []string{"useronly", "useronly/2.0@solo", "*@solo", "useronly/*@solo"} {
		if diff := cmp.Diff([]string{"useronly/2.0@solo"}, w.found(t, "v2", "?q="+url.QueryEscape(q))); diff != "" {
			t.Errorf("q=%s:\n%s", q, diff)
		}
	}
	w.call(t, http.MethodGet, "/v2/conans/useronly/2.0/_/_/latest").refuses(t, http.StatusNotFound)
	w.call(t, http.MethodGet, "/v2/conans/useronly/2.0/_/solo/latest").refuses(t, http.StatusNotFound)
	w.call(t, http.MethodPut, "/v2/conans/useronly/2.0/_/solo/revisions/"+set.RRev+"/files/conanfile.py", w.as(t, "demo"), file([]byte("x"))).refuses(t, http.StatusBadRequest)
}

func v2UpperCase(t *testing.T, w *v2World) {
	for _, target := range []string{"/v2/conans/HELLO/1.0/_/_/latest", "/v2/conans/Hello/1.0/_/_/revisions", strings.Replace(path2(w.hello.Revision), "hello", "hEllo", 1) + "/files", "/V2/conans/hello/1.0/_/_/latest", "/v2/CONANS/hello/1.0/_/_/latest"} {
		w.call(t, http.MethodGet, target).refuses(t, http.StatusNotFound)
	}
	w.call(t, http.MethodGet, path2(w.hello.Revision.With(strings.ToUpper(w.hello.RRev)))+"/files").refuses(t, http.StatusNotFound)
	set := conantest.Recipe("Upper", "1.0")
	w.publish2(t, "demo", set)
	w.install2(t, "", nobody, set)
	w.call(t, http.MethodGet, "/v2/conans/upper/1.0/_/_/latest").refuses(t, http.StatusNotFound)
}
