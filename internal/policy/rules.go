// Package policy has the rules about what may be seen, as Sources over Sources.
package policy

import (
	"fmt"
	"slices"

	"conanproxy/internal/conan"
)

// Globs are patterns of references.
type Globs []conan.Glob

// ParseGlobs compiles patterns. what says in an error whose they are.
func ParseGlobs(what string, patterns []string) (Globs, error) {
	var globs Globs
	for _, p := range patterns {
		g, err := conan.ParseGlob(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		globs = append(globs, g)
	}
	return globs, nil
}

// Match tells whether one of the patterns matches the reference.
func (gs Globs) Match(ref conan.Ref) bool {
	return slices.ContainsFunc(gs, func(g conan.Glob) bool { return g.Match(ref) })
}

// Find is the first of the patterns that matches the reference.
func (gs Globs) Find(ref conan.Ref) (conan.Glob, bool) {
	i := slices.IndexFunc(gs, func(g conan.Glob) bool { return g.Match(ref) })
	if i < 0 {
		return conan.Glob{}, false
	}
	return gs[i], true
}

// MatchSearch tells whether a search asks only for what one of the patterns matches.
func (gs Globs) MatchSearch(p conan.Pattern) bool {
	return slices.ContainsFunc(gs, func(g conan.Glob) bool { return g.MatchSearch(p.String()) })
}

// Rules say about which references a source is asked.
type Rules struct {
	Include Globs // none: everything
	Exclude Globs
}

// ParseRules compiles the include and exclude patterns of an upstream.
func ParseRules(upstream string, include, exclude []string) (Rules, error) {
	in, err := ParseGlobs("include of upstream "+upstream, include)
	if err != nil {
		return Rules{}, err
	}
	ex, err := ParseGlobs("exclude of upstream "+upstream, exclude)
	return Rules{Include: in, Exclude: ex}, err
}

// Admits tells whether the source may be asked about the reference, and its answers count.
func (r Rules) Admits(ref conan.Ref) bool {
	return !r.Exclude.Match(ref) && (len(r.Include) == 0 || r.Include.Match(ref))
}

// Refusal tells why the source is not asked about a reference, as a phrase; empty if it is.
func (r Rules) Refusal(ref conan.Ref) string {
	switch pattern, excluded := r.Exclude.Find(ref); {
	case excluded:
		return fmt.Sprintf("its rule exclude has %q", pattern)
	case !r.Admits(ref):
		return "no pattern of its rule include matches"
	}
	return ""
}

// admitsSearch tells whether a search may find something that the source may be asked about.
func (r Rules) admitsSearch(p conan.Pattern) bool {
	if r.Exclude.MatchSearch(p) {
		return false
	}
	return len(r.Include) == 0 || slices.ContainsFunc(r.Include, func(g conan.Glob) bool { return g.MayMeet(p) })
}
