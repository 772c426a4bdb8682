package proxy

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// mount is the part of a path before the API: the view it selects and how it was spelled.
type mount struct {
	prefix string // "", "/local", "/api/v4/projects/all/packages/conan"
	view   string
}

// splitMount cuts the mount off the segments of a path; what is left begins with "v1", "v2" or is a page.
//
//	/…                                          all members
//	/local/…  /upstream/{name}/…                one member
//	[/api/v4]/packages/conan/…                  all members
//	[/api/v4]/projects/{view}/packages/conan/…  any view
func splitMount(segments []string) (mount, []string) {
	n := 0
	if hasPrefix(segments, "api", "v4") {
		n = 2
	}
	at := func(view string, length int) (mount, []string) {
		return mount{prefix: "/" + strings.Join(segments[:length], "/"), view: view}, segments[length:]
	}
	rest := segments[n:]
	switch {
	case hasPrefix(rest, "packages", "conan"):
		return at(ViewAll, n+2)
	case len(rest) >= 4 && rest[0] == "projects" && hasPrefix(rest[2:], "packages", "conan"):
		return at(rest[1], n+4)
	case hasPrefix(segments, "local"):
		return at(ViewLocal, 1)
	case len(segments) >= 2 && segments[0] == "upstream":
		return at(segments[1], 2)
	}
	return mount{view: ViewAll}, segments
}

func hasPrefix(segments []string, prefix ...string) bool {
	return len(segments) >= len(prefix) && slices.Equal(segments[:len(prefix)], prefix)
}

// splitPath splits an escaped path at its slashes and unescapes every segment once.
// Segments that could mean another place (empty, dots, with a slash, a backslash or a
// control character inside) are ErrInvalid. One trailing slash is dropped and told.
func splitPath(escaped string) (segments []string, trailing bool, err error) {
	if !strings.HasPrefix(escaped, "/") {
		return nil, false, fmt.Errorf("%w: the path does not begin with a slash", conan.ErrInvalid)
	}
	path := escaped[1:]
	if path == "" {
		return nil, false, nil
	}
	path, trailing = strings.CutSuffix(path, "/")
	segments = strings.Split(path, "/")
	for i, segment := range segments {
		if strings.Contains(segment, "%") {
			if segment, err = url.PathUnescape(segment); err != nil {
				return nil, false, fmt.Errorf("%w: the path has a bad %%-escape", conan.ErrInvalid)
			}
			segments[i] = segment
		}
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, notInSegment) {
			return nil, false, fmt.Errorf("%w: the path has an empty, dotted or unprintable segment", conan.ErrInvalid)
		}
	}
	return segments, trailing, nil
}

func notInSegment(c rune) bool { return c == '/' || c == '\\' || c < 0x20 || c == 0x7f }

// urlBuilder makes the URLs that v1 answers carry. They are built from the model, never from
// what an upstream said, and begin at the root of the host unless a public URL is configured:
// then they do not depend on the Host header, and a client resolves them with and without
// a slash at the end of its remote's URL.
type urlBuilder struct {
	origin string   // "https://conan.example.com/path" or empty
	base   []string // segments of the base path
}

func newURLBuilder(publicURL, basePath string) (urlBuilder, error) {
	var b urlBuilder
	if basePath = strings.TrimSuffix(basePath, "/"); basePath != "" {
		segments, _, err := splitPath(basePath)
		if err != nil {
			return b, fmt.Errorf("proxy: base path %q: %w", basePath, err)
		}
		b.base = segments
	}
	if publicURL == "" {
		return b, nil
	}
	u, err := url.Parse(publicURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return b, fmt.Errorf("proxy: public URL %q is not an absolute http or https URL", publicURL)
	}
	b.origin = strings.TrimSuffix(publicURL, "/")
	if base := joinPath(b.base); base != "" && !strings.HasSuffix(b.origin, base) {
		b.origin += base
	}
	return b, nil
}

// external is what stands before the mount in URLs: the public URL, else the base path, else
// forwarded, the segments that a trusted proxy says it has cut off.
func (b urlBuilder) external(forwarded []string) string {
	switch {
	case b.origin != "":
		return b.origin
	case len(b.base) > 0:
		return joinPath(b.base)
	}
	return joinPath(forwarded)
}

// cutBase removes the base path, or the prefix a trusted proxy names, if the request still has it.
func (b urlBuilder) cutBase(segments, forwarded []string) []string {
	for _, prefix := range [][]string{b.base, forwarded} {
		if len(prefix) > 0 && hasPrefix(segments, prefix...) {
			return segments[len(prefix):]
		}
	}
	return segments
}

// joinPath makes a path of segments: "" of none, else "/a/b", escaped.
func joinPath(segments []string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// filePath is the path of a file on the v1 API, below any mount. It pins the revisions, so
// that a reader of an older answer still gets one consistent set. It is what signatures bind.
func filePath(rev conan.Revision, name string) string {
	path := "/v1/files/" + rev.Ref.Path() + "/" + orZero(rev.RRev)
	if !rev.IsPackage() {
		return path + "/export/" + name
	}
	return path + "/package/" + rev.PackageID + "/" + orZero(rev.PRev) + "/" + name
}

// orZero is the revision in URLs: "0" stands for the newest, and for the one that an upload makes.
func orZero(id string) string {
	if id == "" {
		return conan.MutableRevision
	}
	return id
}

// trustedProxies are the peers whose X-Forwarded-* headers are believed.
type trustedProxies []netip.Prefix

func (t trustedProxies) contains(a netip.Addr) bool {
	return slices.ContainsFunc(t, func(p netip.Prefix) bool { return p.Contains(a) })
}
