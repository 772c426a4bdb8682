package upstream

import (
	"conanproxy/internal/netguard"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"
)

// getsCredentials tells whether a URL is of the configured server: of its origin, of those that
// also_at adds, or of its origin with http raised to https.
func (r *Remote) getsCredentials(u *url.URL) bool {
	for _, own := range r.origins {
		if sameOrigin(u, own) || isUpgrade(own, u) {
			return true
		}
	}
	return false
}

// isUpgrade tells whether to differs from the origin of from by https in place of http alone. Both
// have the usual port, as the client demands before it keeps a login.
func isUpgrade(from, to *url.URL) bool {
	return from.Scheme == "http" && to.Scheme == "https" && strings.EqualFold(from.Hostname(), to.Hostname()) &&
		netguard.Port(from) == "80" && netguard.Port(to) == "443"
}

// learnUpgrade notes a redirect of the configured server to itself by https. From then on it is
// asked by https at once, so that a password does not cross the network in clear again.
func (r *Remote) learnUpgrade(from, to *url.URL) {
	if !sameOrigin(from, r.base) || !isUpgrade(from, to) || r.upgraded.Swap(true) {
		return
	}
	r.log.Warn("upstream redirects to https; configure its URL with https",
		zap.String("url", "https://"+to.Hostname()+r.base.Path))
}

// upgrade is a URL of the configured server by https if its redirects say so, else u itself.
func (r *Remote) upgrade(u *url.URL) *url.URL {
	if !r.upgraded.Load() || !sameOrigin(u, r.base) {
		return u
	}
	secure := *u
	secure.Scheme, secure.Host = "https", u.Hostname()
	if strings.Contains(secure.Host, ":") {
		secure.Host = "[" + secure.Host + "]"
	}
	return &secure
}

func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

// redirect is the target of a redirect, or why it is not followed.
func redirect(from *url.URL, location string) (*url.URL, error) {
	next, err := from.Parse(location)
	if err != nil {
		return nil, badAnswer("redirects to something that is not a URL")
	}
	if err := checkTarget(next); err != nil {
		return nil, err
	}
	if from.Scheme == "https" && next.Scheme == "http" {
		return nil, badAnswer("redirects from https to http")
	}
	return next, nil
}

// checkTarget accepts http and https URLs with a host and without credentials.
func checkTarget(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return badAnswer("points to a URL that is not plain http or https (%q)", clip(u.Scheme))
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && netguard.Port(a) == netguard.Port(b)
}

// isSigned tells a URL that carries its own permission, such as conan_server's
// (signature=…) or those of object stores (X-Amz-Signature=…, X-Goog-Signature=…).
func isSigned(u *url.URL) bool {
	if u.RawQuery == "" {
		return false
	}
	for key := range u.Query() {
		if strings.HasSuffix(strings.ToLower(key), "signature") {
			return true
		}
	}
	return false
}
