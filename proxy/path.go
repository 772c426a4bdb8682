package proxy

import (
	"fmt"
	"net/url"
	"strings"

	"conanproxy/internal/conan"
)

// cleanPath checks an escaped path and unescapes each of its segments once. Segments that could
// mean another place (empty, dots, with a slash, a backslash or a control character inside) are
// conan.ErrInvalid. One trailing slash is dropped and told; the clean form of "/" is "".
func cleanPath(escaped string) (path string, trailing bool, err error) {
	if !strings.HasPrefix(escaped, "/") {
		return "", false, fmt.Errorf("%w: the path does not begin with a slash", conan.ErrInvalid)
	}
	if escaped == "/" {
		return "", false, nil
	}
	path, trailing = strings.CutSuffix(escaped, "/")
	if strings.Contains(path, "%") {
		path, err = unescapePath(path)
	} else {
		err = checkSegments(path)
	}
	return path, trailing, err
}

// checkSegments checks what stands between the slashes of a path without escapes.
func checkSegments(path string) error {
	for segment := range strings.SplitSeq(path[1:], "/") {
		if err := checkSegment(segment); err != nil {
			return err
		}
	}
	return nil
}

func unescapePath(path string) (string, error) {
	var b strings.Builder
	for segment := range strings.SplitSeq(path[1:], "/") {
		segment, err := url.PathUnescape(segment)
		if err != nil {
			return "", fmt.Errorf("%w: the path has a bad %%-escape", conan.ErrInvalid)
		}
		if err := checkSegment(segment); err != nil {
			return "", err
		}
		b.WriteByte('/')
		b.WriteString(segment)
	}
	return b.String(), nil
}

func checkSegment(s string) error {
	bad := s == "" || s == "." || s == ".."
	for i := 0; i < len(s) && !bad; i++ {
		c := s[i]
		bad = c < 0x20 || c == 0x7f || c == '/' || c == '\\'
	}
	if bad {
		return fmt.Errorf("%w: the path has an empty, dotted or unprintable segment", conan.ErrInvalid)
	}
	return nil
}

// cutSegments cuts the first n segments off a clean path. ok is false if it has fewer.
func cutSegments(path string, n int) (first, rest string, ok bool) {
	i := 0
	for range n {
		if i == len(path) {
			return "", path, false
		}
		next := strings.IndexByte(path[i+1:], '/')
		if next < 0 {
			i = len(path)
			continue
		}
		i += 1 + next
	}
	return path[:i], path[i:], true
}

// cutPrefix cuts whole segments off the front of a clean path.
func cutPrefix(path, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return path, false
	}
	return rest, true
}
