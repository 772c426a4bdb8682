package conformance

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// probe is the empty question that clients ask before they send a file to a URL without a
// signature.
func probe(content []byte) tweak {
	return func(r *http.Request) {
		text("")(r)
		r.Header.Set("X-Checksum-Sha1", sha1Hex(content))
		r.Header.Set("X-Checksum-Deploy", "true")
	}
}

func v1Upload(t *testing.T, w *v1World) {
	recipe := conantest.Recipe("upload", "1.0", conantest.Owner("demo", "testing"), conantest.Conan1(), conantest.File("a.txt", "a"), conantest.Source("b.c", "b"))
	pkg := conantest.Package(recipe, conantest.Conan1())
	t.Run("signed", func(t *testing.T) {
		for _, set := range []conantest.Set{recipe, pkg} {
			for name, target := range w.announce(t, "demo", set.Revision, set.Files) {
				if !strings.Contains(target, "?signature=") {
					t.Errorf("%s is to be sent to %s: clients would probe first and send their token", name, target)
				}
			}
			w.publish1(t, "demo", set)
			w.install1(t, "", nobody, set)
		}
	})
	t.Run("unsigned", func(t *testing.T) {
		recipe := conantest.Recipe("upload", "2.0", conantest.Conan1(), conantest.File("a.txt", "a"), conantest.Source("b.c", "b"))
		pkg := conantest.Package(recipe, conantest.Conan1())
		demo := w.as(t, "demo")
		for _, set := range []conantest.Set{recipe, pkg} {
			for _, name := range set.Names() {
				w.call(t, http.MethodPut, file1(set.Revision, name), demo, probe(set.Files[name])).refuses(t, http.StatusNotFound)
				w.call(t, http.MethodPut, file1(set.Revision, name), demo, file(set.Files[name])).is(t, http.StatusOK)
			}
			w.install1(t, "", nobody, set)
		}
	})
}

func v1Probe(t *testing.T, w *v1World) {
	set := conantest.Recipe("probe", "1.0", conantest.Conan1())
	demo := w.as(t, "demo")
	before := w.blobs(t)
	urls := w.announce(t, "demo", set.Revision, set.Files)
	for _, name := range set.Names() {
		for _, target := range []string{file1(set.Revision, name), urls[name]} {
			if r := w.call(t, http.MethodPut, target, demo, probe(set.Files[name])); r.status != http.StatusNotFound && r.status != http.StatusBadRequest {
				t.Errorf("%s: %d, want a refusal", r.asked, r.status)
			}
		}
		w.call(t, http.MethodPut, file1(set.Revision, name), demo, probe(set.Files[name]), header("X-Checksum-Deploy", "TRUE")).refuses(t, http.StatusNotFound)
	}
	// Bytes that are here are not linked on v1 either: old clients take anything but 404 for
	// "stored".
	w.call(t, http.MethodPut, file1(w.hello.Revision, "conanfile.py"), demo, probe(w.hello.Files["conanfile.py"])).refuses(t, http.StatusNotFound)
	w.invisible(t, set)
	if diff := cmp.Diff(before, w.blobs(t)); diff != "" {
		t.Errorf("something was stored:\n%s", diff)
	}
}

func v1ProbeWithBody(t *testing.T, w *v1World) {
	set := conantest.Recipe("probe", "2.0", conantest.Conan1())
	before := w.blobs(t)
	for _, name := range set.Names() {
		for _, send := range []tweak{file(set.Files[name]), chunked(string(set.Files[name]))} {
			w.call(t, http.MethodPut, file1(set.Revision, name), w.as(t, "demo"), send, header("X-Checksum-Deploy", "true")).refuses(t, http.StatusBadRequest)
		}
	}
	w.invisible(t, set)
	if diff := cmp.Diff(before, w.blobs(t)); diff != "" {
		t.Errorf("something was stored:\n%s", diff)
	}
}

