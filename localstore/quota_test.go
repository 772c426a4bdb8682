package localstore

import (
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// TestQuotaOfWhatIsThere: what a full store has already can be sent again, as a set and in a
// bundle; anything else is refused.
func TestQuotaOfWhatIsThere(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	one, two := conantest.Recipe("zlib", "1.3"), conantest.Recipe("zlib", "1.4")
	apply := func(sets ...conantest.Set) error {
		_, err := importing(e, bundled(t, sets...)).atOnce().Take(t.Context(), revisionsOf(sets...), conan.Actor{}, false)
		return err
	}
	wantError(t, apply(one), nil)
	rev := e.publishRecipe(hi, plainRecipe("class A"))
	bytes, err := e.db.StoreBytes(t.Context(), e.member)
	wantError(t, err, nil)
	e.db.SetQuota(e.member, bytes)

	wantError(t, e.CheckSpace(t.Context(), 1), conan.ErrDenied)
	wantError(t, e.CheckDisk(t.Context(), bytes), nil)
	wantError(t, apply(one), nil)
	wantError(t, apply(one, two), conan.ErrDenied)
	wantError(t, e.send(rev, plainRecipe("class A")), nil)
	other := plainRecipe("class B")
	wantError(t, e.send(conan.Revision{Ref: hi, RRev: other.rev()}, other), conan.ErrDenied)
}
