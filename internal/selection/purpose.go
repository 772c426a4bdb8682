package selection

import (
	"strings"

	"conanproxy/internal/conan"
)

// Purpose decides what a pattern without revisions means: what it means to the client's command of
// that name.
type Purpose int

const (
	// AsList shows: without a revision a reference stays a reference, and a package id a package
	// id.
	AsList Purpose = iota
	// AsUpload copies or pins: the newest recipe revisions with the newest revisions of all
	// their packages.
	AsUpload
	// AsRemove takes away: all revisions. The result is exactly what goes: a pattern or list that
	// names packages means these packages, and one that does not means the recipes with all their
	// packages.
	AsRemove
	// AsHide takes out of sight: the newest revisions. A pattern that names packages means these
	// packages alone; else recipes are meant, which hide their packages.
	AsHide
)

// defaults are the parts that a pattern gets if it does not name them.
func (p Purpose) defaults() conan.ListDefaults {
	switch p {
	case AsUpload:
		return conan.ListDefaults{RRev: conan.LatestRevision, PackageID: "*", PRev: conan.LatestRevision}
	case AsRemove:
		return conan.ListDefaults{RRev: "*", PRev: "*"}
	case AsHide:
		return conan.ListDefaults{RRev: conan.LatestRevision, PRev: conan.LatestRevision}
	}
	return conan.ListDefaults{}
}

// isOpen tells a package id that may match several from one that is taken as it stands. Only "*"
// counts, as in the client.
func isOpen(id string) bool { return strings.Contains(id, "*") }
