package selection

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// maxFileSize bounds a file of the client in bytes.
const maxFileSize = 64 << 20

// FileKind is one of the files that Conan's client writes.
type FileKind string

// The kinds of files that name revisions.
const (
	PackageList FileKind = "package list" // conan list|upload|download --format=json
	Graph       FileKind = "graph"        // conan graph info|install|create --format=json
	Lockfile    FileKind = "lockfile"     // conan.lock of Conan 2, *.lock of Conan 1
)

// ReadFile reads a file of the client. name stands in errors and in what is missing later. A file of
// another kind, of an unknown version, or cut short is conan.ErrInvalid with a sentence that says what was expected.
func ReadFile(r io.Reader, kind FileKind, name string) ([]Named, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxFileSize {
		return nil, fmt.Errorf("%w: %s is longer than 64 MiB", conan.ErrInvalid, name)
	}
	var top map[string]json.RawMessage
	if err := decode(text, &top); err != nil {
		return nil, fmt.Errorf("%w: %s is no %s: %s", conan.ErrInvalid, name, kind, err)
	}
	if is := kindOf(top); is != kind {
		return nil, fmt.Errorf("%w: %s is a %s, not a %s", conan.ErrInvalid, name, is, kind)
	}
	read := map[FileKind]func(map[string]json.RawMessage) ([]Named, error){
		PackageList: readPackageList, Graph: readGraph, Lockfile: readLockfile,
	}[kind]
	named, err := read(top)
	if errors.Is(err, conan.ErrInvalid) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %s", conan.ErrInvalid, name, err)
	}
	for i := range named {
		named[i].From = name
	}
	return named, nil
}

// kindOf tells what a file is by the keys at its top.
func kindOf(top map[string]json.RawMessage) FileKind {
	has := func(key string) bool { return top[key] != nil }
	switch {
	case has("graph_lock"), has("version") && (has("requires") || has("build_requires") || has("python_requires") || has("config_requires")):
		return Lockfile
	case has("graph"):
		return Graph
	}
	return PackageList
}

// decode reads one JSON value and says where it is broken.
func decode(text []byte, v any) error {
	err := json.Unmarshal(text, v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("JSON ends or breaks at byte %d: %s", syntax.Offset, syntax)
	}
	return err
}

// listedRecipe is one reference of a package list.
type listedRecipe struct {
	Revisions map[string]struct {
		Packages map[string]struct {
			Revisions map[string]json.RawMessage `json:"revisions"`
		} `json:"packages"`
	} `json:"revisions"`
}

// readPackageList unites the lists of all remotes that the file has.
func readPackageList(top map[string]json.RawMessage) ([]Named, error) {
	var named []Named
	for _, remote := range slices.Sorted(maps.Keys(top)) {
		var list map[string]json.RawMessage
		if err := decode(top[remote], &list); err != nil {
			return nil, fmt.Errorf("the list of %q: %w", remote, err)
		}
		if list["error"] != nil {
			return nil, fmt.Errorf("the list of %q is an error message: %s", remote, list["error"])
		}
		for _, text := range slices.Sorted(maps.Keys(list)) {
			found, err := namedRecipe(text, list[text])
			if err != nil {
				return nil, err
			}
			named = append(named, found...)
		}
	}
	return named, nil
}

func namedRecipe(text string, body json.RawMessage) ([]Named, error) {
	ref, err := conan.ParseRef(text)
	if err != nil {
		return nil, err
	}
	var recipe listedRecipe
	if err := decode(body, &recipe); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	if len(recipe.Revisions) == 0 {
		return []Named{{Revision: conan.Revision{Ref: ref}}}, nil
	}
	var named []Named
	add := func(rrev, id, prev string) error {
		rev, err := conan.NewRevision(ref, rrev, id, prev)
		named = append(named, Named{Revision: rev})
		return err
	}
	for _, rrev := range slices.Sorted(maps.Keys(recipe.Revisions)) {
		err = errors.Join(err, add(rrev, "", ""))
		packages := recipe.Revisions[rrev].Packages
		for _, id := range slices.Sorted(maps.Keys(packages)) {
			if len(packages[id].Revisions) == 0 {
				err = errors.Join(err, add(rrev, id, ""))
			}
			for _, prev := range slices.Sorted(maps.Keys(packages[id].Revisions)) {
				err = errors.Join(err, add(rrev, id, prev))
			}
		}
	}
	return named, err
}

// graphNode is one node of a graph as far as it names packages.
type graphNode struct {
	Ref            string                     `json:"ref"`
	Recipe         string                     `json:"recipe"`
	PackageID      string                     `json:"package_id"`
	PRev           string                     `json:"prev"`
	Binary         string                     `json:"binary"`
	PythonRequires map[string]json.RawMessage `json:"python_requires"`
}

// readGraph lists the recipes of a graph with their python_requires, and the exact binaries. Nodes
// that no server has (the consumer, editables, the platform's) and binaries that the client skipped or
// could not find are left out.
func readGraph(top map[string]json.RawMessage) ([]Named, error) {
	var graph struct {
		Nodes map[string]graphNode `json:"nodes"`
	}
	if err := decode(top["graph"], &graph); err != nil {
		return nil, fmt.Errorf("the graph: %w", err)
	}
	if graph.Nodes == nil {
		return nil, errors.New("the graph has no nodes; was the file filtered?")
	}
	var named []Named
	for _, id := range slices.Sorted(maps.Keys(graph.Nodes)) {
		found, err := graph.Nodes[id].named()
		if err != nil {
			return nil, fmt.Errorf("node %q: %w", id, err)
		}
		named = append(named, found...)
	}
	return named, nil
}

