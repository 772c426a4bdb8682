package resolver

import (
	"bytes"
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// The resolver keeps the contract of a Source, in whatever order its members stand, if each has a
// part of the whole: the store what has a user, one upstream most of zlib/1.3, the other one its
// newest recipe with the binary for Windows, and zlib/1.3.1.
func TestSource(t *testing.T) {
	parts := func(sets []conantest.Set) (store, first, second []conantest.Set) {
		for _, set := range sets {
			windows := bytes.Contains(set.Files[conan.InfoFile], []byte("Windows"))
			switch {
			case set.Ref.User != "":
				store = append(store, set)
			case set.Ref.Version == "1.3.1" || windows:
				second = append(second, set)
			default:
				first = append(first, set)
			}
		}
		for _, set := range first {
			if last := len(second) - 1; last >= 0 && set.Revision == second[0].Recipe() {
				second = append([]conantest.Set{set}, second...)
				break
			}
		}
		return store, first, second
	}
	for name, order := range map[string][]int{"the store first": {0, 1, 2}, "the store last": {1, 2, 0}} {
		t.Run(name, func(t *testing.T) {
			conantest.TestSource(t, func(t *testing.T, sets ...conantest.Set) conan.Source {
				store, first, second := parts(sets)
				all := []Member{
					{Name: "dev", Store: conantest.NewSource("dev", conan.StateLocal, store...)},
					{Name: "first", Source: conantest.NewSource("first", conan.StateHit, first...)},
					{Name: "second", Source: conantest.NewSource("second", conan.StateHit, second...)},
				}
				var members []Member
				for _, i := range order {
					members = append(members, all[i])
				}
				r, err := New(Options{Members: members})
				if err != nil {
					t.Fatal(err)
				}
				return r.For(conan.Conan2, nil)
			})
		})
	}
}
