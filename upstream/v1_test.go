package upstream

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// manifestOf writes a manifest with a time over file contents.
func manifestOf(seconds int, files map[string]string) string {
	var lines []string
	for name, content := range files {
		lines = append(lines, name+": "+md5Of(content))
	}
	sort.Strings(lines)
	return fmt.Sprintf("%d\n%s\n", seconds, strings.Join(lines, "\n"))
}

// summaryOf is the revision that a manifest makes.
func summaryOf(manifest string) string {
	_, lines, _ := strings.Cut(manifest, "\n")
	return md5Of(lines)
}

// v1Server is a server without revisions. Its folders are keyed by "zlib/1.3/_/_" or
// "zlib/1.3/_/_/packages/PID"; the hooks make it odd.
type v1Server struct {
	mu       sync.Mutex
	folders  map[string]map[string]string
	found    string // answer of package search
	noSums   bool   // has no route for recipe snapshots, as some servers
	urlForm  string // of file URLs: %s is folder/file; default root-relative
	epoch    int    // changes signatures; older ones are refused
	digest   string // fixed answer of digest
	onAsk    func(path string)
	onServed func(path string)
}

func (s *v1Server) set(folder string, files map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.folders[folder] = files
}

func (s *v1Server) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
}

func (s *v1Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if s.onAsk != nil {
		s.onAsk(req.URL.Path)
	}
	s.mu.Lock()
	if name, ok := strings.CutPrefix(req.URL.Path, "/v1/files/"); ok {
		s.file(w, req, name)
	} else {
		s.document(w, strings.TrimPrefix(req.URL.Path, "/v1/conans/"))
	}
	s.mu.Unlock()
	if s.onServed != nil {
		s.onServed(req.URL.Path)
	}
}

func (s *v1Server) file(w http.ResponseWriter, req *http.Request, path string) {
	i := strings.LastIndex(path, "/")
	content, ok := s.folders[path[:i]][path[i+1:]]
	if !ok || req.URL.Query().Get("signature") != itoa(s.epoch) {
		notFoundPage(w)
		return
	}
	io.WriteString(w, content)
}

func (s *v1Server) document(w http.ResponseWriter, path string) {
	folder, what := path, ""
	for _, suffix := range []string{"digest", "download_urls", "search"} {
		if rest, ok := strings.CutSuffix(path, "/"+suffix); ok {
			folder, what = rest, suffix
		}
	}
	files, ok := s.folders[folder]
	recipe := !strings.Contains(folder, "/packages/")
	answer := make(map[string]string)
	switch {
	case !ok, what == "" && s.noSums && recipe, what == "digest" && files[conan.ManifestFile] == "" && s.digest == "":
		notFoundPage(w)
		return
	case what == "search":
		jsonBody(s.found)(w, nil)
		return
	case what == "digest" && s.digest != "":
		jsonBody(s.digest)(w, nil)
		return
	}
	for name, content := range files {
		switch {
		case what == "":
			answer[name] = md5Of(content)
		case what == "download_urls" || name == conan.ManifestFile:
			form := s.urlForm
			if form == "" {
				form = "/v1/files/%s"
			}
			answer[name] = fmt.Sprintf(form, folder+"/"+name) + "?signature=" + itoa(s.epoch)
		}
	}
	body, _ := json.Marshal(answer)
	jsonBody(string(body))(w, nil)
}

const (
	v1Recipe  = "zlib/1.3/_/_"
	v1Package = v1Recipe + "/packages/" + pid
)

// zlibServer has a recipe and a package; it returns their manifests too.
func zlibServer() (s *v1Server, recipe, pkg string) {
	recipeFiles := map[string]string{conan.RecipeFile: "import os", "conan_export.tgz": "\x1f\x8bexport"}
	recipe = manifestOf(1767323045, map[string]string{conan.RecipeFile: "import os", "readme.md": "hi"})
	recipeFiles[conan.ManifestFile] = recipe
	pkg = manifestOf(1767323046, map[string]string{conan.InfoFile: "[settings]", "lib/z.a": "z"})
	packageFiles := map[string]string{conan.InfoFile: "[settings]", "conan_package.tgz": "\x1f\x8bpackage", conan.ManifestFile: pkg}
	return &v1Server{folders: map[string]map[string]string{v1Recipe: recipeFiles, v1Package: packageFiles}}, recipe, pkg
}

func newV1(t *testing.T, s *v1Server) (*Remote, *fake) {
	return newFake(t, Options{Protocol: "v1"}, s.ServeHTTP)
}

