package transfer

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// TestComputedRevisions: what a server has under "0" appears under the revisions that clients
// compute, and a recipe that is there under both has the packages of both.
func TestComputedRevisions(t *testing.T) {
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	recipe := conantest.Recipe("zlib", "1.3", conantest.Published(at))
	one := conantest.Package(recipe, conantest.Setting("os", "Linux"), conantest.File("a", "a"), conantest.Published(at))
	other := conantest.Package(recipe, conantest.Setting("os", "Windows"), conantest.File("a", "b"), conantest.Published(at.Add(time.Hour)))
	zero := recipe.As(conan.MutableRevision)
	under := other
	under.Revision = conan.Revision{Ref: recipe.Ref, RRev: conan.MutableRevision, PackageID: other.PackageID, PRev: conan.MutableRevision}
	for name, tc := range map[string]struct {
		sets     []conantest.Set
		packages []conantest.Set
	}{
		"only 0": {[]conantest.Set{zero, under}, []conantest.Set{other}},
		"both":   {[]conantest.Set{recipe, one, zero, under}, []conantest.Set{one, other}},
	} {
		t.Run(name, func(t *testing.T) {
			source := Computed(conantest.NewSource("old", conan.StateMiss, tc.sets...))
			latest, err := source.Latest(t.Context(), conan.Revision{Ref: recipe.Ref})
			if err != nil || latest.Value.ID != recipe.RRev {
				t.Fatalf("latest %v, %v", latest.Value, err)
			}
			list, err := source.Revisions(t.Context(), conan.Revision{Ref: recipe.Ref})
			if diff := cmp.Diff([]conan.RevisionTime{{ID: recipe.RRev, Time: at}}, list.Value); err != nil || diff != "" {
				t.Errorf("revisions: %v\n%s", err, diff)
			}
			found, err := source.Packages(t.Context(), recipe.Revision, true)
			if err != nil || len(found.Value) != len(tc.packages) {
				t.Errorf("packages: %v, %v", found.Value, err)
			}
			for _, pkg := range tc.packages {
				list, err := source.Revisions(t.Context(), pkg.Revision.With(""))
				if diff := cmp.Diff([]conan.RevisionTime{{ID: pkg.PRev, Time: pkg.Time}}, list.Value); err != nil || diff != "" {
					t.Errorf("revisions of a package: %v\n%s", err, diff)
				}
				f, err := source.Open(t.Context(), pkg.Revision, conan.ManifestFile)
				if err != nil {
					t.Fatal(err)
				}
				if text, err := io.ReadAll(f.Value); err != nil || string(text) != string(pkg.Files[conan.ManifestFile]) {
					t.Errorf("manifest %q, %v", text, err)
				}
			}
			for _, gone := range []conan.Revision{recipe.Revision.With("0"), one.Revision.With("0")} {
				if _, err := source.Snapshot(t.Context(), gone); !conan.IsAbsent(err) {
					t.Errorf("%s: %v", gone, err)
				}
			}
		})
	}
}

// lists counts the lists that a Source is asked for.
type lists struct {
	conan.Source
	asked int
}

func (l *lists) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	l.asked++
	return l.Source.Revisions(ctx, rev)
}

// The files of a listed package are asked for without listing it again.
func TestComputedRevisionsAreListedOnce(t *testing.T) {
	recipe := conantest.Recipe("zlib", "1.3")
	pkg := conantest.Package(recipe, conantest.File("a", "a"))
	old := &lists{Source: conantest.NewSource("old", conan.StateMiss, recipe, pkg)}
	source := Computed(old)
	if _, err := source.Snapshot(t.Context(), pkg.Revision); err != nil { // not listed yet
		t.Fatal(err)
	}
	listed := old.asked
	for name := range pkg.Files {
		if _, err := source.Snapshot(t.Context(), pkg.Revision); err != nil {
			t.Error(err)
		}
		f, err := source.Open(t.Context(), pkg.Revision, name)
		if err != nil {
			t.Fatal(err)
		}
		f.Value.Close()
	}
	if old.asked != listed {
		t.Errorf("%d lists more for the files of a package that was listed", old.asked-listed)
	}
}
