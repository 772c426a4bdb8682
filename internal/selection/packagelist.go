package selection

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"conanproxy/internal/conan"
)

// listedReference is one reference of a package list. A nil map is one that the list does not have.
type listedReference struct {
	Revisions map[string]listedRecipe `json:"revisions"`
}

type listedRecipe struct {
	Packages map[string]listedPackage `json:"packages"`
}

type listedPackage struct {
	Revisions map[string]json.RawMessage `json:"revisions"`
}

// parsePackageList unites the lists of all remotes, and of the client's cache, that a package list
// has.
func parsePackageList(top map[string]json.RawMessage) ([]named, error) {
	switch {
	case top["graph"] != nil:
		return nil, fmt.Errorf("%w: it is a graph, not a package list", conan.ErrInvalid)
	case isLockfile(top):
		return nil, fmt.Errorf("%w: it is a lockfile, not a package list", conan.ErrInvalid)
	}
	var found []named
	for _, remote := range slices.Sorted(maps.Keys(top)) {
		list, err := parseRemoteList(top[remote])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", remote, err)
		}
		found = append(found, list...)
	}
	return found, nil
}

// parseRemoteList reads what a package list says of one remote.
func parseRemoteList(text json.RawMessage) ([]named, error) {
	var list map[string]json.RawMessage
	if err := decode(text, &list); err != nil {
		return nil, err
	}
	if list["error"] != nil {
		return nil, fmt.Errorf("%w: the client wrote an error: %s", conan.ErrInvalid, clip(list["error"]))
	}
	var found []named
	for _, reference := range slices.Sorted(maps.Keys(list)) {
		ref, err := conan.ParseRef(reference)
		if err != nil {
			return nil, err
		}
		var listed listedReference
		if err := decode(list[reference], &listed); err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		revisions, err := listed.named(ref)
		if err != nil {
			return nil, err
		}
		found = append(found, revisions...)
	}
	return found, nil
}

func (l listedReference) named(ref conan.Ref) ([]named, error) {
	if len(l.Revisions) == 0 {
		return nil, fmt.Errorf("%w: %s has no revisions; list it with #latest or #*", conan.ErrInvalid, ref)
	}
	var found []named
	for _, rrev := range slices.Sorted(maps.Keys(l.Revisions)) {
		recipe, err := pinned(ref, rrev)
		if err != nil {
			return nil, err
		}
		packages := l.Revisions[rrev].Packages
		extent := exact
		if packages == nil {
			extent = bare
		}
		found = append(found, named{Revision: recipe, extent: extent})
		for _, id := range slices.Sorted(maps.Keys(packages)) {
			binaries, err := packages[id].named(recipe, id)
			if err != nil {
				return nil, err
			}
			found = append(found, binaries...)
		}
	}
	return found, nil
}

func (l listedPackage) named(recipe conan.Revision, id string) ([]named, error) {
	if len(l.Revisions) == 0 {
		return nil, fmt.Errorf("%w: package %q of %s has no revisions; list it with #latest or #*", conan.ErrInvalid, id, recipe)
	}
	var found []named
	for _, prev := range slices.Sorted(maps.Keys(l.Revisions)) {
		rev, err := pinnedPackage(recipe, id, prev)
		if err != nil {
			return nil, err
		}
		found = append(found, named{Revision: rev})
	}
	return found, nil
}

// pinned is a recipe revision whose id must not be empty.
func pinned(ref conan.Ref, rrev string) (conan.Revision, error) {
	if rrev == "" {
		return conan.Revision{}, fmt.Errorf("%w: %s has an empty recipe revision", conan.ErrInvalid, ref)
	}
	return conan.NewRevision(ref, rrev, "", "")
}

// pinnedPackage is a package revision whose ids must not be empty.
func pinnedPackage(recipe conan.Revision, id, prev string) (conan.Revision, error) {
	if id == "" || prev == "" {
		return conan.Revision{}, fmt.Errorf("%w: %s has a package with an empty id or revision", conan.ErrInvalid, recipe)
	}
	return conan.NewRevision(recipe.Ref, recipe.RRev, id, prev)
}
