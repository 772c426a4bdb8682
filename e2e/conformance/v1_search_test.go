package conformance

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conantest"
)

func v1SearchPatterns(t *testing.T, w *v1World) {
	const (
		both    = "hello nouc"
		neither = ""
	)
	for _, tt := range []struct{ query, finds string }{
		{"", both},
		{"?q=", both},
		{"?q=%2A", both},
		{"?q=hello", "hello"},
		{"?q=hello%2F", "hello"},
		{"?q=hello%2A", "hello"},
		{"?q=hello%2F1.0", "hello"},
		{"?q=hello%2F1.0%40", "hello"},
		{"?q=hello%2F1.0%40demo", "hello"},
		{"?q=hello%2F1.0%40demo%2F", "hello"},
		{"?q=hello%2F1.0%40demo%2Ftesting", "hello"},
		{"?q=hello%2F1.%3F%40%2A", "hello"},
		{"?q=hello%2F%2A%40demo%2Ftesting&ignorecase=False", "hello"},
		{"?q=hell", neither},
		{"?q=ello", neither},
		{"?q=hello%2F1", neither},
		{"?q=HELLO%2A", "hello"},
		{"?q=HELLO%2A&ignorecase=True", "hello"},
		{"?q=HELLO%2A&ignorecase=0", "hello"},
		{"?q=HELLO%2A&ignorecase=False", neither},
		{"?q=HELLO%2A&ignorecase=false", neither},
		{"?q=hello%2A&ignorecase=False", "hello"},
		{"?q=%2A%40%2A", "hello"},
		{"?q=%2A%2Ftesting", "hello"},
		{"?q=nouc", "nouc"},
		{"?q=nouc%2F2.0", "nouc"},
		{"?q=nouc%2F2.0%40", neither},
		{"?q=nouc%2F2.0%40_%2F_", neither},
		{"?q=%2A%23%2A", both},
		{"?q=%2A%230", both},
		{"?q=%5Bhn%5D%2A", both},
		{"?q=%5B%21h%5D%2A", "nouc"},
	} {
		found := w.found(t, "v1", tt.query)
		for name, ref := range map[string]string{"hello": "hello/1.0@demo/testing", "nouc": "nouc/2.0"} {
			if got, want := slices.Contains(found, ref), strings.Contains(tt.finds, name); got != want {
				t.Errorf("search %q finds %s: %v, want %v", tt.query, ref, got, want)
			}
		}
	}
}

func v1SearchEverything(t *testing.T, w *v1World) {
	private := conantest.Recipe("privatesearch", "1.0", conantest.Conan1())
	w.publish1(t, "ann", private)
	want := w.found(t, "v1", "")
	for _, query := range []string{"?q=", "?q=%2A", "?ignorecase=False"} {
		if diff := cmp.Diff(want, w.found(t, "v1", query)); diff != "" {
			t.Errorf("search %q (-without pattern):\n%s", query, diff)
		}
	}
	if slices.Contains(want, "privatesearch/1.0") {
		t.Error("an anonymous search lists a private reference")
	}
	if !slices.Contains(w.found(t, "v1", "", w.as(t, "ann")), "privatesearch/1.0") {
		t.Error("ann does not find what she may read")
	}
}

func v1SearchNothing(t *testing.T, w *v1World) {
	for _, query := range []string{"?q=nothing", "?q=nothing%2F%2A%40demo%2Ftesting&ignorecase=False"} {
		if r := w.call(t, http.MethodGet, "/v1/conans/search"+query).is(t, http.StatusOK); r.body != `{"results":[]}` {
			t.Errorf("search %q: %s", query, r.body)
		}
	}
}

func v1SearchHostile(t *testing.T, w *v1World) {
	started := time.Now()
	for _, q := range []string{
		"[", "hello[", "[hello", "[]", "[!]", "[z-a]", "(", "(hello", "\\", "hello\\", "hello|nouc", "hello/1.0$", "^hello", ".*", "(a+)+$",
		strings.Repeat("*a", 1500), strings.Repeat("?", 4096), strings.Repeat("[a-z]", 800), strings.Repeat("x", 60_000), "\xff\xfe", "hello\x00",
	} {
		r := w.call(t, http.MethodGet, "/v1/conans/search?q="+url.QueryEscape(q))
		switch r.status {
		case http.StatusOK:
			if found := w.found(t, "v1", "?q="+url.QueryEscape(q)); slices.Contains(found, "hello/1.0@demo/testing") {
				t.Errorf("%q is taken for a regular expression: it finds %q", shorten(q), found)
			}
		case http.StatusBadRequest:
			r.refuses(t, http.StatusBadRequest)
		default:
			t.Errorf("%q: %d %s", shorten(q), r.status, shorten(r.body))
		}
	}
	w.call(t, http.MethodGet, "/v1/conans/search?q=%zz")
	w.raw(t, "GET /v1/conans/search?q="+strings.Repeat("x", 1<<20)+" HTTP/1.1\r\nHost: conan\r\nConnection: close\r\n\r\n", false).
		is(t, http.StatusRequestHeaderFieldsTooLarge)
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("hostile patterns took %v", took)
	}
	w.call(t, http.MethodGet, "/v1/ping").is(t, http.StatusOK)
}

