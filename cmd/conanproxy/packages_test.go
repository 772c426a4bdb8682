package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conantest"
	"conanproxy/internal/config"
	"conanproxy/proxy/api"
)

// all reads every page of a list, with two lines each.
func all[T any](w *explainWorld, path string, query ...string) []T {
	w.t.Helper()
	values := url.Values{"limit": {"2"}}
	for _, arg := range query {
		key, value, _ := strings.Cut(arg, "=")
		values.Set(key, value)
	}
	lines := []T{}
	for {
		var page api.KeyedPage[T]
		w.get("/api/v1/packages"+path+"?"+values.Encode(), http.StatusOK, &page)
		lines = append(lines, page.Lines...)
		if page.Next == "" {
			return lines
		}
		values.Set("after", page.Next)
	}
}

// TestPackageLists looks at references, revisions, binaries and files of a store and an upstream.
func TestPackageLists(t *testing.T) {
	old := conantest.Recipe("zlib", "1.3", conantest.Published(day))
	newer := conantest.Recipe("zlib", "1.3", conantest.Published(day.Add(time.Hour)), conantest.Code("# newer"))
	young := conantest.Recipe("zlib", "1.3", conantest.Published(time.Now()), conantest.Code("# young"))
	binary := func(os, shared string) conantest.Set {
		return conantest.Package(newer, conantest.Setting("os", os), conantest.Choice("shared", shared), conantest.Published(day.Add(2*time.Hour)))
	}
	linux, macos, windows := binary("Linux", "False"), binary("Macos", "True"), binary("Windows", "True")
	app := conantest.Recipe("app", "1.0", conantest.Owner("acme", "stable"), conantest.Published(day))
	other := conantest.Recipe("other", "2.0", conantest.Published(day))
	w := newExplainWorld(t, func(c *config.Config) { c.Upstreams[0].MinAge = time.Hour }, old, newer, young, linux, macos, other, app)
	w.publish("dev", app, newer, windows)
	w.hide(old.Revision, "bad")

	var refs []string
	for _, l := range all[api.ReferenceLine](w, "") {
		refs = append(refs, fmt.Sprint(l.Reference, l.Members))
	}
	if diff := cmp.Diff([]string{"app/1.0@acme/stable[dev]", "other/2.0[a]", "zlib/1.3[dev a]"}, refs); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
	if found := all[api.ReferenceLine](w, "", "q=Z*"); len(found) != 1 || found[0].Reference != "zlib/1.3" {
		t.Errorf("found %v", found)
	}

	var revs []string
	for _, l := range all[api.RevisionLine](w, "/revisions", "reference=zlib/1.3") {
		text := l.Revision + " in " + l.Member
		if l.Hidden != nil {
			text += fmt.Sprintf(" hidden by %d until %v", l.Hidden.Hide, l.Hidden.Until != nil)
		}
		revs = append(revs, fmt.Sprintf("%s by %q, %v", text, l.Uploader, l.Bytes > 0))
	}
	if diff := cmp.Diff([]string{
		young.Revision.String() + ` in a hidden by 0 until true by "", false`,
		newer.Revision.String() + ` in dev by "ann", true`,
		newer.Revision.String() + ` in a by "", false`,
		old.Revision.String() + ` in a hidden by 1 until false by "", false`,
	}, revs); diff != "" {
		t.Errorf("revisions (-want +got):\n%s", diff)
	}
	if found := all[api.RevisionLine](w, "/revisions", "reference="+windows.Revision.With("").String()); len(found) != 1 || found[0].Revision != windows.Revision.String() || found[0].Member != "dev" {
		t.Errorf("package revisions %+v", found)
	}

	binaries := func(query ...string) (lines []string) {
		for _, l := range all[api.BinaryLine](w, "/binaries", query...) {
			at := l.Time.Format(time.TimeOnly)
			if l.Member == "dev" {
				at = "NOW"
			}
			lines = append(lines, fmt.Sprintf("%s in %s at %s by %q: %v %v", l.Revision, l.Member, at, l.Uploader, l.Settings, l.Options))
		}
		return lines
	}
	want := map[string]string{
		linux.PackageID:   linux.Revision.String() + ` in a at 12:00:00 by "": map[os:Linux] map[shared:False]`,
		macos.PackageID:   macos.Revision.String() + ` in a at 12:00:00 by "": map[os:Macos] map[shared:True]`,
		windows.PackageID: windows.Revision.String() + ` in dev at NOW by "ann": map[os:Windows] map[shared:True]`,
	}
	if diff := cmp.Diff(sortedValues(want), binaries("reference=zlib/1.3")); diff != "" {
		t.Errorf("binaries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{want[macos.PackageID]}, binaries("reference="+newer.Revision.String(), "query=options.shared=True and os=Macos")); diff != "" {
		t.Errorf("binaries of a query (-want +got):\n%s", diff)
	}

	files := all[api.FileLine](w, "/files", "reference="+newer.Revision.String())
	snapshot := newer.Snapshot()
	for i, f := range files {
		if stored := snapshot[i]; f.Name != stored.Name || *f.Size != stored.Size || f.SHA256 != stored.SHA256 {
			t.Errorf("file %+v, want %+v", f, stored)
		}
	}
	if len(files) != len(snapshot) {
		t.Errorf("files %+v", files)
	}
	for path, status := range map[string]int{
		"/revisions?reference=none/1.0":                  404,
		"/revisions?reference=zlib":                      400,
		"/revisions?reference=zlib/1.3:p":                400,
		"/binaries?reference=zlib/1.3&query=os":          400,
		"/binaries?reference=zlib/1.3%23r9":              404,
		"/files?reference=none/1.0":                      404,
		"/files?reference=" + old.RRev:                   400,
		"?view=moon":                                     400,
		"?limit=0":                                       400,
		"/files?view=release&reference=zlib/1.3":         404,
		"/files?reference=zlib/1.3%23" + old.RRev:        424,
		"/revisions?reference=zlib/1.3&limit=nine":       400,
		"/binaries?reference=zlib/1.3&after=zzzzzzzzzzz": 200,
	} {
		w.get("/api/v1/packages"+path, status, nil)
	}
}

// sortedValues are the values of a map in the order of its keys.
func sortedValues(m map[string]string) (values []string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[key])
	}
	return values
}
