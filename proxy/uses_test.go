package proxy

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// useList lists uses until they are taken.
type useList struct {
	mu   sync.Mutex
	list []string
}

func (l *useList) Used(member string, rev conan.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, member+" "+rev.String())
}

func (l *useList) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}

// Each answer with files or a list of files is a use of the pinned revision, of both generations,
// also if it comes from memory, is a HEAD, a part or "not modified"; nothing else is.
func TestUses(t *testing.T) {
	uses := &useList{}
	w := newWorld(t, func(o *worldOptions) { o.Memory, o.Uses = 1<<20, uses })
	recipe := w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	pkg := w.local.have(t, "hello/1.0@demo/testing#r1:p1#v1", packageFiles)
	w.upstream.have(t, "far/1.0@demo/testing#r9", recipeFiles)
	r, p, far := "local "+recipe.String(), "local "+pkg.String(), "conancenter far/1.0@demo/testing#r9"

	const v1, v2 = "/v1/conans/hello/1.0/demo/testing", helloV2 + "/revisions/r1"
	etag := w.get(v2 + "/files/conanfile.py").Header.Get("ETag")
	uses.take()
	for _, tt := range []struct {
		method, path string
		header       map[string]string
		status       int
		want         string // one use; empty: none
	}{
		{"GET", v2 + "/files", nil, 200, r},
		{"GET", v2 + "/files/conanfile.py", nil, 200, r},
		{"HEAD", v2 + "/files/conanfile.py", nil, 200, r},
		{"GET", v2 + "/files/conanfile.py", map[string]string{"If-None-Match": etag}, 304, r},
		{"GET", v2 + "/files/conan_export.tgz", nil, 200, r},
		{"HEAD", v2 + "/files/conan_export.tgz", nil, 200, r},
		{"GET", v2 + "/files/conan_export.tgz", map[string]string{"Range": "bytes=0-0"}, 206, r},
		{"GET", v2 + "/packages/p1/revisions/v1/files", nil, 200, p},
		{"GET", v2 + "/packages/p1/revisions/v1/files/conaninfo.txt", nil, 200, p},
		{"GET", v1, nil, 200, r},
		{"GET", v1 + "/digest", nil, 200, r},
		{"GET", v1 + "/download_urls", nil, 200, r},
		{"GET", v1 + "/packages/p1/download_urls", nil, 200, p},
		{"GET", "/v1/files/hello/1.0/demo/testing/0/export/conanfile.py", nil, 200, r},
		{"GET", "/v2/conans/far/1.0/demo/testing/revisions/r9/files", nil, 200, far},
		{"GET", helloV2 + "/latest", nil, 200, ""},
		{"GET", helloV2 + "/revisions", nil, 200, ""},
		{"GET", v2 + "/search", nil, 200, ""},
		{"GET", "/v2/conans/search?q=hello*", nil, 200, ""},
		{"GET", helloV2 + "/revisions/r2/files", nil, 404, ""},
		{"GET", v2 + "/files/nothing.txt", nil, 404, ""},
	} {
		for _, from := range []string{"the store", "memory"} {
			resp := w.do(call{method: tt.method, path: tt.path, header: tt.header})
			wantStatus(t, resp, tt.status)
			w.server.documents.cache.Wait()
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if diff := cmp.Diff(want, uses.take()); diff != "" {
				t.Errorf("%s %s from %s (-want +got):\n%s", tt.method, tt.path, from, diff)
			}
		}
	}
}

// A view at a point in time is a view: what it answers is used.
func TestUsesOfThePast(t *testing.T) {
	w, _ := withPast(t)
	uses := &useList{}
	w.server.uses = uses
	for range 2 { // the second time from memory
		wantStatus(t, w.get("/r/team/at/2026-11-21"+helloV2+"/revisions/r1/files"), 200)
		w.server.documents.cache.Wait()
		if diff := cmp.Diff([]string{"local hello/1.0@demo/testing#r1"}, uses.take()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