func v1EmptyFiles(t *testing.T, w *v1World) {
	recipe := conantest.Recipe("empty", "1.0", conantest.Conan1(), conantest.HeaderOnly())
	pkg := conantest.Package(recipe, conantest.HeaderOnly())
	if len(pkg.Files[conan.InfoFile]) != 0 {
		t.Fatal("the package's conaninfo.txt is not empty")
	}
	w.publish1(t, "demo", recipe, pkg)
	w.install1(t, "", nobody, pkg)

	demo := w.as(t, "demo")
	other := conantest.Recipe("empty", "2.0", conantest.Conan1())
	for _, name := range []string{conan.RecipeFile, conan.ManifestFile} {
		sizes := sizesOf(other.Files)
		sizes[name] = 0
		w.call(t, http.MethodPost, path1(other.Revision)+"/upload_urls", demo, asJSON(sizes)).refuses(t, http.StatusBadRequest, name)
		for _, send := range []tweak{file(nil), chunked("")} {
			w.call(t, http.MethodPut, file1(other.Revision, name), demo, send).refuses(t, http.StatusBadRequest, name)
		}
	}
	w.invisible(t, other)
}

// put is a PUT written by hand, with any length.
func put(target string, length int, body string, headers ...string) string {
	return fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: conan\r\nContent-Length: %d\r\n%s\r\n%s", target, length, strings.Join(headers, ""), body)
}

func v1CutBody(t *testing.T, w *v1World) {
	old := conantest.Recipe("cut", "1.0", conantest.Conan1())
	w.publish1(t, "demo", old)
	set := conantest.Recipe("cut", "1.0", conantest.Conan1(), conantest.Code("# changed"), conantest.File("a.txt", strings.Repeat("a", 1000)))
	urls := w.announce(t, "demo", set.Revision, set.Files)
	token := "Authorization: Bearer " + w.token(t, "demo") + "\r\n"
	for _, name := range set.Names() {
		content := string(set.Files[name])
		for _, sent := range []int{0, 1, len(content) / 2, len(content) - 1} {
			for _, target := range []string{urls[name], file1(set.Revision, name)} {
				w.raw(t, put(target, len(content), content[:sent], token), true).refuses(t, http.StatusConflict, "send it again")
			}
		}
		w.install1(t, "", nobody, old)
	}
	for _, name := range set.Names() { // the same announcement is still good
		w.call(t, http.MethodPut, urls[name], file(set.Files[name])).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)
}

func v1WrongLength(t *testing.T, w *v1World) {
	set := conantest.Recipe("length", "51.0", conantest.Conan1())
	urls := w.announce(t, "demo", set.Revision, set.Files)
	for _, name := range set.Names() {
		content := string(set.Files[name])
		for _, body := range []string{content + "x", content[:len(content)-1]} {
			w.call(t, http.MethodPut, urls[name], text(body)).refuses(t, http.StatusBadRequest)
			w.call(t, http.MethodPut, urls[name], chunked(body)).refuses(t, http.StatusBadRequest)
		}
	}
	w.invisible(t, set)
	for _, name := range set.Names() {
		w.call(t, http.MethodPut, urls[name], chunked(string(set.Files[name]))).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)
}

func v1WrongChecksum(t *testing.T, w *v1World) {
	set := conantest.Recipe("checksum", "1.0", conantest.Conan1())
	urls := w.announce(t, "demo", set.Revision, set.Files)
	for _, name := range set.Names() {
		for _, sum := range []string{sha1Hex([]byte("other")), "abc", strings.Repeat("z", 40)} {
			w.call(t, http.MethodPut, urls[name], file(set.Files[name]), header("X-Checksum-Sha1", sum)).refuses(t, http.StatusBadRequest, "X-Checksum-Sha1")
		}
	}
	w.invisible(t, set)
	for _, name := range set.Names() {
		sum := strings.ToUpper(sha1Hex(set.Files[name]))
		w.call(t, http.MethodPut, urls[name], file(set.Files[name]), header("X-Checksum-Sha1", sum)).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)
}

