// Package selection finds what an operation is about: recipe and package revisions, chosen by the
// patterns of Conan's client or by the files that it writes (package lists, graphs, lockfiles).
package selection

import (
	"encoding/json"
	"fmt"

	"conanproxy/internal/conan"
)

// Bounds of one selection.
const (
	maxPatterns  = 1000
	maxFileSize  = 64 << 20 // bytes of one file
	maxNamed     = 100_000  // revisions that one file names
	maxRevisions = 250_000  // revisions of a result, with what is missing
	maxLatest    = 1000
)

// Spec is a selection as a user writes it: a part of an API request, of a configuration or of a
// command line. The parts add up.
type Spec struct {
	// Patterns are those of `conan list`: "zlib/*", "boost/[>=1.83 <2]",
	// "zlib/1.3#RREV:PACKAGE_ID".
	Patterns []string `json:"patterns,omitempty"`
	// Query chooses among the packages that patterns and lockfiles leave open, in the language of
	// the client's option -p.
	Query string `json:"query,omitempty"`
	// Latest is how many of the newest revisions "latest" means. If it is set, "latest" is also
	// what a pattern without revisions means. 0 is not set.
	Latest int `json:"latest,omitempty"`

	List     json.RawMessage `json:"list,omitempty"`     // of conan list|upload|download --format=json
	Graph    json.RawMessage `json:"graph,omitempty"`    // of conan graph info|install|create --format=json
	Lockfile json.RawMessage `json:"lockfile,omitempty"` // of Conan 2 or Conan 1

	RecipesOnly  bool `json:"recipes_only,omitempty"`  // leaves packages out
	PackagesOnly bool `json:"packages_only,omitempty"` // leaves recipes out
}

// Selection is a Spec that was read and found good. The zero value selects nothing.
type Selection struct {
	patterns []conan.ListPattern
	named    []named
	query    conan.Query
	latest   int // 0: not set

	recipesOnly, packagesOnly bool
}

// Parse reads the parts of a Spec. What is wrong, contradicts another part or has no effect is
// conan.ErrInvalid with a sentence that names the part.
func (s Spec) Parse() (Selection, error) {
	if err := s.check(); err != nil {
		return Selection{}, err
	}
	query, err := conan.ParseQuery(s.Query)
	if err != nil {
		return Selection{}, err
	}
	selection := Selection{query: query, latest: s.Latest, recipesOnly: s.RecipesOnly, packagesOnly: s.PackagesOnly}
	for _, text := range s.Patterns {
		p, err := conan.ParseListPattern(text)
		if err != nil {
			return Selection{}, err
		}
		if err := s.checkPattern(p); err != nil {
			return Selection{}, err
		}
		selection.patterns = append(selection.patterns, p)
	}
	for _, f := range s.files() {
		found, err := f.read()
		if err != nil {
			return Selection{}, fmt.Errorf("%s: %w", f.name, err)
		}
		selection.named = append(selection.named, found...)
	}
	return selection, nil
}

// check refuses parts that are out of bounds or do not go together.
func (s Spec) check() error {
	open := len(s.Patterns) > 0 || given(s.Lockfile) // something leaves revisions and packages open
	switch {
	case len(s.Patterns) == 0 && len(s.files()) == 0:
		return fmt.Errorf("%w: the selection is empty: give patterns, a list, a graph or a lockfile", conan.ErrInvalid)
	case len(s.Patterns) > maxPatterns:
		return fmt.Errorf("%w: the selection has more than %d patterns", conan.ErrInvalid, maxPatterns)
	case s.Latest < 0 || s.Latest > maxLatest:
		return fmt.Errorf("%w: latest is %d; it may be 1 to %d, or 0 for not set", conan.ErrInvalid, s.Latest, maxLatest)
	case s.RecipesOnly && s.PackagesOnly:
		return fmt.Errorf("%w: recipes only and packages only exclude each other", conan.ErrInvalid)
	case s.RecipesOnly && s.Query != "":
		return fmt.Errorf("%w: a query chooses packages, and recipes only leaves them out", conan.ErrInvalid)
	case !open && s.Query != "":
		return fmt.Errorf("%w: a query has no effect on a list or a graph, which name exact packages", conan.ErrInvalid)
	case !open && s.Latest != 0:
		return fmt.Errorf("%w: latest has no effect on a list or a graph, which name exact revisions", conan.ErrInvalid)
	}
	return nil
}

// checkPattern refuses a pattern that does not go together with the query or recipes only.
func (s Spec) checkPattern(p conan.ListPattern) error {
	switch {
	case s.RecipesOnly && p.PackageID != "":
		return fmt.Errorf("%w: pattern %q names packages, and recipes only leaves them out", conan.ErrInvalid, p)
	case s.Query != "" && p.PackageID != "" && !isOpen(p.PackageID):
		return fmt.Errorf("%w: pattern %q names one package; a query needs a package id with *", conan.ErrInvalid, p)
	}
	return nil
}
