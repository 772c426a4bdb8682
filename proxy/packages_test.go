package proxy

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// noDetails knows nothing of revisions.
type noDetails struct{}

func (noDetails) Detail(context.Context, string, conan.Revision) (index.Detail, error) {
	return index.Detail{}, nil
}

// Lists of packages have nothing of a member that the caller may not read.
func TestPackageListsAndRights(t *testing.T) {
	w := newWorld(t, func(o *worldOptions) { o.API = &api.API{Details: noDetails{}} })
	w.local.have(t, "hello/1.0#r1", recipeFiles)
	w.upstream.have(t, "hello/1.0#r1", recipeFiles)
	w.local.have(t, "hello/1.0#r2", recipeFiles)
	w.local.have(t, "hello/1.0#r1:p1#x1", packageFiles)
	w.local.have(t, "own/1.0#r1", recipeFiles)
	w.setRules([]auth.Rule{
		{Pattern: "*", Users: []string{"demo", "other"}, In: []string{"conancenter"}},
		{Pattern: "free/*", Users: []string{"demo", "other"}},
		{Pattern: "*", Users: []string{"demo"}},
	}, nil)
	for _, tt := range []struct {
		user, path string
		status     int
		has, lacks string
	}{
		{"demo", "", 200, `{"reference":"hello/1.0","members":["local","conancenter"]}`, ""},
		{"demo", "", 200, "own/1.0", ""},
		{"other", "", 200, `{"reference":"hello/1.0","members":["conancenter"]}`, "own/1.0"},
		{"mü", "", 200, `{"lines":[],"next":""}`, ""},
		{"", "", 401, "may read nothing", ""},
		{"demo", "/revisions?reference=hello/1.0", 200, "hello/1.0#r2", ""},
		{"other", "/revisions?reference=hello/1.0", 200, "hello/1.0#r1", "r2"},
		{"other", "/revisions?reference=own/1.0", 404, "not found", ""},
		{"mü", "/revisions?reference=hello/1.0", 403, "may not read", ""},
		{"demo", "/binaries?reference=hello/1.0%23r1", 200, `"package_id":"p1"`, ""},
		{"other", "/binaries?reference=hello/1.0%23r1", 200, `"lines":[]`, "p1"},
		{"", "/binaries?reference=hello/1.0", 401, "may not read", ""},
		{"demo", "/files?reference=hello/1.0%23r2", 200, "conanfile.py", ""},
		{"other", "/files?reference=hello/1.0%23r2", 404, "not found", ""},
		{"mü", "/files?reference=none/1.0", 403, "may not read", ""},
	} {
		resp := w.do(call{method: http.MethodGet, path: "/api/v1/packages" + tt.path, user: tt.user})
		text := bodyOf(t, resp)
		if resp.StatusCode != tt.status || !strings.Contains(text, tt.has) || tt.lacks != "" && strings.Contains(text, tt.lacks) {
			t.Errorf("%s %s: status %d, want %d, %q and no %q: %s", tt.user, tt.path, resp.StatusCode, tt.status, tt.has, tt.lacks, text)
		}
	}
}
