package resolver

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
)

func TestMergeRevisionsUnknownTime(t *testing.T) {
	known := time.Unix(10, 0).UTC()
	got := mergeRevisions([][]conan.RevisionTime{{{ID: "r1"}}, {{ID: "r1", Time: known}}, {{ID: "r1"}}})
	if diff := cmp.Diff([]conan.RevisionTime{{ID: "r1", Time: known}}, got); diff != "" {
		t.Errorf("a time that is not known counts (-want +got):\n%s", diff)
	}
}

// A revision that one list shows is shown; hidden ones stand last.
func TestMergeRevisionsHidden(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	why := &conan.HiddenError{Member: "a", Reason: "bad"}
	got := mergeRevisions([][]conan.RevisionTime{
		{{ID: "r1", Time: at(1)}, {ID: "r4", Time: at(4), Hidden: true, Why: why}, {ID: "r3", Time: at(3), Hidden: true, Why: why}},
		{{ID: "r3", Time: at(3)}, {ID: "r2", Time: at(2)}},
	})
	want := []conan.RevisionTime{{ID: "r3", Time: at(3)}, {ID: "r2", Time: at(2)}, {ID: "r1", Time: at(1)}, {ID: "r4", Time: at(4), Hidden: true, Why: why}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever the lists: each id once, newest first, with the earliest of its times.
func TestMergeRevisionsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		revision := rapid.Custom(func(t *rapid.T) conan.RevisionTime {
			return conan.RevisionTime{
				ID:   fmt.Sprintf("r%d", rapid.IntRange(0, 8).Draw(t, "id")),
				Time: time.Unix(rapid.Int64Range(1, 6).Draw(t, "time"), 0).UTC(),
			}
		})
		list := rapid.SliceOfNDistinct(revision, 0, 6, func(r conan.RevisionTime) string { return r.ID })
		lists := rapid.SliceOfN(list, 2, 4).Draw(t, "lists")

		earliest := map[string]time.Time{}
		for _, r := range slices.Concat(lists...) {
			if known, ok := earliest[r.ID]; !ok || r.Time.Before(known) {
				earliest[r.ID] = r.Time
			}
		}
		got := mergeRevisions(lists)
		if len(got) != len(earliest) {
			t.Fatalf("%d revisions of %d", len(got), len(earliest))
		}
		for i, r := range got {
			if !r.Time.Equal(earliest[r.ID]) {
				t.Errorf("%s has the time %v, want %v", r.ID, r.Time, earliest[r.ID])
			}
			if i > 0 && r.Time.After(got[i-1].Time) {
				t.Errorf("%v is after %v", r, got[i-1])
			}
		}
		if diff := cmp.Diff(got, mergeRevisions(append(lists, got))); diff != "" {
			t.Errorf("merging again changes it:\n%s", diff)
		}
	})
}

func TestMergePackagesPrefersInfo(t *testing.T) {
	got := mergePackages([][]conan.Package{
		{{ID: "p2", Info: "first"}, {ID: "p1"}},
		{{ID: "p1", Info: "later"}, {ID: "p2", Info: "later"}},
	})
	want := []conan.Package{{ID: "p1", Info: "later"}, {ID: "p2", Info: "first"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}
