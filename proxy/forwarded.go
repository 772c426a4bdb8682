package proxy

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// trustedProxies are the peers whose X-Forwarded-* and X-Request-Id headers count.
type trustedProxies []netip.Prefix

func (t trustedProxies) contains(a netip.Addr) bool {
	return slices.ContainsFunc(t, func(p netip.Prefix) bool { return p.Contains(a) })
}

// sent tells whether the other end of the request's connection is one of them.
func (t trustedProxies) sent(req *http.Request) bool {
	return len(t) > 0 && t.contains(peer(req.RemoteAddr))
}

// peer is the IP address of an "address:port" as net/http tells it of the other end of a
// connection; invalid if it is none.
func peer(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// clientAddr is the peer, or behind trusted proxies the last address of X-Forwarded-For that is not
// one of them.
func (t trustedProxies) clientAddr(req *http.Request) netip.Addr {
	addr := peer(req.RemoteAddr)
	if !t.contains(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(req.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(hops[i]), "[]"))
		if err != nil {
			return addr
		}
		if addr = hop.Unmap(); !t.contains(addr) {
			return addr
		}
	}
	return addr
}

// forwardedPrefix is the clean path that a trusted proxy says it has in front of us.
func (s *Settings) forwardedPrefix(req *http.Request) string {
	header := req.Header.Get("X-Forwarded-Prefix")
	if header == "" || len(header) > 256 || !s.trusted.sent(req) {
		return ""
	}
	path, _, err := cleanPath(header)
	if err != nil {
		return ""
	}
	return path
}

// origin is scheme and host as the browser used them; a trusted proxy may know better.
func (t trustedProxies) origin(req *http.Request) string {
	scheme, host := "http", req.Host
	if req.TLS != nil {
		scheme = "https"
	}
	if t.sent(req) {
		if proto := req.Header.Get("X-Forwarded-Proto"); proto == "http" || proto == "https" {
			scheme = proto
		}
		if forwarded := req.Header.Get("X-Forwarded-Host"); forwarded != "" && !strings.ContainsAny(forwarded, ", /") {
			host = forwarded
		}
	}
	return scheme + "://" + host
}