func v1BadAnnouncements(t *testing.T, w *v1World) {
	set := conantest.Recipe("announced", "1.0", conantest.Conan1())
	demo := w.as(t, "demo")
	for _, name := range []string{
		"..", "../conanfile.py", "../../etc/x", "/etc/x", `..\x`, `conan\file.py`, "a/b", "conanfile.pyc", "Conanfile.py", "conanfile.py ", "cönanfile.py", "",
		"conaninfo.txt", "conan_package.tgz", "conan_sources.txz", "conan_export.tgz.bak", "metadata/x", "conanfile.py\x00", "conanfile.py\n",
	} {
		sizes := sizesOf(set.Files)
		sizes[name] = 10
		w.call(t, http.MethodPost, path1(set.Revision)+"/upload_urls", demo, asJSON(sizes)).refuses(t, http.StatusBadRequest)
	}
	for _, body := range []string{
		"", "{}", "[]", `["conanfile.py"]`, "null", "junk", `"conanfile.py"`, `{"conanfile.py": -1}`, `{"conanfile.py": "10"}`, `{"conanfile.py": null}`,
		`{"conanfile.py": 1.5}`, `{"conanfile.py": 1e30}`, `{"conanfile.py": 9223372036854775807}`, `{"conanfile.py": 10} {}`, `{"conanfile.py": 10`, "\xff",
		`{"conanfile.py": 10,` + strings.Repeat(" ", 1<<20) + `"conanmanifest.txt": 10}`,
	} {
		w.call(t, http.MethodPost, path1(set.Revision)+"/upload_urls", demo, text(body)).refuses(t, http.StatusBadRequest)
	}
	for _, name := range []string{"conanfile.py", "conan_export.tgz", "conan_sources.tgz"} {
		sizes := map[string]int{"conaninfo.txt": 1, "conanmanifest.txt": 1, "conan_package.tgz": 1, name: 1}
		w.call(t, http.MethodPost, path1(w.lib.Revision)+"/upload_urls", demo, asJSON(sizes)).refuses(t, http.StatusBadRequest)
	}
	w.invisible(t, set)
}

func v1AnnouncedNames(t *testing.T, w *v1World) {
	set := conantest.Recipe("names", "1.0", conantest.Conan1(), conantest.File("a.txt", "a"), conantest.Source("b.c", "b"))
	for _, names := range [][]string{
		{"conanfile.py"}, {"conanmanifest.txt", "conanfile.py"}, {"conan_sources.tgz"}, {"conan_export.tgz", "conan_sources.tgz", "conanfile.py", "conanmanifest.txt"},
	} {
		part := make(map[string][]byte)
		for _, name := range names {
			part[name] = set.Files[name]
		}
		for name, target := range w.announce(t, "demo", set.Revision, part) { // wants exactly these
			if path, _, _ := strings.Cut(target, "?"); path != file1(set.Revision, name) {
				t.Errorf("%s is to be sent to %s", name, path)
			}
		}
	}
	for name, target := range w.announce(t, "demo", w.lib.Revision, w.lib.Files) {
		if path, _, _ := strings.Cut(target, "?"); path != file1(w.lib.Revision, name) {
			t.Errorf("%s is to be sent to %s", name, path)
		}
	}
}

func v1FailedFile(t *testing.T, w *v1World) {
	wrong := header("X-Checksum-Sha1", sha1Hex([]byte("damaged")))
	t.Run("announced", func(t *testing.T) {
		set := conantest.Recipe("failed", "1.0", conantest.Conan1())
		urls := w.announce(t, "demo", set.Revision, set.Files)
		w.call(t, http.MethodPut, urls[conan.RecipeFile], file(set.Files[conan.RecipeFile]), wrong).refuses(t, http.StatusBadRequest)
		w.call(t, http.MethodPut, urls[conan.ManifestFile], file(set.Files[conan.ManifestFile])).is(t, http.StatusOK)
		w.invisible(t, set)
		w.publish1(t, "demo", set)
		w.install1(t, "", nobody, set)
	})
	t.Run("not announced", func(t *testing.T) {
		set := conantest.Recipe("failed", "2.0", conantest.Conan1())
		demo := w.as(t, "demo")
		w.call(t, http.MethodPut, file1(set.Revision, conan.RecipeFile), demo, file(set.Files[conan.RecipeFile]), wrong).refuses(t, http.StatusBadRequest)
		w.call(t, http.MethodPut, file1(set.Revision, conan.ManifestFile), demo, file(set.Files[conan.ManifestFile])).refuses(t, http.StatusBadRequest, conan.RecipeFile)
		w.invisible(t, set)
		for _, name := range set.Names() {
			w.call(t, http.MethodPut, file1(set.Revision, name), demo, file(set.Files[name])).is(t, http.StatusOK)
		}
		w.install1(t, "", nobody, set)
	})
	t.Run("package", func(t *testing.T) {
		pkg := conantest.Package(w.hello, conantest.Conan1(), conantest.Setting("os", "Macos"))
		urls := w.announce(t, "demo", pkg.Revision, pkg.Files)
		w.call(t, http.MethodPut, urls["conan_package.tgz"], file(pkg.Files["conan_package.tgz"]), wrong).refuses(t, http.StatusBadRequest)
		w.call(t, http.MethodPut, urls[conan.InfoFile], file(pkg.Files[conan.InfoFile])).is(t, http.StatusOK)
		w.call(t, http.MethodPut, urls[conan.ManifestFile], file(pkg.Files[conan.ManifestFile])).is(t, http.StatusOK)
		w.call(t, http.MethodGet, path1(pkg.Revision)).refuses(t, http.StatusNotFound)
		if _, listed := w.packages1(t, w.hello.Revision)[pkg.PackageID]; listed {
			t.Error("package search lists a package without its archive")
		}
		w.publish1(t, "demo", pkg)
		w.install1(t, "", nobody, pkg)
		w.call(t, http.MethodPost, path1(w.hello.Revision)+"/packages/delete", w.as(t, "demo"), asJSON(map[string]any{"package_ids": []string{pkg.PackageID}})).is(t, http.StatusOK)
	})
}

