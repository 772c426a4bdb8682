package bucket

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// dialing is how long a connection, and its TLS handshake, may take.
const dialing = 5 * time.Second

func newTransport(silence time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialing, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &conn{c, silence}, nil
		},
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     silence,
		TLSHandshakeTimeout: dialing,
		DisableCompression:  true, // ranges are of the stored bytes
	}
}

// conn breaks off after a time without any byte. What is written also moves the deadline of the
// reader, which waits for the answer to a long upload.
type conn struct {
	net.Conn
	silence time.Duration
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// provider reads the secret key anew after a while: it can be changed while the server runs.
type provider struct {
	accessKey string
	secret    func() (string, error)
	read      time.Time
}

// secretFor is how long a secret key that was read is used.
const secretFor = 10 * time.Second

// Retrieve implements credentials.Provider.
func (p *provider) Retrieve() (credentials.Value, error) { return p.RetrieveWithCredContext(nil) }

// RetrieveWithCredContext implements credentials.Provider.
func (p *provider) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	secret, err := p.secret()
	p.read = time.Now()
	return credentials.Value{AccessKeyID: p.accessKey, SecretAccessKey: secret, SignerType: credentials.SignatureV4}, err
}

// IsExpired implements credentials.Provider.
func (p *provider) IsExpired() bool { return time.Since(p.read) > secretFor }
