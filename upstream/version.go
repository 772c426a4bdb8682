package upstream

import (
	"cmp"
	"net/http"
	"strings"

	"conanproxy/internal/conan"
)

// version is how the headers of an answer name the bytes of a file.
type version struct {
	etag     string // as it was sent
	modified string // Last-Modified
	digests  conan.FileInfo
}

func versionOf(name string, h http.Header) version {
	return version{etag: h.Get("ETag"), modified: h.Get("Last-Modified"), digests: checksums(name, h)}
}

// validator names the version for later comparison.
func (v version) validator() string { return cmp.Or(v.etag, v.modified) }

// ifRange is the validator of a conditional Range request; empty if none can be relied on.
func (v version) ifRange() string { return cmp.Or(strong(v.etag), v.modified) }

// hasValidator tells whether more than the length says which file it is.
func (v version) hasValidator() bool { return v.ifRange() != "" }

// contradicts tells whether two answers are certainly of different bytes.
func (v version) contradicts(other version) bool {
	pairs := [][2]string{
		{opaque(v.etag), opaque(other.etag)}, {v.modified, other.modified},
		{v.digests.MD5, other.digests.MD5}, {v.digests.SHA1, other.digests.SHA1}, {v.digests.SHA256, other.digests.SHA256},
	}
	for _, p := range pairs {
		if p[0] != "" && p[1] != "" && p[0] != p[1] {
			return true
		}
	}
	return false
}

// isSurely tells whether two answers are certainly of the same bytes.
func (v version) isSurely(other version) bool {
	return strong(v.etag) != "" && v.etag == other.etag ||
		v.digests.SHA1 != "" && v.digests.SHA1 == other.digests.SHA1 ||
		v.digests.SHA256 != "" && v.digests.SHA256 == other.digests.SHA256
}

// opaque is an ETag without its weakness: enough to see a contradiction.
func opaque(tag string) string { return strings.TrimPrefix(tag, "W/") }

// strong is an ETag that can be relied on and sent back: empty if it is weak, or unquoted as
// conan_server's.
func strong(tag string) string {
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	return tag
}

// checksums reads the digests that some servers send with a file.
func checksums(name string, h http.Header) conan.FileInfo {
	return conan.FileInfo{
		Name:   name,
		Size:   -1,
		MD5:    hexDigest(h.Get("X-Checksum-Md5"), 32),
		SHA1:   hexDigest(h.Get("X-Checksum-Sha1"), 40),
		SHA256: hexDigest(h.Get("X-Checksum-Sha256"), 64),
	}
}

// hexDigest is s in lower case if it is that many hex digits, else empty.
func hexDigest(s string, length int) string {
	s = strings.ToLower(s)
	if len(s) != length || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}
