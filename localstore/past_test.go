package localstore

import (
	"bytes"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// revisionsOf lists ids of recipe revisions.
func (p *Past) revisionsOf(t testing.TB, ref conan.Ref) ([]string, error) {
	t.Helper()
	a, err := p.Revisions(t.Context(), conan.Revision{Ref: ref})
	var ids []string
	for _, r := range a.Value {
		ids = append(ids, r.ID)
	}
	return ids, err
}

// TestPastIsASource: what was removed since, to the last revision, is as if it were still there.
func TestPastIsASource(t *testing.T) {
	for name, removed := range map[string]bool{"published": false, "in the trash": true} {
		t.Run(name, func(t *testing.T) {
			conantest.TestSource(t, func(t *testing.T, sets ...conantest.Set) conan.Source {
				e := newEnv(t)
				e.Set(true, time.Hour, 0)
				refs := make(map[conan.Ref]bool)
				for _, set := range sets {
					refs[set.Ref] = true
					for _, name := range set.Names() {
						err := e.Put(t.Context(), conan.Upload{Revision: set.Revision, Name: name, Size: int64(len(set.Files[name])), Body: bytes.NewReader(set.Files[name])})
						wantError(t, err, nil)
					}
				}
				at := time.Now()
				for ref := range refs {
					if removed {
						wantError(t, e.Remove(t.Context(), conan.Removal{Revision: conan.Revision{Ref: ref}}), nil)
					}
				}
				return e.At(at)
			})
		})
	}
}

func TestPast(t *testing.T) {
	e := newEnv(t)
	e.Set(true, time.Hour, 0)
	start := time.Now()
	old := e.publishRecipe(hi, plainRecipe("old"))
	e.publishPackage(old, pid2, pkg(info2, files{"a": "a"}))
	then := time.Now()
	newer := e.publishRecipe(hi, plainRecipe("new"))
	wantError(t, onlyError(e.RemoveRevisions(t.Context(), []conan.Revision{old}, conan.Actor{}, false)), nil)

	for name, tc := range map[string]struct {
		at   time.Time
		want []string
	}{
		"before all":   {start, nil},
		"while it was": {then, []string{old.RRev}},
		"now":          {time.Now(), []string{newer.RRev}},
	} {
		got, err := e.At(tc.at).revisionsOf(t, hi)
		if len(tc.want) == 0 {
			wantError(t, err, conan.ErrNotFound)
			continue
		}
		wantError(t, err, nil)
		wantEqual(t, name, got, tc.want)
		own, err := e.At(tc.at).OwnRevisions(t.Context(), hi)
		wantError(t, err, nil)
		wantEqual(t, "own revisions "+name, own, tc.want)
	}
	_, err := e.At(then).Snapshot(t.Context(), newer)
	wantError(t, err, conan.ErrNotFound)
	_, err = e.At(time.Now()).Snapshot(t.Context(), old)
	wantError(t, err, conan.ErrNotFound)
	f, err := e.At(then).Open(t.Context(), old, conan.RecipeFile)
	wantError(t, err, nil)
	f.Value.Close()

	for text, want := range map[string]int{"*": 1, "HELL*": 1, hi.String(): 1, "hell": 0, "other/*": 0} {
		p, err := conan.ParsePattern(text, true)
		wantError(t, err, nil)
		found, err := e.At(then).Search(t.Context(), p)
		wantError(t, err, nil)
		wantEqual(t, "found by "+text, len(found.Value), want)
	}

	e.Set(true, 0, 0)
	e.clock.advance(2 * time.Hour)
	wantError(t, e.sweepTrash(t.Context()), nil)
	_, err = e.At(then).Latest(t.Context(), conan.Revision{Ref: hi})
	wantError(t, err, conan.ErrNotFound)
	found, err := e.At(then).Search(t.Context(), conan.Pattern{})
	wantError(t, err, nil)
	wantEqual(t, "names without bytes", len(found.Value), 0)
	_, err = e.At(then).Snapshot(t.Context(), old)
	wantError(t, err, conan.ErrNotFound, "removed for good")
}

// An adopted recipe is no own revision of the past either, also once it was removed.
func TestPastKnowsWhatWasAdopted(t *testing.T) {
	set := plainRecipe("theirs")
	up := newUpstream(t)
	theirs := up.publishRecipe(hi, set)
	e := newEnv(t, func(o *Options) { o.Upstream = func(conan.Actor) conan.Source { return source{up} } })
	e.Set(true, time.Hour, 0)
	e.publishPackage(theirs, pid2, pkg(info2, files{"a": "a"}))
	then := time.Now()
	for _, when := range []string{"adopted", "removed since"} {
		list, err := e.At(then).revisionsOf(t, hi)
		wantError(t, err, nil)
		wantEqual(t, when, list, []string{theirs.RRev})
		own, err := e.At(then).OwnRevisions(t.Context(), hi)
		wantError(t, err, nil)
		wantEqual(t, when+": own revisions", len(own), 0)
		if when == "adopted" {
			wantError(t, e.Remove(t.Context(), conan.Removal{Revision: conan.Revision{Ref: hi}}), nil)
		}
	}
}