func v1FailedChange(t *testing.T, w *v1World) {
	old := conantest.Recipe("failedchange", "1.0", conantest.Conan1(), conantest.File("a.txt", "old"))
	w.publish1(t, "demo", old)
	set := conantest.Recipe("failedchange", "1.0", conantest.Conan1(), conantest.File("a.txt", "new"), conantest.Code("# new"))
	for _, failing := range set.Names() {
		urls := w.announce(t, "demo", set.Revision, set.Files)
		for _, name := range set.Names() {
			if name == failing {
				w.call(t, http.MethodPut, urls[name], text("damaged")).refuses(t, http.StatusBadRequest)
				continue
			}
			w.call(t, http.MethodPut, urls[name], file(set.Files[name])).is(t, http.StatusOK)
		}
		w.install1(t, "", nobody, old)
		if diff := cmp.Diff([]string{old.RRev}, ids(w.history(t, "", old.Revision))); diff != "" {
			t.Errorf("revisions:\n%s", diff)
		}
	}
	w.publish1(t, "demo", set)
	w.install1(t, "", nobody, set)
}

func v1ManifestFirst(t *testing.T, w *v1World) {
	set := conantest.Recipe("reversed", "1.0", conantest.Conan1(), conantest.File("a.txt", "a"), conantest.Source("b.c", "b"))
	pkg := conantest.Package(set, conantest.Conan1())
	names := set.Names()
	slices.Reverse(names)
	urls := w.announce(t, "demo", set.Revision, set.Files)
	for _, name := range names {
		w.invisible(t, set)
		w.call(t, http.MethodPut, urls[name], file(set.Files[name])).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)
	names = pkg.Names()
	slices.Reverse(names)
	urls = w.announce(t, "demo", pkg.Revision, pkg.Files)
	for _, name := range names {
		w.call(t, http.MethodGet, path1(pkg.Revision)+"/download_urls").refuses(t, http.StatusNotFound)
		w.call(t, http.MethodPut, urls[name], file(pkg.Files[name])).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, pkg)
}

func v1PartialUpload(t *testing.T, w *v1World) {
	// changed are the files of a set that differ from those of another: what old clients announce.
	changed := func(old, set conantest.Set) map[string][]byte {
		out := maps.Clone(set.Files)
		maps.DeleteFunc(out, func(name string, content []byte) bool { return string(old.Files[name]) == string(content) })
		return out
	}
	send := func(old, set conantest.Set, want ...string) {
		t.Helper()
		files := changed(old, set)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
			t.Fatalf("changed files:\n%s", diff)
		}
		urls := w.announce(t, "demo", set.Revision, files)
		for name, content := range files {
			w.call(t, http.MethodPut, urls[name], file(content)).is(t, http.StatusOK)
		}
		w.install1(t, "", nobody, set)
	}
	archives := []conantest.Option{conantest.Conan1(), conantest.File("a.txt", "a"), conantest.Source("b.c", "b")}
	old := conantest.Recipe("partial", "1.0", archives...)
	w.publish1(t, "demo", old)
	set := conantest.Recipe("partial", "1.0", append(archives, conantest.Code("# new"))...)
	send(old, set, "conanfile.py", "conanmanifest.txt")
	if diff := cmp.Diff([]string{set.RRev, old.RRev}, ids(w.history(t, "", set.Revision))); diff != "" {
		t.Errorf("revisions:\n%s", diff)
	}
	pkg := conantest.Package(set, conantest.Conan1(), conantest.File("a", "1"))
	w.publish1(t, "demo", pkg)
	send(pkg, conantest.Package(set, conantest.Conan1(), conantest.File("a", "2")), "conan_package.tgz", "conanmanifest.txt")

	// What is not sent again and does not fit is missed, and nothing changes.
	third := conantest.Recipe("partial", "1.0", conantest.Conan1(), conantest.File("a.txt", "other"), conantest.Source("b.c", "b"), conantest.Code("# third"))
	part := map[string][]byte{"conanfile.py": third.Files["conanfile.py"], conan.ManifestFile: third.Files[conan.ManifestFile]}
	urls := w.announce(t, "demo", third.Revision, part)
	w.call(t, http.MethodPut, urls["conanfile.py"], file(part["conanfile.py"])).is(t, http.StatusOK)
	w.call(t, http.MethodPut, urls[conan.ManifestFile], file(part[conan.ManifestFile])).refuses(t, http.StatusBadRequest, "conan_export.tgz")
	w.install1(t, "", nobody, set)
}

