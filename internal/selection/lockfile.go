package selection

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"conanproxy/internal/conan"
)

// The versions of lockfiles that the two generations write.
const (
	lockfileVersion1 = "0.4"
	lockfileVersion2 = "0.5"
)

// parseLockfile reads a lockfile of either generation.
func parseLockfile(top map[string]json.RawMessage) ([]named, error) {
	var version string
	if top["version"] == nil {
		return nil, fmt.Errorf("%w: it has no \"version\" at its top, so it is no lockfile", conan.ErrInvalid)
	}
	if err := decode(top["version"], &version); err != nil {
		return nil, fmt.Errorf("version: %w", err)
	}
	switch {
	case top["graph_lock"] != nil && version == lockfileVersion1:
		return parseLockfile1(top["graph_lock"])
	case top["graph_lock"] == nil && version == lockfileVersion2:
		return parseLockfile2(top)
	}
	return nil, fmt.Errorf("%w: lockfiles of version %q cannot be read, only %s of Conan 2 and %s of Conan 1",
		conan.ErrInvalid, version, lockfileVersion2, lockfileVersion1)
}

// parseLockfile2 reads what a lockfile of Conan 2 requires. It refuses keys that it does not know,
// since they may require more.
func parseLockfile2(top map[string]json.RawMessage) ([]named, error) {
	var found []named
	for _, key := range slices.Sorted(maps.Keys(top)) {
		switch key {
		case "version", "overrides", "alias": // name nothing that the lists do not have
			continue
		case "requires", "build_requires", "python_requires", "config_requires":
		default:
			return nil, fmt.Errorf("%w: %q in a lockfile is not known", conan.ErrInvalid, key)
		}
		var list []json.RawMessage
		if err := decode(top[key], &list); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		for _, entry := range list {
			revisions, err := parseLocked(entry)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			found = append(found, revisions...)
		}
	}
	return found, nil
}

// parseLocked reads "reference", or ["reference", {package id: revision}] if packages are locked.
func parseLocked(entry json.RawMessage) ([]named, error) {
	var text string
	if decode(entry, &text) == nil {
		recipe, err := parseRecipe(text)
		return []named{{Revision: recipe, extent: whole}}, err
	}
	var pair []json.RawMessage
	var packages map[string]string
	if decode(entry, &pair) != nil || len(pair) != 2 || decode(pair[0], &text) != nil || decode(pair[1], &packages) != nil {
		return nil, fmt.Errorf("%w: %s is neither a reference nor one with its packages", conan.ErrInvalid, clip(entry))
	}
	recipe, err := parseRecipe(text)
	if err != nil {
		return nil, err
	}
	found := []named{{Revision: recipe}}
	for _, id := range slices.Sorted(maps.Keys(packages)) {
		rev, err := conan.NewRevision(recipe.Ref, recipe.RRev, id, packages[id])
		if err != nil {
			return nil, err
		}
		found = append(found, named{Revision: rev})
	}
	return found, nil
}

// lockedNode is one node of a lockfile of Conan 1.
type lockedNode struct {
	Ref            string   `json:"ref"`
	PackageID      string   `json:"package_id"`
	PRev           string   `json:"prev"`
	Path           string   `json:"path"` // of the consumer's conanfile
	PythonRequires []string `json:"python_requires"`
}

func parseLockfile1(text json.RawMessage) ([]named, error) {
	var lock struct {
		Nodes map[string]lockedNode `json:"nodes"`
	}
	if err := decode(text, &lock); err != nil {
		return nil, fmt.Errorf("graph_lock: %w", err)
	}
	var found []named
	for _, id := range slices.Sorted(maps.Keys(lock.Nodes)) {
		revisions, err := lock.Nodes[id].named()
		if err != nil {
			return nil, fmt.Errorf("node %q: %w", id, err)
		}
		found = append(found, revisions...)
	}
	return found, nil
}

// named is the node's package, or its recipe with all packages in a base lockfile, which has none.
func (n lockedNode) named() ([]named, error) {
	var found []named
	for _, text := range n.PythonRequires {
		recipe, err := parseRecipe(text)
		if err != nil {
			return nil, err
		}
		found = append(found, named{Revision: newest(recipe)})
	}
	if n.Ref == "" || n.Path != "" {
		return found, nil // the consumer
	}
	recipe, err := parseRecipe(n.Ref)
	if err != nil {
		return nil, err
	}
	if n.PackageID == "" {
		return append(found, named{Revision: newest(recipe), extent: whole}), nil
	}
	rev, err := conan.NewRevision(recipe.Ref, recipe.RRev, n.PackageID, n.PRev)
	return append(found, named{Revision: newest(recipe)}, named{Revision: newest(rev)}), err
}

// newest turns the revision 0, which a client without revisions writes, into "the newest".
func newest(rev conan.Revision) conan.Revision {
	if rev.RRev == conan.MutableRevision {
		rev.RRev = ""
	}
	if rev.PRev == conan.MutableRevision {
		rev.PRev = ""
	}
	return rev
}
