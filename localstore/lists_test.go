package localstore

import (
	"context"
	"testing"

	"conanproxy/internal/conan"
)

// A list that was asked for before is told without the index, which a request that has ended may
// not ask.
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
