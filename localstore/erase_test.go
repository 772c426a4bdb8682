package localstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/selection"
)

// everything is what a pattern selects to be removed for good.
func (e *env) everything(pattern string) []conan.Revision {
	e.t.Helper()
	sel, err := selection.Spec{Patterns: []string{pattern}}.Parse()
	wantError(e.t, err, nil)
	result, err := selection.Resolve(e.t.Context(), e.EverySource(), sel, selection.AsRemove)
	wantError(e.t, err, nil)
	var revs []conan.Revision
	for _, found := range result.Revisions {
		revs = append(revs, found.Revision)
	}
	return revs
}

// What is erased is in no answer about any moment, whether it was published or removed before.
func TestErase(t *testing.T) {
	e := newEnv(t)
	e.Set(true, time.Hour, 0)
	removed := e.publishRecipe(hi, plainRecipe("old"))
	pkg := e.publishPackage(removed, pid2, pkg(info2, files{"a": "a"}))
	live := e.publishRecipe(hi, plainRecipe("new"))
	then := time.Now()
	wantError(t, onlyError(e.RemoveRevisions(t.Context(), []conan.Revision{removed}, conan.Actor{}, false)), nil)

	revs := e.everything("hello/*")
	for _, rev := range []conan.Revision{removed, pkg, live} {
		if !slices.Contains(revs, rev) {
			t.Errorf("%s is not selected: %v", rev, revs)
		}
	}
	wantEqual(t, "by package", e.everything(hi.String()+":*"), []conan.Revision{pkg})

	erased, err := e.Erase(t.Context(), revs, conan.Actor{Name: "ann"}, true)
	wantError(t, err, nil)
	wantEqual(t, "a dry run", len(erased), 3)
	if _, err := e.At(then).Snapshot(t.Context(), pkg); err != nil {
		t.Errorf("after a dry run: %v", err)
	}
	_, err = e.Erase(t.Context(), revs, conan.Actor{Name: "ann"}, false)
	wantError(t, err, nil)
	for _, rev := range revs {
		_, err := e.At(then).Snapshot(t.Context(), rev)
		wantError(t, err, conan.ErrNotFound)
	}
	_, err = e.Restore(t.Context(), []conan.Revision{removed}, conan.Actor{}, false)
	wantError(t, err, conan.ErrNotFound)
	list, err := e.At(then).revisionsOf(t, hi)
	wantError(t, err, conan.ErrNotFound)
	wantEqual(t, "the past", len(list), 0)
}

// Whoever erases is told if bytes are not deleted yet, though the revisions are removed.
func TestEraseTellsOfBytesThatStay(t *testing.T) {
	e := newEnv(t, func(o *Options) {
		o.DeleteUnused = func(context.Context) error { return errors.New("the secret reason") }
	})
	live := e.publishRecipe(hi, plainRecipe("new"))
	_, err := e.Erase(t.Context(), []conan.Revision{live}, conan.Actor{Name: "ann"}, true)
	wantError(t, err, nil)
	_, err = e.Erase(t.Context(), []conan.Revision{live}, conan.Actor{Name: "ann"}, false)
	wantError(t, err, conan.ErrUnavailable)
	if text := err.Error(); !strings.Contains(text, "are removed") || !strings.Contains(text, "not deleted yet") || strings.Contains(text, "secret") {
		t.Errorf("the error says %q", text)
	}
	_, err = e.Snapshot(t.Context(), live)
	wantError(t, err, conan.ErrNotFound)
}