func (n graphNode) named() ([]Named, error) {
	var named []Named
	for _, text := range slices.Sorted(maps.Keys(n.PythonRequires)) {
		rev, err := parseRecipe(text)
		if err != nil {
			return nil, err
		}
		named = append(named, Named{Revision: rev})
	}
	switch n.Recipe {
	case "Consumer", "Cli", "Platform", "Editable":
		return named, nil
	}
	rev, err := parseRecipe(n.Ref)
	if err != nil {
		return nil, err
	}
	named = append(named, Named{Revision: rev})
	switch n.Binary {
	case "Skip", "Missing", "Invalid":
		return named, nil
	}
	if n.PackageID != "" && n.PRev != "" {
		rev, err = conan.NewRevision(rev.Ref, rev.RRev, n.PackageID, n.PRev)
		named = append(named, Named{Revision: rev})
	}
	return named, err
}

// parseRecipe reads name/version@user/channel#rrev%time.
func parseRecipe(text string) (conan.Revision, error) {
	text, _, _ = strings.Cut(text, "%")
	text, rrev, _ := strings.Cut(text, "#")
	ref, err := conan.ParseRef(text)
	if err != nil {
		return conan.Revision{}, err
	}
	return conan.NewRevision(ref, rrev, "", "")
}

// readLockfile reads a lockfile of either generation.
func readLockfile(top map[string]json.RawMessage) ([]Named, error) {
	if top["graph_lock"] != nil {
		return readLockfile1(top)
	}
	var version string
	if err := decode(top["version"], &version); err != nil || version != "0.5" {
		return nil, fmt.Errorf("lockfiles of version %s are not known, only 0.5 and those of Conan 1", top["version"])
	}
	var named []Named
	for _, key := range []string{"requires", "build_requires", "python_requires", "config_requires"} {
		if top[key] == nil {
			continue
		}
		var list []json.RawMessage
		if err := decode(top[key], &list); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		for _, entry := range list {
			found, err := lockedRecipe(entry)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			named = append(named, found...)
		}
	}
	return named, nil
}

// lockedRecipe reads "ref", or ["ref", {package id: prev}] where packages are locked too.
func lockedRecipe(entry json.RawMessage) ([]Named, error) {
	var text string
	if decode(entry, &text) == nil {
		rev, err := parseRecipe(text)
		return []Named{{Revision: rev, WithPackages: true}}, err
	}
	var pair []json.RawMessage
	var packages map[string]string
	if decode(entry, &pair) != nil || len(pair) != 2 || decode(pair[0], &text) != nil || decode(pair[1], &packages) != nil {
		return nil, fmt.Errorf("%s is neither a reference nor one with its packages", entry)
	}
	recipe, err := parseRecipe(text)
	named := []Named{{Revision: recipe}}
	for _, id := range slices.Sorted(maps.Keys(packages)) {
		rev, revErr := conan.NewRevision(recipe.Ref, recipe.RRev, id, packages[id])
		err = errors.Join(err, revErr)
		named = append(named, Named{Revision: rev})
	}
	return named, err
}

// readLockfile1 reads a lockfile of Conan 1. Without revisions in the client it names the
// revision 0, which means the newest here.
func readLockfile1(top map[string]json.RawMessage) ([]Named, error) {
	var lock struct {
		Nodes map[string]struct {
			Ref            string   `json:"ref"`
			PackageID      string   `json:"package_id"`
			PRev           string   `json:"prev"`
			PythonRequires []string `json:"python_requires"`
		} `json:"nodes"`
	}
	if err := decode(top["graph_lock"], &lock); err != nil {
		return nil, fmt.Errorf("graph_lock: %w", err)
	}
	var named []Named
	for _, id := range slices.Sorted(maps.Keys(lock.Nodes)) {
		node := lock.Nodes[id]
		for _, text := range node.PythonRequires {
			rev, err := parseRecipe(text)
			if err != nil {
				return nil, fmt.Errorf("node %q: %w", id, err)
			}
			named = append(named, Named{Revision: newestOf(rev)})
		}
		if node.Ref == "" {
			continue // the consumer
		}
		rev, err := parseRecipe(node.Ref)
		if err != nil {
			return nil, fmt.Errorf("node %q: %w", id, err)
		}
		named = append(named, Named{Revision: newestOf(rev), WithPackages: node.PackageID == ""})
		if node.PackageID != "" {
			pkg, err := conan.NewRevision(rev.Ref, rev.RRev, node.PackageID, node.PRev)
			if err != nil {
				return nil, fmt.Errorf("node %q: %w", id, err)
			}
			named = append(named, Named{Revision: newestOf(pkg)})
		}
	}
	return named, nil
}

// newestOf turns the revision 0 into "the newest".
func newestOf(rev conan.Revision) conan.Revision {
	if rev.RRev == conan.MutableRevision {
		rev.RRev = ""
	}
	if rev.PRev == conan.MutableRevision {
		rev.PRev = ""
	}
	return rev
}