func v1SearchConan2Only(t *testing.T, w *v1World) {
	sets := []conantest.Set{
		conantest.Recipe("conan2only", "1"),
		conantest.Recipe("conan2only"+strings.Repeat("y", 50), "1.0"),
		conantest.Recipe("conan2only", "1.0", conantest.Owner("solo", "")),
	}
	w.publish2(t, "demo", sets...)
	ordinary := conantest.Recipe("conan2only", "2.0")
	w.publish2(t, "demo", ordinary)
	if diff := cmp.Diff([]string{"conan2only/2.0"}, w.found(t, "v1", "?q=conan2only%2A")); diff != "" {
		t.Errorf("search of Conan 1:\n%s", diff)
	}
	old := header("User-Agent", "Conan/1.65.0 (Linux 6.1; Python 3.11; x86_64)")
	if diff := cmp.Diff([]string{"conan2only/2.0"}, w.found(t, "v2", "?q=conan2only%2A", old)); diff != "" {
		t.Errorf("search of Conan 1 with revisions:\n%s", diff)
	}
	if found := w.found(t, "v2", "?q=conan2only%2A"); len(found) != 4 {
		t.Errorf("search of Conan 2: %q", found)
	}
}

func v1SearchForm(t *testing.T, w *v1World) {
	// Several revisions of one reference are one result.
	first := conantest.Recipe("form", "1.0", conantest.Conan1())
	w.publish1(t, "demo", first, conantest.Recipe("form", "1.0", conantest.Conan1(), conantest.Code("# second")))
	found := w.found(t, "v1", "")
	if !slices.IsSorted(found) {
		t.Errorf("not sorted: %q", found)
	}
	if len(slices.Compact(slices.Clone(found))) != len(found) {
		t.Errorf("not unique: %q", found)
	}
	for _, ref := range found {
		if strings.ContainsAny(ref, "#_ ") && strings.Contains(ref, "@_") || strings.Contains(ref, "#") {
			t.Errorf("result %q", ref)
		}
	}
	if diff := cmp.Diff([]string{"form/1.0"}, w.found(t, "v1", "?q=form%2A")); diff != "" {
		t.Errorf("search:\n%s", diff)
	}
}

func v1SearchPrivate(t *testing.T, w *v1World) {
	w.publish1(t, "ann", conantest.Recipe("private44", "1.0", conantest.Conan1()), conantest.Recipe("both44", "1.0", conantest.Conan1()))
	const some, none = "?q=%2A44%2F%2A", "?q=private44%2A"
	if diff := cmp.Diff([]string{"both44/1.0"}, w.found(t, "v1", some)); diff != "" {
		t.Errorf("anonymous search:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"both44/1.0"}, w.found(t, "v1", some, w.as(t, "bob"))); diff != "" {
		t.Errorf("bob's search:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"both44/1.0", "private44/1.0"}, w.found(t, "v1", some, w.as(t, "ann"))); diff != "" {
		t.Errorf("ann's search:\n%s", diff)
	}
	w.call(t, http.MethodGet, "/v1/conans/search"+none).refuses(t, http.StatusUnauthorized)
	if found := w.found(t, "v1", none, w.as(t, "bob")); len(found) != 0 {
		t.Errorf("bob finds %q", found)
	}
}

// v1SearchRange is what the client does for a range without user and channel: it searches, filters
// by user and channel itself, and installs the newest.
func v1SearchRange(t *testing.T, w *v1World) {
	newest := conantest.Recipe("range", "1.10", conantest.Conan1())
	w.publish1(t, "demo",
		conantest.Recipe("range", "1.2", conantest.Conan1()), newest,
		conantest.Recipe("range", "9.0", conantest.Owner("demo", "testing"), conantest.Conan1()),
		conantest.Recipe("rangefinder", "9.0", conantest.Conan1()))
	found := w.found(t, "v1", "?q=range%2F%2A&ignorecase=False")
	if diff := cmp.Diff([]string{"range/1.10", "range/1.2", "range/9.0@demo/testing"}, found); diff != "" {
		t.Errorf("search:\n%s", diff)
	}
	w.install1(t, "", nobody, newest)
}
