// Package netguard decides which addresses this server connects to when a remote server, and not
// its operator, chose them: by a redirect, by a URL in an answer, or by what a name resolves to.
//
// Public addresses are always allowed. Private networks are allowed if the configured server itself
// is in one, a loopback address only with the configured server's port, and only if that server is
// on this machine. Everything else (link-local with the metadata services of clouds, multicast,
// reserved blocks) needs an entry in Options.Allow.
package netguard

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/net/http/httpproxy"
)

// RefusedError is that of a connection that is not allowed.
type RefusedError struct {
	Address string // host and port
	Kind    string // of the address, in words
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s, %s, which allow_networks does not name", e.Address, e.Kind)
}

// Options shape a Guard.
type Options struct {
	// Home is the URL of the configured server, which is where the operator says it is. Nil: there
	// is none, and public addresses only are allowed.
	Home *url.URL

	// Allow lists networks that are allowed in addition.
	Allow []netip.Prefix

	// Dialer connects; its Control is not used. Nil: the zero Dialer.
	Dialer *net.Dialer
}

// Guard makes connections and refuses those that are not allowed. It is for one http.Transport:
// Proxy and DialContext are both to be set. It is safe for concurrent use.
type Guard struct {
	home    string // host:port in lower case; empty if there is none
	allow   []netip.Prefix
	dialer  net.Dialer
	proxy   func(*url.URL) (*url.URL, error)
	proxies map[string]bool // host:port of the egress proxies

	mu      sync.Mutex
	homeAt  map[kind]bool // what the addresses of the home are
	reached bool          // the home was: no kind is added any more
}

// New makes a Guard. The egress proxies are those of the environment: HTTP_PROXY, HTTPS_PROXY and
// NO_PROXY.
func New(o Options) *Guard {
	env := httpproxy.FromEnvironment()
	g := &Guard{allow: o.Allow, proxy: env.ProxyFunc(), proxies: make(map[string]bool), homeAt: make(map[kind]bool)}
	if o.Dialer != nil {
		g.dialer = *o.Dialer
	}
	if o.Home != nil {
		g.home = hostPort(o.Home)
		g.learnHome(o.Home.Hostname())
	}
	for _, raw := range []string{env.HTTPProxy, env.HTTPSProxy} {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" {
			u, err = url.Parse("http://" + raw)
		}
		if err == nil && u.Hostname() != "" {
			g.proxies[hostPort(u)] = true
		}
	}
	return g
}

// learnHome notes what the host of the home tells without being resolved.
func (g *Guard) learnHome(host string) {
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil:
		g.homeAt[kindOf(ip)] = true
	case IsLoopbackName(host):
		g.homeAt[loopback] = true
	case isInternalName(host):
		g.homeAt[private] = true
	}
}

// Proxy is for http.Transport: the egress proxy for a URL, nil for none. A proxy resolves the name
// itself, so the host of the URL is checked as it is written.
func (g *Guard) Proxy(u *url.URL) (*url.URL, error) {
	proxy, err := g.proxy(u)
	if err != nil || proxy == nil {
		return proxy, err
	}
	return proxy, g.checkName(u)
}

// checkName checks a host whose addresses are not known here: literal addresses, and names that
// only an internal network has.
func (g *Guard) checkName(u *url.URL) error {
	if hostPort(u) == g.home {
		return nil
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		return g.checkAddress(ip, Port(u))
	}
	switch {
	case IsLoopbackName(host):
		return g.decide(host, loopback, Port(u))
	case isNumericName(host):
		return g.decide(host, special, Port(u))
	case isInternalName(host):
		return g.decide(host, private, Port(u))
	}
	return nil
}

// DialContext is for http.Transport. Every address that a name resolves to is checked before the
// connection to it is made.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	address = strings.ToLower(address)
	dialer := g.dialer
	dialer.ControlContext = func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		return g.check(address, resolved)
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil && address == g.home {
		g.mu.Lock()
		g.reached = true
		g.mu.Unlock()
	}
	return conn, err
}

// check allows or refuses one address that the host of address resolved to.
func (g *Guard) check(address, resolved string) error {
	to, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return fmt.Errorf("parse the address %q: %w", resolved, err)
	}
	if g.proxies[address] || address == g.home && g.isHome(kindOf(to.Addr())) {
		return nil
	}
	return g.checkAddress(to.Addr(), strconv.Itoa(int(to.Port())))
}

// isHome tells whether the home may be at an address of that kind: of any kind but special until
// it was reached, of the same kind from then on. So its name cannot be turned to another network
// later.
func (g *Guard) isHome(k kind) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.reached && k != special {
		g.homeAt[k] = true
	}
	return g.homeAt[k]
}

func (g *Guard) checkAddress(ip netip.Addr, port string) error {
	ip = unwrap(ip)
	for _, network := range g.allow {
		if network.Contains(ip) {
			return nil
		}
	}
	return g.decide(ip.String(), kindOf(ip), port)
}

// decide allows or refuses a host of that kind.
func (g *Guard) decide(host string, k kind, port string) error {
	g.mu.Lock()
	near := g.homeAt[k]
	g.mu.Unlock()
	switch {
	case k == public, k == private && near, k == loopback && near && strings.HasSuffix(g.home, ":"+port):
		return nil
	}
	return &RefusedError{Address: net.JoinHostPort(host, port), Kind: k.String()}
}

// hostPort is the host and port of a URL as a transport dials them.
func hostPort(u *url.URL) string {
	return net.JoinHostPort(strings.ToLower(u.Hostname()), Port(u))
}

// Port is the port of an http or https URL, whether it is written or not.
func Port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}