func TestV1Revisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, recipe, pkg := zlibServer()
		r, f := newV1(t, s)
		ref := mustRef(t, "zlib/1.3")
		got, err := r.Revisions(t.Context(), conan.Revision{Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		want := []conan.RevisionTime{{ID: summaryOf(recipe), Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		latest, err := r.Latest(t.Context(), conan.Revision{Ref: ref, RRev: summaryOf(recipe), PackageID: pid})
		if want := (conan.RevisionTime{ID: summaryOf(pkg), Time: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)}); latest != want || err != nil {
			t.Errorf("package: %v, %v, want %v", latest, err, want)
		}
		// Digest, manifest and the list that the manifest is compared with, of each.
		if n := len(f.asked()); n != 6 {
			t.Errorf("asked %d times, want 6: %q", n, f.asked())
		}
		for name, rev := range map[string]conan.Revision{
			"unknown recipe":              {Ref: mustRef(t, "zlib/1.4")},
			"unknown package":             {Ref: ref, RRev: summaryOf(recipe), PackageID: emptyID},
			"package of another recipe":   {Ref: ref, RRev: rrev, PackageID: pid},
			"reference that v1 cannot be": {Ref: mustRef(t, "zlib/1.3@solo")},
			"version that v1 cannot be":   {Ref: mustRef(t, "zlib/1")},
		} {
			if got, err := r.Latest(t.Context(), rev); word(err) != "not found" {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
	})
}

func TestV1FirstSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := zlibServer()
		s.folders[v1Recipe][conan.ManifestFile] = manifestOf(0, map[string]string{conan.RecipeFile: "import os"})
		r, _ := newV1(t, s)
		seen := time.Now()
		for range 2 {
			got, err := r.Latest(t.Context(), conan.Revision{Ref: mustRef(t, "zlib/1.3")})
			if err != nil || !got.Time.Equal(seen) {
				t.Errorf("got %v, %v, want the time it was first seen, %v", got, err, seen)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestV1Snapshot(t *testing.T) {
	sums := func(files map[string]string) conan.Snapshot {
		var list conan.Snapshot
		for name, content := range files {
			list = append(list, conan.FileInfo{Name: name, Size: -1, MD5: md5Of(content)})
		}
		list.Sort()
		return list
	}
	tests := map[string]struct {
		change func(*v1Server)
		rev    func(conan.Revision) conan.Revision
		want   func(*v1Server) conan.Snapshot
		err    string
	}{
		"recipe":    {nil, conan.Revision.Recipe, func(s *v1Server) conan.Snapshot { return sums(s.folders[v1Recipe]) }, "ok"},
		"package":   {nil, nil, func(s *v1Server) conan.Snapshot { return sums(s.folders[v1Package]) }, "ok"},
		"odd names": {func(s *v1Server) { s.folders[v1Package]["../x"] = "x"; s.folders[v1Package]["conanfile.py"] = "x" }, nil, func(s *v1Server) conan.Snapshot { z, _, _ := zlibServer(); return sums(z.folders[v1Package]) }, "ok"},
		"no recipe md5": {func(s *v1Server) { s.noSums = true }, conan.Revision.Recipe, func(s *v1Server) conan.Snapshot {
			list := sums(s.folders[v1Recipe])
			for i := range list {
				list[i].MD5 = ""
			}
			return list
		}, "ok"},
		"old recipe":                  {nil, func(rev conan.Revision) conan.Revision { rev.RRev = rrev; return rev.Recipe() }, nil, "not found"},
		"package of an old recipe":    {nil, func(rev conan.Revision) conan.Revision { rev.RRev = rrev; return rev }, nil, "not found"},
		"old package":                 {nil, func(rev conan.Revision) conan.Revision { rev.PRev = prev; return rev }, nil, "not found"},
		"never fits":                  {func(s *v1Server) { s.folders[v1Package][conan.InfoFile] = "[other]" }, nil, nil, "unavailable: changes its files while they are listed"},
		"gone":                        {func(s *v1Server) { delete(s.folders, v1Package) }, nil, nil, "not found"},
		"manifest named, not served":  {func(s *v1Server) { s.digest = `{"conanmanifest.txt": "/v1/files/no/such/file/x"}` }, nil, nil, "unavailable: names a manifest that it does not serve"},
		"manifest at a strange place": {func(s *v1Server) { s.digest = `{"conanmanifest.txt": "ftp://x/y"}` }, nil, nil, `unavailable: points to a URL that is not plain http or https ("ftp")`},
		"empty digest":                {func(s *v1Server) { s.digest = `{}` }, nil, nil, "not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, recipe, pkg := zlibServer()
				rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: summaryOf(recipe), PackageID: pid, PRev: summaryOf(pkg)}
				if test.rev != nil {
					rev = test.rev(rev)
				}
				if test.change != nil {
					test.change(s)
				}
				r, _ := newV1(t, s)
				got, err := r.Snapshot(t.Context(), rev)
				if word(err) != test.err {
					t.Fatalf("error %q, want %q", word(err), test.err)
				}
				if test.want == nil {
					return
				}
				if diff := cmp.Diff(test.want(s), got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// A recipe without a usable manifest has the mutable revision.
func TestV1Mutable(t *testing.T) {
	tests := map[string]struct {
		change func(*v1Server)
		files  int
	}{
		"empty manifest": {func(s *v1Server) {
			s.folders[v1Recipe][conan.ManifestFile] = ""
			s.digest = `{"conanmanifest.txt": "/v1/files/` + v1Recipe + `/conanmanifest.txt?signature=0"}`
		}, 3},
		"broken manifest": {func(s *v1Server) { s.folders[v1Recipe][conan.ManifestFile] = "yesterday\n" }, 3},
		"digest without it": {func(s *v1Server) {
			s.digest = `{"conanfile.py": "/x"}`
			delete(s.folders[v1Recipe], conan.ManifestFile)
		}, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, _ := zlibServer()
				test.change(s)
				r, _ := newV1(t, s)
				rev := conan.Revision{Ref: mustRef(t, "zlib/1.3")}
				latest, err := r.Latest(t.Context(), rev)
				if latest.ID != conan.MutableRevision || latest.Time.IsZero() || err != nil {
					t.Fatalf("latest is %v, %v", latest, err)
				}
				rev.RRev = latest.ID
				list, err := r.Snapshot(t.Context(), rev)
				if len(list) != test.files || err != nil {
					t.Errorf("files %v, %v", list, err)
				}
				file, err := r.Open(t.Context(), rev, conan.RecipeFile)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := readAll(t, file); got != "import os" || err != nil {
					t.Errorf("read %q, %v", got, err)
				}
			})
		})
	}
}

func TestV1Open(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, recipe, pkg := zlibServer()
		r, f := newV1(t, s)
		rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: summaryOf(recipe), PackageID: pid, PRev: summaryOf(pkg)}
		for name, content := range s.folders[v1Package] {
			file, err := r.Open(t.Context(), rev, name)
			if err != nil {
				t.Fatal(err)
			}
			want := conan.FileInfo{Name: name, Size: int64(len(content)), MD5: md5Of(content)}
			if diff := cmp.Diff(want, file.FileInfo); diff != "" {
				t.Error(diff)
			}
			if got, err := readAll(t, file); got != content || err != nil {
				t.Errorf("%s: read %q, %v", name, got, err)
			}
		}
		// 2 × digest, manifest and snapshot, download_urls, 2 files; the manifest is remembered.
		if n := len(f.asked()); n != 9 {
			t.Errorf("asked %d times, want 9: %q", n, f.asked())
		}
		if _, err := r.Open(t.Context(), rev, "conan_package.txz"); word(err) != "not found" {
			t.Errorf("a file that is not listed: %v", err)
		}
	})
}

// Files that are opened at the same time share the question where they are.
func TestV1OpensShareURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, recipe, _ := zlibServer()
		r, f := newV1(t, s)
		rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: summaryOf(recipe)}
		var all sync.WaitGroup
		for name, content := range s.folders[v1Recipe] {
			if name == conan.ManifestFile {
				continue
			}
			all.Go(func() {
				file, err := r.Open(t.Context(), rev, name)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := readAll(t, file); got != content || err != nil {
					t.Errorf("%s: read %q, %v", name, got, err)
				}
			})
		}
		all.Wait()
		asked := 0
		for _, question := range f.asked() {
			if strings.HasSuffix(question, "/download_urls") {
				asked++
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times where the files are: %q", asked, f.asked())
		}
	})
}

