package policy

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// hidingWorld is a source with two recipe revisions of one reference, a package in the newer one,
// and another reference.
func hidingWorld(t *testing.T) (source conan.Source, old, latest, pkg, other conantest.Set) {
	t.Helper()
	old = conantest.Recipe("zlib", "1.3")
	latest = conantest.Recipe("zlib", "1.3", conantest.File("data.yml", "2"))
	pkg = conantest.Package(latest, conantest.File("lib/a", "a"))
	other = conantest.Recipe("boost", "1.83")
	return conantest.NewSource("m", conan.StateLocal, old, latest, pkg, other), old, latest, pkg, other
}

func TestHiddenRevisionsAreOutOfSight(t *testing.T) {
	source, old, latest, pkg, other := hidingWorld(t)
	for name, tc := range map[string]struct {
		hides    []Hide
		newest   string // of zlib/1.3; empty: not found
		packages int    // of the newest revision of all; -1: refused
		refs     int
		pkgFiles bool
	}{
		"nothing":                  {nil, latest.RRev, 1, 2, true},
		"the newest":               {[]Hide{{Revision: latest.Revision, Reason: "bad"}}, old.RRev, -1, 2, false},
		"an older one":             {[]Hide{{Revision: old.Revision, Reason: "bad"}}, latest.RRev, 1, 2, true},
		"all of a reference":       {[]Hide{{Revision: old.Revision, Reason: "bad"}, {Revision: latest.Revision, Reason: "bad"}}, "", -1, 1, false},
		"a package":                {[]Hide{{Revision: pkg.Revision, Reason: "bad"}}, latest.RRev, 0, 2, false},
		"of this member":           {[]Hide{{Member: "m", Revision: latest.Revision, Reason: "bad"}}, old.RRev, -1, 2, false},
		"of another member":        {[]Hide{{Member: "n", Revision: latest.Revision, Reason: "bad"}}, latest.RRev, 1, 2, true},
		"in this view":             {[]Hide{{View: "v", Revision: latest.Revision, Reason: "bad"}}, old.RRev, -1, 2, false},
		"in another view":          {[]Hide{{View: "w", Revision: latest.Revision, Reason: "bad"}}, latest.RRev, 1, 2, true},
		"of another reference too": {[]Hide{{Revision: other.Revision, Reason: "bad"}}, latest.RRev, 1, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			var hides Hides
			hides.Set(tc.hides)
			h := NewHiding(source, &hides, "m", "v")
			ref := conan.Revision{Ref: latest.Ref}
			newest, err := h.Latest(t.Context(), ref)
			if newest.Value.ID != tc.newest || (err == nil) != (tc.newest != "") || err != nil && !errors.Is(err, conan.ErrNotFound) {
				t.Errorf("newest %q, %v; want %q", newest.Value.ID, err, tc.newest)
			}
			list, err := h.Revisions(t.Context(), ref)
			if err != nil || len(list.Value) != 2 {
				t.Errorf("revisions %v, %v", list.Value, err)
			}
			if tc.newest != "" && list.Value[0].ID != tc.newest {
				t.Errorf("the list begins with %s", list.Value[0].ID)
			}
			packages, err := h.Packages(t.Context(), latest.Revision, false)
			wantHidden(t, "packages", err, tc.packages < 0)
			if tc.packages >= 0 && len(packages.Value) != tc.packages {
				t.Errorf("%d packages, want %d", len(packages.Value), tc.packages)
			}
			_, err = h.Snapshot(t.Context(), pkg.Revision)
			wantHidden(t, "files", err, !tc.pkgFiles)
			_, err = h.Open(t.Context(), pkg.Revision, conan.ManifestFile)
			wantHidden(t, "a file", err, !tc.pkgFiles)
			all, err := conan.ParsePattern("*", true)
			if err != nil {
				t.Fatal(err)
			}
			if found, err := h.Search(t.Context(), all); err != nil || len(found.Value) != tc.refs {
				t.Errorf("found %v, %v; want %d", found.Value, err, tc.refs)
			}
		})
	}
}

func wantHidden(t *testing.T, what string, err error, want bool) {
	t.Helper()
	var hidden *conan.HiddenError
	if is := errors.As(err, &hidden); is != want || !want && err != nil {
		t.Errorf("%s: %v, hidden is to be %v", what, err, want)
	}
	if want {
		if diff := cmp.Diff(&conan.HiddenError{Member: "m", Reason: "bad"}, hidden); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

// A Hiding keeps the contract of a Source about what is not hidden.
func TestHidingIsASource(t *testing.T) {
	conantest.TestSource(t, func(t *testing.T, sets ...conantest.Set) conan.Source {
		hidden := conantest.Recipe("hidden", "1.0")
		var hides Hides
		hides.Set([]Hide{{Revision: hidden.Revision, Reason: "bad"}})
		return NewHiding(conantest.NewSource("up", conan.StateHit, append(sets, hidden)...), &hides, "up", "v")
	})
}
