package localstore

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func TestListsEndWithAChange(t *testing.T) {
	l, err := newLists()
	if err != nil {
		t.Fatal(err)
	}
	rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: "r1"}
	files := conan.Snapshot{{Name: "conanfile.py", Size: 1}}
	if got, changes := l.get(rev); got != nil {
		t.Fatal(got)
	} else {
		l.put(rev, files, changes)
	}
	got, changes := l.get(rev)
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("(-put +got):\n%s", diff)
	}
	l.forget(rev.Ref)
	if got, _ := l.get(rev); got != nil {
		t.Errorf("after a change: %v", got)
	}
	l.put(rev, files, changes) // read before the change, put after it
	if got, _ := l.get(rev); got != nil {
		t.Errorf("a list of before the change: %v", got)
	}
}

func TestLongListsAreNotKept(t *testing.T) {
	l, err := newLists()
	if err != nil {
		t.Fatal(err)
	}
	rev := conan.Revision{Ref: mustRef(t, "zlib/1.3"), RRev: "r1"}
	_, changes := l.get(rev)
	l.put(rev, make(conan.Snapshot, 17), changes)
	if got, _ := l.get(rev); got != nil {
		t.Errorf("%d files are kept", len(got))
	}
}

// A list that was asked for before is told without the index, which a request that has ended may not ask.
func TestWarmListReadsNoRows(t *testing.T) {
	e := newEnv(t)
	warm, cold := e.publishRecipe(hi, plainRecipe("warm")), e.publishRecipe(mustRef(t, "cold/1.0"), plainRecipe("cold"))
	want, err := e.Snapshot(t.Context(), warm)
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	got, err := e.Snapshot(ended, warm)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "warm list", got, want)
	_, err = e.Snapshot(ended, cold)
	wantError(t, err, context.Canceled)

	if err := e.Remove(t.Context(), conan.Removal{Revision: conan.Revision{Ref: hi}}); err != nil {
		t.Fatal(err)
	}
	_, err = e.Open(t.Context(), warm, conan.ManifestFile)
	wantError(t, err, conan.ErrNotFound)
}
