package transfer

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

func TestInOrder(t *testing.T) {
	at := time.Date(2020, 1, 2, 3, 4, 5, 678, time.UTC) // whole microseconds are kept
	older := conantest.Recipe("zlib", "1.3", conantest.Code("b"), conantest.Published(at))
	newer := conantest.Recipe("zlib", "1.3", conantest.Code("a"), conantest.Published(at)) // at the same time
	pkg := conantest.Package(older, conantest.File("a", "a"), conantest.Published(at.Add(time.Hour)))
	again := conantest.Package(older, conantest.File("a", "b"), conantest.Published(at.Add(time.Minute)))
	first := conantest.Recipe("abc", "1.0", conantest.Published(at))
	source := conantest.NewSource("dev", conan.StateLocal, older, newer, pkg, again, first)

	items, err := InOrder(t.Context(), source, []conan.Revision{newer.Revision, pkg.Revision, again.Revision, first.Revision, pkg.Revision})
	if err != nil {
		t.Fatal(err)
	}
	var want []Item
	for _, set := range []conantest.Set{first, older, again, pkg, newer} {
		want = append(want, Item{set.Revision, set.Time.Truncate(time.Microsecond)})
	}
	if diff := cmp.Diff(want, items); diff != "" {
		t.Error(diff)
	}
	if _, err := InOrder(t.Context(), source, []conan.Revision{first.Revision.With("x")}); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("a revision that is not listed: %v", err)
	}
}