func v1RemoveFiles(t *testing.T, w *v1World) {
	set := conantest.Recipe("removefiles", "1.0", conantest.Conan1(), conantest.File("a.txt", "a"))
	w.publish1(t, "demo", set)
	demo := w.as(t, "demo")
	remove := func(names ...string) reply {
		return w.call(t, http.MethodPost, path1(set.Revision)+"/remove_files", demo, asJSON(map[string]any{"files": names}))
	}
	remove("conan_export.tgz").refuses(t, http.StatusBadRequest, "conan_export.tgz")
	w.install1(t, "", nobody, set)

	without := conantest.Recipe("removefiles", "1.0", conantest.Conan1(), conantest.Code("# no exports"))
	w.publish1(t, "demo", without)
	w.install1(t, "", nobody, without) // the archive is gone from the snapshot
	remove("conan_export.tgz").is(t, http.StatusOK)
	remove("conan_sources.tgz", "conan_export.tgz").is(t, http.StatusOK)
	remove("conan_sources.tgz", "conanfile.py").refuses(t, http.StatusBadRequest)
	remove(conan.ManifestFile).refuses(t, http.StatusBadRequest)
	w.install1(t, "", nobody, without)
	for _, name := range []string{"../../revisions.txt", "..", "/etc/passwd", "conaninfo.txt", "metadata/../x", ""} {
		remove("conan_export.tgz", name).refuses(t, http.StatusBadRequest)
	}
	for _, body := range []string{"", "{}", `{"files": null}`, `{"files": "conanfile.py"}`, `["conanfile.py"]`, "junk"} {
		w.call(t, http.MethodPost, path1(set.Revision)+"/remove_files", demo, text(body)).refuses(t, http.StatusBadRequest)
	}
	w.call(t, http.MethodPost, "/v1/conans/nothing/1.0/_/_/remove_files", demo, asJSON(map[string]any{"files": []string{"conan_export.tgz"}})).
		refuses(t, http.StatusNotFound)
	if diff := cmp.Diff([]string{without.RRev, set.RRev}, ids(w.history(t, "", set.Revision))); diff != "" {
		t.Errorf("revisions:\n%s", diff)
	}
	w.install2(t, "", nobody, set) // the older revision is as it was
}

func v1NoRecipe(t *testing.T, w *v1World) {
	pkg := conantest.Package(conantest.Recipe("norecipe", "1.0", conantest.Conan1()), conantest.Conan1())
	demo := w.as(t, "demo")
	w.call(t, http.MethodPost, path1(pkg.Revision)+"/upload_urls", demo, asJSON(sizesOf(pkg.Files))).refuses(t, http.StatusNotFound, "Recipe not found", "norecipe/1.0")
	for name, content := range pkg.Files {
		w.call(t, http.MethodPut, file1(pkg.Revision, name), demo, file(content)).refuses(t, http.StatusNotFound)
	}
}

func v1MayNotAnnounce(t *testing.T, w *v1World) {
	for _, set := range []conantest.Set{
		conantest.Recipe("private61", "1.0", conantest.Conan1()),
		conantest.Recipe("private61", "1.0", conantest.Owner("bob", "testing"), conantest.Conan1()),
	} {
		for target, files := range map[string]map[string][]byte{path1(set.Revision): set.Files, path1(set.Revision) + "/packages/" + w.lib.PackageID: w.lib.Files} {
			body := asJSON(sizesOf(files))
			w.call(t, http.MethodPost, target+"/upload_urls", body).refuses(t, http.StatusUnauthorized)
			w.call(t, http.MethodPost, target+"/upload_urls", w.as(t, "bob"), body).refuses(t, http.StatusForbidden, "bob")
		}
		w.announce(t, "ann", set.Revision, set.Files)
	}
	open := conantest.Recipe("open61", "1.0", conantest.Conan1())
	w.call(t, http.MethodPost, path1(open.Revision)+"/upload_urls", asJSON(sizesOf(open.Files))).refuses(t, http.StatusUnauthorized)
}