// A file that finds the URLs missing, and comes to ask when they are there, takes those.
func TestV1URLsThatCameMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := zlibServer()
		r, f := newV1(t, s)
		var last fileURLs
		ask := func(since time.Time, want int) {
			t.Helper()
			var err error
			last, err = v1{r}.askURLs(t.Context(), folderOf(conan.Revision{Ref: mustRef(t, "zlib/1.3")}), since)
			if n := len(f.asked()); err != nil || n != want {
				t.Errorf("asked %d times, want %d: %v", n, want, err)
			}
		}
		ask(time.Time{}, 1)
		ask(time.Time{}, 1)
		ask(last.askedAt, 2)
	})
}

// Signed URLs that have expired are asked for again, once.
func TestV1ExpiredURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, recipe, _ := zlibServer()
		r, f := newV1(t, s)
		rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: summaryOf(recipe)}
		open := func() error {
			file, err := r.Open(t.Context(), rev, "conan_export.tgz")
			if err == nil {
				_, err = readAll(t, file)
			}
			return err
		}
		if err := open(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.expire()
		before := len(f.asked())
		if err := open(); err != nil {
			t.Fatal(err)
		}
		if n := len(f.asked()) - before; n != 3 {
			t.Errorf("asked %d times, want 3 (refused, download_urls, file): %q", n, f.asked()[before:])
		}
		delete(s.folders[v1Recipe], "conan_export.tgz")
		if err := open(); word(err) != "not found" {
			t.Errorf("a file that went away: %v", err)
		}
	})
}

