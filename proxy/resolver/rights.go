package resolver

import (
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// Rights say what the caller of a question may read. They depend on rules only, never on what is
// stored. A member that the caller may not read is skipped as if it were not configured, except
// that what it owns is still asked of no upstream.
type Rights interface {
	// MayRead tells whether the caller may read the reference in the member.
	MayRead(member string, ref conan.Ref) bool

	// MayFind tells whether a search in the member may find something that the caller may read. It
	// may err on the side of true.
	MayFind(member string, p conan.Pattern) bool
}

// mayRead tells whether the member may be asked about ref for this caller.
func (v *generationReader) mayRead(m *member, ref conan.Ref) bool {
	return v.rights == nil || v.rights.MayRead(m.Name, ref)
}

// mayFind tells whether the member is asked a search for this caller.
func (v *generationReader) mayFind(m *member, p conan.Pattern) bool {
	return v.rights == nil || v.rights.MayFind(m.Name, p)
}

// hidden names the members that the caller may not read ref in. It keeps what one set of readable
// members teaches about ref from callers with another.
func (v *generationReader) hidden(ref conan.Ref) string {
	var names []string
	for _, m := range v.serving {
		if !v.mayRead(m, ref) {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, ",")
}

// shown drops from a member's matches what a store owns, unless it is one, and what the caller may
// not read there.
func (v *generationReader) shown(m *member, found []conan.Ref) []conan.Ref {
	return slices.DeleteFunc(slices.Clone(found), func(ref conan.Ref) bool {
		return !m.isStore() && v.owns.Match(ref) || !v.mayRead(m, ref)
	})
}
