package conan

import (
	"cmp"
	"fmt"
	"strings"
)

// ListPattern is a pattern as the client's commands list, upload, download and remove take it:
// name/version@user/channel#rrev:package_id#prev. Each part may have the wildcards of fnmatch; the
// version may be a range in brackets; a revision may also be "latest" or "!latest".
type ListPattern struct {
	text                         string
	ref                          string // as it was written, without revision
	name, version, user, channel string
	versions                     *VersionRange // nil: the version is no range

	RRev      string // empty: not named
	PackageID string // empty: not named
	PRev      string // empty: not named
}

// ListDefaults are the parts that a pattern gets if it does not name them.
type ListDefaults struct{ RRev, PackageID, PRev string }

// The revisions that a pattern may name beside ids and wildcards.
const (
	LatestRevision    = "latest"
	NotLatestRevision = "!latest"
)

// ParseListPattern reads a pattern. A text that names no reference, is longer than 4 KiB or is not
// UTF-8 is ErrInvalid, and so are a channel without a user and a bad version range.
func ParseListPattern(text string) (ListPattern, error) {
	if _, err := ParsePattern(text, false); err != nil {
		return ListPattern{}, err
	}
	p := ListPattern{text: text}
	recipe, pkg, _ := strings.Cut(text, ":")
	p.ref, p.RRev, _ = strings.Cut(recipe, "#")
	p.PackageID, p.PRev, _ = strings.Cut(pkg, "#")
	p.RRev, p.PRev = revisionPart(p.RRev), revisionPart(p.PRev)
	nameVersion, userChannel, _ := strings.Cut(p.ref, "@")
	p.name, p.version, _ = strings.Cut(nameVersion, "/")
	p.user, p.channel, _ = strings.Cut(userChannel, "/")
	if p.name == "" {
		return ListPattern{}, fmt.Errorf("%w: pattern %q names no reference", ErrInvalid, clip(text))
	}
	if p.user == "" && p.channel != "" {
		return ListPattern{}, fmt.Errorf("%w: pattern %q has a channel without a user", ErrInvalid, clip(text))
	}
	if strings.HasPrefix(p.version, "[") && strings.HasSuffix(p.version, "]") {
		r, err := ParseVersionRange(p.version[1 : len(p.version)-1])
		if err != nil {
			return ListPattern{}, fmt.Errorf("pattern %q: %w", clip(text), err)
		}
		p.versions = &r
	}
	return p, nil
}

// revisionPart is a revision without the time that may follow it.
func revisionPart(text string) string {
	text, _, _ = strings.Cut(text, "%")
	if text == "~latest" {
		return NotLatestRevision
	}
	return text
}

// String is the text that the pattern was read from.
func (p ListPattern) String() string { return p.text }

// Or is the pattern with the parts of d in place of those that it does not name.
func (p ListPattern) Or(d ListDefaults) ListPattern {
	p.RRev, p.PackageID, p.PRev = cmp.Or(p.RRev, d.RRev), cmp.Or(p.PackageID, d.PackageID), cmp.Or(p.PRev, d.PRev)
	return p
}

// Exact is the one reference that the pattern names. It is known without a search only if a
// version is written out, and a revision or a package is asked for; ok is false otherwise. A field
// that no reference can have is ErrInvalid.
func (p ListPattern) Exact() (ref Ref, ok bool, err error) {
	if p.versions != nil || strings.Contains(p.ref, "*") || p.version == "" || p.RRev == "" && p.PackageID == "" {
		return Ref{}, false, nil
	}
	ref, err = NewRef(p.name, p.version, p.user, p.channel)
	return ref, err == nil, err
}

// OneRef, OneRRev, OnePackage and OnePRev tell whether the pattern has no "*" up to its reference,
// recipe revision, package id or package revision: whether it is an error that nothing is found
// there. Other wildcards do not count, as in the client.
func (p ListPattern) OneRef() bool { return !strings.Contains(p.ref, "*") }

// OneRRev is described at OneRef.
func (p ListPattern) OneRRev() bool { return p.OneRef() && !strings.Contains(p.RRev, "*") }

// OnePackage is described at OneRef.
func (p ListPattern) OnePackage() bool { return p.OneRRev() && !strings.Contains(p.PackageID, "*") }

// OnePRev is described at OneRef.
func (p ListPattern) OnePRev() bool { return p.OnePackage() && !strings.Contains(p.PRev, "*") }

// Search is the question to a server that finds every reference of the pattern, beside others that
// Keeps leaves out.
func (p ListPattern) Search() (Pattern, error) {
	text := strings.TrimSuffix(p.ref, "@")
	if p.versions != nil || p.version == "" && p.user != "" {
		text = p.name + "/*"
		if p.user != "" {
			text += "@" + p.user
		}
		if p.channel != "" {
			text += "/" + p.channel
		}
	}
	return ParsePattern(text, true)
}

// Keeps tells whether a reference that the search found is of the pattern. An "@" at the end leaves
// out references with a user, but not beside a version range, as in the client.
func (p ListPattern) Keeps(ref Ref) bool {
	if p.versions != nil {
		return p.versions.Contains(ParseVersion(ref.Version))
	}
	return !strings.HasSuffix(p.ref, "@") || ref.User == ""
}
