package selection

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// graphNode is one node of a graph as far as it names packages.
type graphNode struct {
	Ref            string                     `json:"ref"`
	Recipe         string                     `json:"recipe"`
	PackageID      string                     `json:"package_id"`
	PRev           string                     `json:"prev"`
	Binary         string                     `json:"binary"`
	PythonRequires map[string]json.RawMessage `json:"python_requires"`
	Info           graphInfo                  `json:"info"`
}

// graphInfo is what a node's package id is made of.
type graphInfo struct {
	Settings map[string]string `json:"settings"`
	Options  map[string]string `json:"options"`
	Requires []string          `json:"requires"`
}

// parseGraph lists the recipes of a graph with their python_requires, and the exact binaries.
func parseGraph(top map[string]json.RawMessage) ([]named, error) {
	nodes, err := graphNodes(top)
	if err != nil {
		return nil, err
	}
	var found []named
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		revisions, err := nodes[id].named()
		if err != nil {
			return nil, fmt.Errorf("node %q: %w", id, err)
		}
		found = append(found, revisions...)
	}
	return found, nil
}

func graphNodes(top map[string]json.RawMessage) (map[string]graphNode, error) {
	if top["graph"] == nil {
		return nil, fmt.Errorf("%w: it has no \"graph\" at its top, so it is no graph", conan.ErrInvalid)
	}
	var graph struct {
		Nodes map[string]graphNode `json:"nodes"`
		Error json.RawMessage      `json:"error"`
	}
	if err := decode(top["graph"], &graph); err != nil {
		return nil, err
	}
	if given(graph.Error) {
		return nil, fmt.Errorf("%w: the graph has an error: %s", conan.ErrInvalid, clip(graph.Error))
	}
	if graph.Nodes == nil {
		return nil, fmt.Errorf("%w: the graph has no nodes; the client leaves them out if it filters", conan.ErrInvalid)
	}
	return graph.Nodes, nil
}

// MissingBinary is a package of a graph that the client did not find, and what its package id is
// made of.
type MissingBinary struct {
	conan.Revision // without a package revision
	Settings       map[string]string
	Options        map[string]string
	Requires       []string // as conaninfo.txt has them
}

// MissingBinaries lists the packages of a graph (conan graph info --format=json) that the client
// did not find, sorted, each once. What is wrong with the graph is conan.ErrInvalid.
func MissingBinaries(text []byte) ([]MissingBinary, error) {
	var top map[string]json.RawMessage
	if err := decode(text, &top); err != nil {
		return nil, err
	}
	nodes, err := graphNodes(top)
	if err != nil {
		return nil, err
	}
	missing := []MissingBinary{}
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[id]
		if n.Binary != "Missing" {
			continue
		}
		rev, err := parseRecipe(n.Ref)
		if err == nil {
			rev, err = conan.NewRevision(rev.Ref, rev.RRev, n.PackageID, "")
		}
		if err != nil {
			return nil, fmt.Errorf("node %q: %w", id, err)
		}
		missing = append(missing, MissingBinary{rev, n.Info.Settings, n.Info.Options, n.Info.Requires})
	}
	slices.SortStableFunc(missing, func(a, b MissingBinary) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(missing, func(a, b MissingBinary) bool { return a.Revision == b.Revision }), nil
}

// named leaves out what `conan list --graph` leaves out: the consumer, packages from a folder or
// from the platform, and binaries that the client skipped, did not find or did not build.
func (n graphNode) named() ([]named, error) {
	if n.Recipe == "" || n.Ref == "" {
		return nil, fmt.Errorf("%w: it has no ref or recipe; the client leaves them out if it filters", conan.ErrInvalid)
	}
	var found []named
	for _, text := range slices.Sorted(maps.Keys(n.PythonRequires)) {
		rev, err := parsePinned(text)
		if err != nil {
			return nil, err
		}
		found = append(found, named{Revision: rev})
	}
	switch n.Recipe {
	case "Consumer", "Cli", "Platform", "Editable":
		return found, nil
	}
	recipe, err := parsePinned(n.Ref)
	if err != nil {
		return nil, err
	}
	found = append(found, named{Revision: recipe})
	if n.Binary == "Skip" || n.Binary == "Missing" || n.Binary == "Invalid" || n.PRev == "" {
		return found, nil
	}
	rev, err := pinnedPackage(recipe, n.PackageID, n.PRev)
	return append(found, named{Revision: rev}), err
}

// parsePinned reads a reference with its revision.
func parsePinned(text string) (conan.Revision, error) {
	rev, err := parseRecipe(text)
	if err != nil {
		return conan.Revision{}, err
	}
	return pinned(rev.Ref, rev.RRev)
}