func v1RefusedLarge(t *testing.T, w *v1World) {
	const size = 24 << 20
	body := strings.Repeat("x", size)
	pkg := file1(w.lib.Revision, "conan_package.tgz")
	for name, tt := range map[string]struct {
		target, header string
		status         int
	}{
		"bad signature": {pkg + "?signature=abc", "", http.StatusForbidden},
		"anonymous":     {pkg, "", http.StatusUnauthorized},
		"no right":      {strings.Replace(pkg, "/hello/", "/frozen/", 1), "Authorization: Bearer " + w.token(t, "bob") + "\r\n", http.StatusForbidden},
		"bad name":      {pkg + "x", "Authorization: Bearer " + w.token(t, "bob") + "\r\n", http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			// The whole body is written before the answer is read, as the client does.
			w.raw(t, put(tt.target, size, body, tt.header), false).refuses(t, tt.status)
		})
	}
}

func v1StorageFails(t *testing.T, w *v1World) {
	set := conantest.Recipe("storage", "1.0", conantest.Conan1())
	urls := w.announce(t, "demo", set.Revision, set.Files)
	temp := filepath.Join(w.data, "blobs", "tmp")
	if err := os.Rename(temp, temp+".away"); err != nil {
		t.Fatal(err)
	}
	for _, name := range set.Names() {
		w.call(t, http.MethodPut, urls[name], file(set.Files[name])).refuses(t, http.StatusConflict, "again")
	}
	if err := os.Rename(temp+".away", temp); err != nil {
		t.Fatal(err)
	}
	w.invisible(t, set)
	for _, name := range set.Names() {
		w.call(t, http.MethodPut, urls[name], file(set.Files[name])).is(t, http.StatusOK)
	}
	w.install1(t, "", nobody, set)
}

// uploadAtOnce sends the files of sets of one reference at the same time; each set is announced.
func (w *v1World) uploadAtOnce(t *testing.T, sets map[string]conantest.Set) {
	t.Helper()
	var all sync.WaitGroup
	for user, set := range sets {
		urls := w.announce(t, user, set.Revision, set.Files)
		all.Go(func() {
			for _, name := range set.Names() {
				r, err := w.try(t, http.MethodPut, urls[name], file(set.Files[name]))
				if err != nil {
					t.Errorf("%s: %v", r.asked, err)
				}
				r.is(t, http.StatusOK)
			}
		})
	}
	all.Wait()
}

func v1TwoUploaders(t *testing.T, w *v1World) {
	for round := range 5 {
		version := fmt.Sprintf("1.%d", round)
		sets := map[string]conantest.Set{
			"ann": conantest.Recipe("two", version, conantest.Conan1(), conantest.File("a.txt", "ann"), conantest.Source("b.c", "ann")),
			"bob": conantest.Recipe("two", version, conantest.Conan1(), conantest.File("a.txt", "bob"), conantest.Source("b.c", "bob")),
		}
		w.uploadAtOnce(t, sets)
		winner := sets["ann"]
		history := ids(w.history(t, "", winner.Revision))
		if history[0] != winner.RRev {
			winner = sets["bob"]
		}
		if len(history) != 2 || history[0] != winner.RRev {
			t.Errorf("revisions %q", history)
		}
		w.install1(t, "", nobody, winner)
		w.install2(t, "", nobody, sets["ann"])
		w.install2(t, "", nobody, sets["bob"])
	}
}

