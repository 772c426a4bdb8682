package upstream

import (
	"net/url"
	"strings"
)

// complete makes the URL of a file out of what a v1 server hands out: absolute, root-relative or
// relative. Conan's client joins it to the remote's URL exactly as it was configured, so
// a relative one loses the last segment of a path without a slash at its end; so does this.
//
// Two common mistakes of servers behind a reverse proxy are put right: a URL that names
// localhost while the server is not there, and http where the server is reached by https.
func (r *Remote) complete(raw string) (*url.URL, error) {
	relative, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return nil, nonsense("handed out a file URL that is not a URL")
	}
	u := r.configured.ResolveReference(relative)
	u.Fragment, u.RawFragment = "", ""
	if err := checkTarget(u); err != nil {
		return nil, err
	}
	switch {
	case isLoopbackName(u.Hostname()) && !isLoopbackName(r.base.Hostname()):
		if !strings.HasPrefix(u.Path, r.base.Path+"/") {
			u = u.JoinPath() // a copy
			u.Path, u.RawPath = r.base.Path+u.Path, ""
		}
		u.Scheme, u.Host = r.base.Scheme, r.base.Host
	case r.base.Scheme == "https" && u.Scheme == "http" && strings.EqualFold(u.Hostname(), r.base.Hostname()):
		u.Scheme, u.Host = r.base.Scheme, r.base.Host
	case r.base.Scheme == "https" && u.Scheme == "http":
		return nil, nonsense("hands out http URLs although it is reached by https")
	}
	return u, nil
}