// Signed URLs may expire before they are used for the first time.
func TestV1URLsExpireAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, recipe, _ := zlibServer()
		r, f := newV1(t, s)
		rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: summaryOf(recipe)}
		s.onAsk = func(path string) {
			if strings.HasSuffix(path, "/conan_export.tgz") {
				s.onAsk = nil
				s.expire()
			}
		}
		file, err := r.Open(t.Context(), rev, "conan_export.tgz")
		if err != nil {
			t.Fatalf("%v, asked: %q", err, f.asked())
		}
		if got, err := readAll(t, file); err != nil || got != s.folders[v1Recipe]["conan_export.tgz"] {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

// Bytes of another revision never pass as those of the one that was asked for.
func TestV1ReplacedDuringOpen(t *testing.T) {
	other := map[string]string{conan.RecipeFile: "import sys", "conan_export.tgz": "\x1f\x8bEXPORT"}
	other[conan.ManifestFile] = manifestOf(1767323099, map[string]string{conan.RecipeFile: "import sys", "readme.md": "ho"})
	for name, noSums := range map[string]bool{"by md5": false, "by manifest": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, recipe, _ := zlibServer()
				s.noSums = noSums
				s.onAsk = func(path string) {
					if strings.HasSuffix(path, "/conan_export.tgz") {
						s.set(v1Recipe, other)
					}
				}
				r, _ := newV1(t, s)
				rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: summaryOf(recipe)}
				file, err := r.Open(t.Context(), rev, "conan_export.tgz")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := readAll(t, file); word(err) != "unavailable: replaced conan_export.tgz while it was read" {
					t.Errorf("error %q", word(err))
				}
				if _, err := r.Open(t.Context(), rev, "conan_export.tgz"); word(err) != "not found" {
					t.Errorf("the old revision: %q", word(err))
				}
				rev.RRev = summaryOf(other[conan.ManifestFile])
				if _, err := r.Open(t.Context(), rev, "conan_export.tgz"); err != nil {
					t.Errorf("the new revision: %v", err)
				}
			})
		})
	}
}

// Wrong bytes of a file that is still listed the same are wrong bytes, which the reader finds out,
// and no replacement.
func TestV1WrongBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, recipe, _ := zlibServer()
		good := s.folders[v1Recipe]
		wrong := maps.Clone(good)
		wrong["conan_export.tgz"] += "x"
		s.onAsk = func(path string) {
			if strings.HasSuffix(path, "/conan_export.tgz") {
				s.set(v1Recipe, wrong)
			} else {
				s.set(v1Recipe, good)
			}
		}
		r, _ := newV1(t, s)
		rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: summaryOf(recipe)}
		file, err := r.Open(t.Context(), rev, "conan_export.tgz")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t, file); err != nil || got != wrong["conan_export.tgz"] {
			t.Errorf("read %q, %v", got, err)
		}
		if file.MD5 != md5Of(good["conan_export.tgz"]) {
			t.Errorf("the reader is told md5 %q", file.MD5)
		}
	})
}