func v1OldURLs(t *testing.T, w *v1World) {
	old := conantest.Recipe("oldurls", "1.0", conantest.Conan1(), conantest.File("a.txt", "old"))
	pkg := conantest.Package(old, conantest.Conan1(), conantest.File("a", "old"))
	w.publish1(t, "demo", old, pkg)
	urls, pkgURLs := w.urls1(t, "", nobody, old.Revision), w.urls1(t, "", nobody, pkg.Revision)
	newer := conantest.Recipe("oldurls", "1.0", conantest.Conan1(), conantest.File("a.txt", "new"), conantest.Code("# new"))
	w.uploadAtOnce(t, map[string]conantest.Set{
		"ann": newer,
		"bob": conantest.Recipe("oldurls", "1.0", conantest.Conan1(), conantest.Code("# third")),
	})
	w.publish1(t, "demo", conantest.Package(newer, conantest.Conan1(), conantest.File("a", "new")))
	w.sameFiles(t, nobody, urls, old)
	w.sameFiles(t, nobody, pkgURLs, pkg)
}

func v1OutlastsSignature(t *testing.T, w *v1World) {
	set := conantest.Recipe("outlasts", "1.0", conantest.Conan1())
	urls := w.announce(t, "demo", set.Revision, set.Files)
	content := string(set.Files[conan.RecipeFile])
	expires := time.Now().Add(4 * time.Second)
	target := file1(set.Revision, conan.RecipeFile) + "?signature=" + w.with(t, signatureOf(t, urls[conan.RecipeFile]), "exp", expires.Unix())
	c := w.dial(t)
	defer c.Close()
	request := put(target, len(content), content[:10])
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(expires.Add(200 * time.Millisecond))) // the server's clock is the system's
	w.call(t, http.MethodPut, target, file([]byte(content))).refuses(t, http.StatusForbidden, "expired")
	if _, err := io.WriteString(c, content[10:]); err != nil {
		t.Fatal(err)
	}
	readReply(t, c, request).is(t, http.StatusOK)
	w.call(t, http.MethodPut, urls[conan.ManifestFile], file(set.Files[conan.ManifestFile])).is(t, http.StatusOK)
	w.install1(t, "", nobody, set)
}

func v1SameAgain(t *testing.T, w *v1World) {
	set := conantest.Recipe("again", "1.0", conantest.Conan1(), conantest.File("a.txt", "a"))
	pkg := conantest.Package(set, conantest.Conan1())
	w.publish1(t, "demo", set, pkg)
	before, beforePkg, urls := w.history(t, "", set.Revision), w.history(t, "", pkg.Revision), w.urls1(t, "", nobody, pkg.Revision)
	w.publish1(t, "demo", set, pkg)
	w.publish1(t, "ann", set, pkg)
	if diff := cmp.Diff(before, w.history(t, "", set.Revision)); diff != "" {
		t.Errorf("recipe revisions (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(beforePkg, w.history(t, "", pkg.Revision)); diff != "" {
		t.Errorf("package revisions (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(urls, w.urls1(t, "", nobody, pkg.Revision)); diff != "" {
		t.Errorf("URLs (-before +after):\n%s", diff)
	}
}

func v1NoOverwriting(t *testing.T, w *v1World) {
	set := conantest.Recipe("frozen", "1.0", conantest.Conan1())
	w.publish1(t, "ann", set)
	other := conantest.Recipe("frozen", "1.0", conantest.Conan1(), conantest.Code("# other"))
	w.call(t, http.MethodPost, path1(other.Revision)+"/upload_urls", w.as(t, "demo"), asJSON(sizesOf(other.Files))).refuses(t, http.StatusForbidden)
	w.install1(t, "", nobody, set)

	w.publish1(t, "ann", other)
	w.install1(t, "", nobody, other)
	w.install2(t, "", nobody, set) // what was there is not overwritten
}

func v1OverConan2(t *testing.T, w *v1World) {
	first := conantest.Recipe("over", "1.0", conantest.File("a.txt", "first"))
	second := conantest.Recipe("over", "1.0", conantest.File("a.txt", "second"))
	pkg := conantest.Package(second)
	w.publish2(t, "demo", first, second, pkg)
	old := conantest.Recipe("over", "1.0", conantest.Conan1(), conantest.Code("# from Conan 1"))
	oldPkg := conantest.Package(old, conantest.Conan1(), conantest.Setting("os", "Macos"))
	w.publish1(t, "demo", old, oldPkg)
	if diff := cmp.Diff([]string{old.RRev, second.RRev, first.RRev}, ids(w.history(t, "", old.Revision))); diff != "" {
		t.Errorf("revisions:\n%s", diff)
	}
	for _, set := range []conantest.Set{first, second, pkg, old, oldPkg} {
		w.install2(t, "", nobody, set)
	}
	w.install1(t, "", nobody, old)
	w.install1(t, "", nobody, oldPkg)
}
