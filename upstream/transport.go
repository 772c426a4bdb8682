package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"conanproxy/internal/netguard"
)

const (
	dialTimeout      = 10 * time.Second
	idleTimeout      = 90 * time.Second
	pingAfterSilence = 15 * time.Second // HTTP/2: a dead connection must not hold all questions up
	maxHeaderBytes   = 256 << 10
	maxCAFile        = 16 << 20
)

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newTransport makes the connections of one remote: guarded, through the proxies of the
// environment, with the system's roots and those of the CA file. Bodies are not decompressed.
func newTransport(base *url.URL, o Options, timeout, firstByte time.Duration) (*http.Transport, error) {
	roots, err := certPool(o.CAFile)
	if err != nil {
		return nil, err
	}
	home := base
	if o.OnlyAllowed {
		home = nil
	}
	guard := netguard.New(netguard.Options{
		Home:   home,
		Allow:  o.AllowNetworks,
		Dialer: &net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfterSilence},
	})
	dial := o.dial
	if dial == nil {
		dial = guard.DialContext
	}
	connections := max(o.MaxConnections, defaultConnections)
	return &http.Transport{
		Proxy:                  func(req *http.Request) (*url.URL, error) { return guard.Proxy(req.URL) },
		OnProxyConnectResponse: checkProxy,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    min(timeout, dialTimeout),
		ResponseHeaderTimeout:  firstByte,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           2 * connections,
		MaxIdleConnsPerHost:    connections,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfterSilence, PingTimeout: pingAfterSilence},
	}, nil
}

// checkProxy explains the answer of a proxy that does not let a TLS connection pass.
func checkProxy(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusProxyAuthRequired:
		return errProxyLogin
	}
	return &failure{kind: kindConnection, reason: fmt.Sprintf("the HTTP proxy on the way does not connect to it (%d)", resp.StatusCode)}
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

// isLoopback tells the names and addresses of this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return netguard.IsLoopbackName(host) || err == nil && ip.Unmap().IsLoopback()
}
