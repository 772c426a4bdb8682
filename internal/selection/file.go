package selection

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"conanproxy/internal/conan"
)

// file is one file of the client inside a Spec.
type file struct {
	name  string // of the part: "list", "graph", "lockfile"
	text  json.RawMessage
	parse func(top map[string]json.RawMessage) ([]named, error)
}

// named is one revision that a file names. An empty RRev or PRev means the newest.
type named struct {
	conan.Revision
	extent extent // of a recipe
	from   string // name of the file
}

// extent is what a file that names a recipe says about the recipe's packages.
type extent int

const (
	exact extent = iota // the packages stand beside the recipe; there may be none
	bare                // nothing: the recipe is meant, and removal takes its packages along
	whole               // the recipe with all its packages
)

// files are the files of a Spec.
func (s Spec) files() []file {
	var files []file
	for _, f := range []file{
		{"list", s.List, parsePackageList}, {"graph", s.Graph, parseGraph}, {"lockfile", s.Lockfile, parseLockfile},
	} {
		if given(f.text) {
			files = append(files, f)
		}
	}
	return files
}

// given tells a file from none, which JSON also writes as null.
func given(text json.RawMessage) bool { return len(text) > 0 && string(text) != "null" }

func (f file) read() ([]named, error) {
	if len(f.text) > maxFileSize {
		return nil, fmt.Errorf("%w: it is larger than %d MiB", conan.ErrInvalid, maxFileSize>>20)
	}
	var top map[string]json.RawMessage
	if err := decode(f.text, &top); err != nil {
		return nil, err
	}
	found, err := f.parse(top)
	if err != nil {
		return nil, err
	}
	if len(found) > maxNamed {
		return nil, fmt.Errorf("%w: it names more than %d revisions", conan.ErrInvalid, maxNamed)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: it names no package of a server", conan.ErrInvalid)
	}
	for i := range found {
		found[i].from = f.name
	}
	return found, nil
}

// decode reads a JSON value. What is wrong with it is conan.ErrInvalid.
func decode(text []byte, v any) error {
	err := json.Unmarshal(text, v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("%w: the JSON is cut short or broken at byte %d: %w", conan.ErrInvalid, syntax.Offset, err)
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && kind.Field != "" {
		return fmt.Errorf("%w: %s is a JSON %s", conan.ErrInvalid, kind.Field, kind.Value)
	}
	if errors.As(err, &kind) {
		return fmt.Errorf("%w: it is a JSON %s", conan.ErrInvalid, kind.Value)
	}
	return err
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

// clip bounds text of a file that is quoted in an error.
func clip(text []byte) string {
	const most = 200
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}
