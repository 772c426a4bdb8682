package upstream

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

const (
	zlib    = "/v2/conans/zlib/1.3/_/_"
	rrev    = "f190b32be9315f4e242ddc03f68c53db"
	rrev2   = "0e9ef5f5a4e1e9ffe7c0eb2a7a7a3a3e"
	pid     = "9a4eb3c8701508aa9458b1a73d0633783ecc2270"
	prev    = "be6ddf41d3a0a958f229d6a17feaf973"
	emptyID = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
)

func zlibRev(t testing.TB) conan.Revision {
	return conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: rrev}
}

func zlibPackage(t testing.TB) conan.Revision {
	rev := zlibRev(t)
	rev.PackageID, rev.PRev = pid, prev
	return rev
}

func TestV2Revisions(t *testing.T) {
	newest := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	oldest := time.Date(2026, 1, 1, 3, 4, 5, 0, time.UTC)
	list := `{"revisions": [{"revision": "` + rrev + `", "time": "2026-01-02T03:04:05.678901+00:00", "x": 1},
		{"revision": "` + rrev2 + `", "time": "2026-01-01T04:04:05.000+0100"},
		{"revision": "` + rrev + `", "time": "2025-01-01T04:04:05Z"}]}`
	packages := zlib + "/revisions/" + rrev + "/packages/" + pid
	pkg := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: rrev, PackageID: pid}
	recipe := conan.Revision{Ref: mustRef(t, "zlib/1.3")}
	user := conan.Revision{Ref: mustRef(t, "zlib/1.3@solo")}
	tests := map[string]struct {
		path, answer string
		rev          conan.Revision
		latest       bool
		want         []conan.RevisionTime
		wantErr      string
	}{
		"latest recipe": {zlib + "/latest", `{"revision": "` + rrev + `", "time": "2026-01-02T03:04:05.678901Z"}`, recipe, true,
			[]conan.RevisionTime{{ID: rrev, Time: newest}}, "ok"},
		"latest package":  {packages + "/latest", `{"revision": "0", "time": "2026-01-01T03:04:05Z"}`, pkg, true, []conan.RevisionTime{{ID: "0", Time: oldest}}, "ok"},
		"list of recipe":  {zlib + "/revisions", list, recipe, false, []conan.RevisionTime{{ID: rrev, Time: newest}, {ID: rrev2, Time: oldest}}, "ok"},
		"list of package": {packages + "/revisions", list, pkg, false, []conan.RevisionTime{{ID: rrev, Time: newest}, {ID: rrev2, Time: oldest}}, "ok"},
		"user without channel": {"/v2/conans/zlib/1.3/solo/_/latest", `{"revision": "1", "time": "2026-01-01T03:04:05Z"}`, user, true,
			[]conan.RevisionTime{{ID: "1", Time: oldest}}, "ok"},
		"unknown":       {"/other", "", recipe, true, nil, "not found"},
		"empty list":    {zlib + "/revisions", `{"revisions": []}`, recipe, false, nil, "not found"},
		"no list":       {zlib + "/revisions", `{}`, recipe, false, nil, "unavailable: answered without a list of revisions"},
		"null list":     {zlib + "/revisions", `{"revisions": null}`, recipe, false, nil, "unavailable: answered without a list of revisions"},
		"bad id":        {zlib + "/latest", `{"revision": "../x", "time": "2026-01-01T03:04:05Z"}`, recipe, true, nil, "unavailable: answered with a revision that is not one"},
		"no time":       {zlib + "/latest", `{"revision": "1"}`, recipe, true, nil, "unavailable: answered with a revision without a usable time"},
		"epoch":         {zlib + "/latest", `{"revision": "1", "time": "1970-01-01T00:00:00Z"}`, recipe, true, nil, "unavailable: answered with a revision without a usable time"},
		"wrong shape":   {zlib + "/latest", `{"revision": 7, "time": "2026-01-01T03:04:05Z"}`, recipe, true, nil, "unavailable: answered with JSON of another shape than the protocol's"},
		"recipe needed": {"/other", "", conan.Revision{Ref: recipe.Ref, PackageID: pid}, true, nil, "invalid"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, _ := newFake(t, Options{}, routes(map[string]string{test.path: test.answer}))
			var got []conan.RevisionTime
			var err error
			if test.latest {
				var one conan.RevisionTime
				if one, err = r.Latest(t.Context(), test.rev); err == nil {
					got = append(got, one)
				}
			} else {
				got, err = r.Revisions(t.Context(), test.rev)
			}
			if word(err) != test.wantErr {
				t.Errorf("error %q, want %q", word(err), test.wantErr)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestV2Snapshot(t *testing.T) {
	path := zlib + "/revisions/" + rrev + "/files"
	md5 := strings.Repeat("a", 32)
	tests := map[string]struct {
		answer  string
		want    conan.Snapshot
		wantErr string
	}{
		"names only": {`{"files": {"conanmanifest.txt": {}, "conanfile.py": {}, "metadata/sign/x y.txt": {}}}`,
			conan.Snapshot{{Name: "conanfile.py", Size: -1}, {Name: "conanmanifest.txt", Size: -1}, {Name: "metadata/sign/x y.txt", Size: -1}}, "ok"},
		"with values": {`{"files": {"conanmanifest.txt": {"size": 12, "md5": "` + strings.ToUpper(md5) + `", "sha1": "nope"}, "conanfile.py": {"size": "7"}}}`,
			conan.Snapshot{{Name: "conanfile.py", Size: 7}, {Name: "conanmanifest.txt", Size: 12, MD5: md5}}, "ok"},
		"odd values": {`{"files": {"conanmanifest.txt": null, "conanfile.py": {"size": -3}}}`,
			conan.Snapshot{{Name: "conanfile.py", Size: -1}, {Name: "conanmanifest.txt", Size: -1}}, "ok"},
		"bad names":   {`{"files": {"conanmanifest.txt": {}, "../x": {}, "conan_package.tgz": {}, "metadata/../x": {}}}`, conan.Snapshot{{Name: "conanmanifest.txt", Size: -1}}, "ok"},
		"no manifest": {`{"files": {"conanfile.py": {}}}`, nil, "not found"},
		"empty":       {`{"files": {}}`, nil, "not found"},
		"array":       {`{"files": ["conanfile.py"]}`, nil, "unavailable: answered with JSON of another shape than the protocol's"},
		"no files":    {`{}`, nil, "unavailable: answered without a list of files"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, _ := newFake(t, Options{}, routes(map[string]string{path: test.answer}))
			got, err := r.Snapshot(t.Context(), zlibRev(t))
			if word(err) != test.wantErr {
				t.Errorf("error %q, want %q", word(err), test.wantErr)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestV2Packages(t *testing.T) {
	path := zlib + "/revisions/" + rrev
	files := `{"files": {"conanmanifest.txt": {}}}`
	tests := map[string]struct {
		answers map[string]string
		idsOnly bool
		want    []conan.Package
		wantErr string
		wantAsk string
	}{
		"content": {map[string]string{path + "/search": `{"` + pid + `": {"content": "[settings]\nos=Linux\n"}, "` + emptyID + `": {"content": ""}, "../x": {}}`},
			false, []conan.Package{{ID: pid, Info: "[settings]\nos=Linux\n"}, {ID: emptyID}}, "ok", "GET " + path + "/search?list_only=False"},
		"ids":                {map[string]string{path + "/search": `{"` + pid + `": {}}`}, true, []conan.Package{{ID: pid}}, "ok", "GET " + path + "/search?list_only=True"},
		"none":               {map[string]string{path + "/search": `{}`, path + "/files": files}, false, []conan.Package{}, "ok", ""},
		"none, said by 404":  {map[string]string{path + "/files": files}, false, []conan.Package{}, "ok", ""},
		"unknown revision":   {map[string]string{path + "/search": `{}`}, false, nil, "not found", ""},
		"unknown altogether": {nil, false, nil, "not found", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, f := newFake(t, Options{}, routes(test.answers))
			got, err := r.Packages(t.Context(), zlibRev(t), test.idsOnly)
			if word(err) != test.wantErr {
				t.Errorf("error %q, want %q", word(err), test.wantErr)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if test.wantAsk != "" && f.asked()[0] != test.wantAsk {
				t.Errorf("asked %q, want %q", f.asked()[0], test.wantAsk)
			}
		})
	}
}

func TestV2Open(t *testing.T) {
	sha1 := strings.Repeat("b", 40)
	r, f := newFake(t, Options{}, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("X-Checksum-Sha1", strings.ToUpper(sha1))
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "content of "+req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:])
	})
	file, err := r.Open(t.Context(), zlibPackage(t), "metadata/log/a#b?c d%20.txt")
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(t, file)
	if got != "content of a#b?c d%20.txt" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	want := conan.FileInfo{Name: "metadata/log/a#b?c d%20.txt", Size: int64(len(got)), SHA1: sha1}
	if diff := cmp.Diff(want, file.FileInfo); diff != "" {
		t.Error(diff)
	}
	wantAsk := []string{"GET " + zlib + "/revisions/" + rrev + "/packages/" + pid + "/revisions/" + prev + "/files/metadata/log/a%23b%3Fc%20d%2520.txt"}
	if diff := cmp.Diff(wantAsk, f.asked()); diff != "" {
		t.Error(diff)
	}
	h := f.header(0)
	for key, want := range map[string]string{"User-Agent": "conanproxy", "Accept-Encoding": "identity", "Authorization": ""} {
		if h.Get(key) != want {
			t.Errorf("%s is %q, want %q", key, h.Get(key), want)
		}
	}
	if _, err := r.Open(t.Context(), zlibPackage(t), "conanfile.py"); word(err) != "not found" {
		t.Errorf("a name that no package has: %v", err)
	}
	if _, err := r.Open(t.Context(), conan.Revision{Ref: zlibRev(t).Ref}, "conanfile.py"); word(err) != "invalid" {
		t.Errorf("an unpinned revision: %v", err)
	}
}
