package selection

import (
	"bytes"
	"encoding/json"

	"conanproxy/internal/conan"
)

// Name is a revision that a file of the client names. An empty RRev or PRev is left open.
type Name struct {
	conan.Revision
	Locked bool // by a lockfile
}

// Names reads a file of the client by itself: a graph, a lockfile or else a package list, as its
// content tells. What is wrong with it is conan.ErrInvalid.
func Names(text []byte) ([]Name, error) {
	var top map[string]json.RawMessage
	if len(text) <= maxFileSize { // the file itself tells when it is too large
		if err := decode(text, &top); err != nil {
			return nil, err
		}
	}
	f := file{name: "list", text: text, parse: parsePackageList}
	switch {
	case top["graph"] != nil:
		f.name, f.parse = "graph", parseGraph
	case isLockfile(top):
		f.name, f.parse = "lockfile", parseLockfile
	}
	found, err := f.read()
	if err != nil {
		return nil, err
	}
	names := make([]Name, len(found))
	for i, n := range found {
		names[i] = Name{n.Revision, f.name == "lockfile"}
	}
	return names, nil
}

// isLockfile tells a lockfile of either generation by the keys at its top.
func isLockfile(top map[string]json.RawMessage) bool {
	return top["graph_lock"] != nil || bytes.HasPrefix(top["version"], []byte(`"`))
}
