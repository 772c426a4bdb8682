package conan

import (
	"fmt"
	"strings"
)

// ListPattern is a pattern as the client's commands list, upload, download and remove take it:
// name/version@user/channel#rrev:package_id#prev. Each part may have the wildcards of fnmatch; the
// version may be a range in brackets; a revision may also be "latest" or "!latest".
type ListPattern struct {
	text      string
	ref       string // as it was written, without revision
	fields    [4]string
	versions  *VersionRange // nil: the version is no range
	RRev      string        // empty: references only
	PackageID string        // empty: no packages
	PRev      string        // empty: package ids only
}

// ListDefaults are the parts that a pattern gets if it does not name them. What each of the
// client's commands takes: list none of them, remove "*" for both revisions, upload and download
// "latest" for both and "*" as package id.
type ListDefaults struct{ RRev, PackageID, PRev string }

// The revisions that a pattern may name beside ids and wildcards.
const (
	LatestRevision    = "latest"
	NotLatestRevision = "!latest"
)

// ParseListPattern reads a pattern. Bad version ranges and empty patterns are ErrInvalid.
func ParseListPattern(text string, defaults ListDefaults) (ListPattern, error) {
	p := ListPattern{text: text}
	recipe, pkg, _ := strings.Cut(text, ":")
	var rrev, prev string
	p.ref, rrev, _ = strings.Cut(recipe, "#")
	p.PackageID, prev, _ = strings.Cut(pkg, "#")
	if p.ref == "" {
		return ListPattern{}, fmt.Errorf("%w: pattern %q names no reference", ErrInvalid, clip(text))
	}
	nameVersion, userChannel, _ := strings.Cut(p.ref, "@")
	p.fields[0], p.fields[1], _ = strings.Cut(nameVersion, "/")
	p.fields[2], p.fields[3], _ = strings.Cut(userChannel, "/")
	p.RRev = revisionPart(rrev, defaults.RRev)
	if p.PackageID != "" || pkg != "" {
		p.PRev = revisionPart(prev, defaults.PRev)
	} else {
		p.PackageID, p.PRev = defaults.PackageID, defaults.PRev
	}
	if version := p.fields[1]; strings.HasPrefix(version, "[") && strings.HasSuffix(version, "]") {
		r, err := ParseVersionRange(version[1 : len(version)-1])
		if err != nil {
			return ListPattern{}, err
		}
		p.versions = &r
	}
	return p, nil
}

// revisionPart is a revision without the time that may follow it, or its default.
func revisionPart(text, byDefault string) string {
	text, _, _ = strings.Cut(text, "%")
	switch text {
	case "":
		return byDefault
	case "~latest":
		return NotLatestRevision
	}
	return text
}

// String is the text that the pattern was read from.
func (p ListPattern) String() string { return p.text }

// Exact is the one reference that the pattern names. It is known without a search only if a
// version is written out, and a revision or a package is asked for; ok is false otherwise.
func (p ListPattern) Exact() (ref Ref, ok bool, err error) {
	if p.versions != nil || strings.Contains(p.ref, "*") || p.fields[1] == "" || p.RRev == "" && p.PackageID == "" {
		return Ref{}, false, nil
	}
	ref, err = NewRef(p.fields[0], p.fields[1], p.fields[2], p.fields[3])
	return ref, err == nil, err
}

// IsLiteral tells whether the reference has no wildcard, so that finding nothing is an error.
func (p ListPattern) IsLiteral() bool { return !strings.Contains(p.ref, "*") }

// Search is the question to a server that finds every reference of the pattern, beside others that
// Keeps leaves out.
func (p ListPattern) Search() (Pattern, error) {
	text := strings.TrimSuffix(p.ref, "@")
	if p.versions != nil {
		text = p.fields[0] + "/*"
	} else if p.fields[1] == "" && p.fields[2] != "" {
		text = p.fields[0] + "/*"
	} else {
		return ParsePattern(text, true)
	}
	if p.fields[2] != "" {
		text += "@" + p.fields[2]
	}
	if p.fields[3] != "" {
		text += "/" + p.fields[3]
	}
	return ParsePattern(text, true)
}

// Keeps tells whether a reference that the search found is of the pattern.
func (p ListPattern) Keeps(ref Ref) bool {
	if strings.HasSuffix(p.ref, "@") && ref.User != "" {
		return false
	}
	return p.versions == nil || p.versions.Contains(ParseVersion(ref.Version))
}

// Wildcard is one part of a ListPattern: fnmatch over a whole id.
type Wildcard string

// Match tells whether the id matches.
func (w Wildcard) Match(id string) bool {
	p, err := ParsePattern(string(w), false)
	if err != nil {
		return false
	}
	if p.prog == nil {
		return w != "" || id == ""
	}
	m := matcher{prog: p.prog}
	m.start()
	return m.token(id)
}

// IsLiteral tells whether the part has no wildcard.
func (w Wildcard) IsLiteral() bool { return !strings.ContainsAny(string(w), "*?[") }