// A folder that is replaced while it is listed is listed again.
func TestV1ReplacedDuringListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, recipe, _ := zlibServer()
		rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: summaryOf(recipe)}
		good := s.folders[v1Recipe]
		half := map[string]string{conan.RecipeFile: "import sys", conan.ManifestFile: recipe}
		asked := 0
		s.onAsk = func(path string) {
			if path != "/v1/conans/"+v1Recipe {
				return
			}
			if asked++; asked == 1 {
				s.set(v1Recipe, half)
			} else {
				s.set(v1Recipe, good)
			}
		}
		r, _ := newV1(t, s)
		list, err := r.Snapshot(t.Context(), rev)
		if err != nil || len(list) != 3 || asked != 2 {
			t.Errorf("after %d listings: %v, %v", asked, list, err)
		}
	})
}

func TestV1Packages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, recipe, _ := zlibServer()
		r, _ := newV1(t, s)
		rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: summaryOf(recipe)}
		tests := []struct {
			answer string
			want   []conan.Package
		}{
			{`{}`, []conan.Package{}},
			{`{"` + pid + `": {"content": "[settings]\n    os=Linux\n", "settings": {"os": "Windows"}}}`, []conan.Package{{ID: pid, Info: "[settings]\n    os=Linux\n"}}},
			{`{"` + pid + `": {"settings": {"os": "Linux"}, "options": {"shared": false}, "full_requires": ["bzip2/1.0:abc"], "recipe_hash": "r"}, "a b": {}}`,
				[]conan.Package{{ID: pid, Info: "[settings]\n    os=Linux\n\n[options]\n    shared=False\n\n[full_requires]\n    bzip2/1.0:abc\n\n[recipe_hash]\n    r\n"}}},
		}
		for _, test := range tests {
			s.found = test.answer
			got, err := r.Packages(t.Context(), rev, false)
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		}
		rev.RRev = rrev
		if _, err := r.Packages(t.Context(), rev, false); word(err) != "not found" {
			t.Errorf("packages of an old recipe: %v", err)
		}
	})
}

// A manifest that was damaged on the way is not taken for a new revision.
func TestV1DamagedManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, recipe, _ := zlibServer()
		damaged := true
		r, _ := newFake(t, Options{Protocol: "v1"}, func(w http.ResponseWriter, req *http.Request) {
			if !damaged || !strings.HasSuffix(req.URL.Path, conan.ManifestFile) {
				s.ServeHTTP(w, req)
				return
			}
			b := []byte(recipe)
			b[len(b)-2] ^= 1 // the last digit of an md5
			w.Header().Set("Content-Type", "text/plain")
			w.Write(b)
		})
		rev := conan.Revision{Ref: mustRef(t, "zlib/1.3")}
		if got, err := r.Latest(t.Context(), rev); !errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("latest by a damaged manifest: %v, %v, want unavailable", got, err)
		}
		damaged = false
		if got, err := r.Latest(t.Context(), rev); got.ID != summaryOf(recipe) || err != nil {
			t.Errorf("latest afterwards: %v, %v, want %s", got, err, summaryOf(recipe))
		}
	})
}

// An answer to a question from before Forget is neither remembered nor given to later questions.
func TestV1ForgetsWhatIsBeingAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := zlibServer()
		answered, release := make(chan string), make(chan struct{})
		hold := true
		s.onServed = func(path string) { // its answer is complete, and not sent yet
			s.mu.Lock()
			held := hold
			s.mu.Unlock()
			if held {
				answered <- path
				<-release
			}
		}
		r, _ := newV1(t, s)
		v := v1{r}
		recipe := folderOf(conan.Revision{Ref: mustRef(t, "zlib/1.3")})
		questions := []func() error{
			func() error { _, err := v.read(t.Context(), recipe); return err },
			func() error { _, err := v.askURLs(t.Context(), recipe, time.Time{}); return err },
		}
		ended := make(chan error)
		for _, question := range questions {
			go func() { ended <- question() }()
			<-answered
		}
		r.Forget()
		s.mu.Lock()
		hold = false
		s.mu.Unlock()
		for i, question := range questions {
			if err := question(); err != nil {
				t.Errorf("the later question %d waits for the earlier one: %v", i, err)
			}
		}
		now := r.folders.Load()
		if diff := cmp.Diff([]int{1, 1}, []int{now.contents.Len(), now.urls.Len()}); diff != "" {
			t.Errorf("remembered of the later questions (-want +got):\n%s", diff)
		}
		now.invalidate(recipe)
		close(release)
		for range questions {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff([]int{0, 0}, []int{now.contents.Len(), now.urls.Len()}); diff != "" {
			t.Errorf("remembered of the earlier questions (-want +got):\n%s", diff)
		}
	})
}
