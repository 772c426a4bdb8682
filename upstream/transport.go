package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http/httpproxy"
)

const (
	dialTimeout      = 10 * time.Second
	idleTimeout      = 90 * time.Second
	pingAfterSilence = 15 * time.Second // HTTP/2: a dead connection must not hold everybody up
	maxHeaderBytes   = 256 << 10
	maxCAFile        = 16 << 20
)

// errGuarded refuses an address of this machine or its link that a remote upstream points to.
var errGuarded = errors.New("points to an address of this machine")

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newTransport makes the connections of one remote: proxies by the environment, the
// system's roots and those of caFile, and no decompression behind the back.
func newTransport(base *url.URL, caFile string, timeout time.Duration, connections int, dial dialFunc) (*http.Transport, error) {
	roots, err := certPool(caFile)
	if err != nil {
		return nil, err
	}
	if dial == nil {
		dial = guardedDial(base.Hostname())
	}
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	return &http.Transport{
		Proxy:                  func(req *http.Request) (*url.URL, error) { return proxy(req.URL) },
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    min(timeout, dialTimeout),
		ResponseHeaderTimeout:  timeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           2 * connections,
		MaxIdleConnsPerHost:    connections,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfterSilence, PingTimeout: pingAfterSilence},
	}, nil
}

// certPool is the system's roots and those of file; nil means the system's alone.
func certPool(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("reading ca_file: %w", err)
	}
	if info.Size() > maxCAFile {
		return nil, fmt.Errorf("ca_file %s is larger than %d bytes", file, maxCAFile)
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s holds no PEM certificate", file)
	}
	return pool, nil
}

// guardedDial connects to everything, except that hosts other than the configured one must
// not be addresses of this machine or of its link: a redirect or a file URL of a remote
// server has no business there.
func guardedDial(configured string) dialFunc {
	plain := &net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfterSilence}
	guarded := &net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfterSilence, Control: refuseOwn}
	proxies := proxyHosts()
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil || strings.EqualFold(host, configured) || isLoopbackName(configured) || proxies[host] {
			return plain.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
}

// proxyHosts are the hosts of the configured HTTP proxies, which may well run on this machine.
func proxyHosts() map[string]bool {
	env := httpproxy.FromEnvironment()
	hosts := make(map[string]bool)
	for _, raw := range []string{env.HTTPProxy, env.HTTPSProxy} {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" {
			u, err = url.Parse("http://" + raw)
		}
		if err == nil && u.Hostname() != "" {
			hosts[u.Hostname()] = true
		}
	}
	return hosts
}

func refuseOwn(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := ap.Addr().Unmap()
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() {
		return errGuarded
	}
	return nil
}

// isLoopbackName tells the names of this machine.
func isLoopbackName(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
