package proxy

import (
	"fmt"
	"net/url"
	"strings"

	"conanproxy/internal/conan"
)

// urlBuilder makes the URLs that v1 answers carry. They are built from the model, never from
// what an upstream said, and begin at the root of the host unless a public URL is configured:
// then they do not depend on the Host header, and a client resolves them with and without
// a slash at the end of its remote's URL.
type urlBuilder struct {
	origin string // "https://conan.example.com/path" or empty
	base   string // the base path, clean
}

func newURLBuilder(publicURL, basePath string) (urlBuilder, error) {
	var b urlBuilder
	if basePath != "" {
		path, _, err := cleanPath(basePath)
		if err != nil {
			return b, fmt.Errorf("proxy: base path %q: %w", basePath, err)
		}
		b.base = path
	}
	if publicURL == "" {
		return b, nil
	}
	u, err := url.Parse(publicURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return b, fmt.Errorf("proxy: public URL %q is not an absolute http or https URL", publicURL)
	}
	b.origin = strings.TrimSuffix(publicURL, "/")
	if base := escapePath(b.base); base != "" && !strings.HasSuffix(b.origin, base) {
		b.origin += base
	}
	return b, nil
}

// external is what stands before the mount in URLs: the public URL, else the base path, else
// forwarded, the path that a trusted proxy says it has cut off.
func (b urlBuilder) external(forwarded string) string {
	switch {
	case b.origin != "":
		return b.origin
	case b.base != "":
		return escapePath(b.base)
	}
	return escapePath(forwarded)
}

// cutBase removes the base path, or the prefix a trusted proxy names, if the request still has it.
func (b urlBuilder) cutBase(path, forwarded string) string {
	for _, prefix := range []string{b.base, forwarded} {
		if rest, ok := cutPrefix(path, prefix); ok && prefix != "" {
			return rest
		}
	}
	return path
}

// escapePath escapes the segments of a clean path.
func escapePath(path string) string {
	if path == "" {
		return ""
	}
	var b strings.Builder
	for segment := range strings.SplitSeq(path[1:], "/") {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(segment))
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
