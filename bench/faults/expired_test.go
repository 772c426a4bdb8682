package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"conanproxy/internal/conantest"
)

// expiredFronts stands in front of upstreams with TLS whose certificate, known to its clients, has
// expired. It returns the file of the certificate and the URLs.
func (r *run) expiredFronts(origins []*conantest.Server) (ca string, urls []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	r.must(err)
	ca = filepath.Join(r.folder("tls"), "ca.pem")
	r.must(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	for _, origin := range origins {
		to, err := url.Parse(origin.URL)
		r.must(err)
		l, err := tls.Listen("tcp", "127.0.0.1:0", config)
		r.must(err)
		front := &http.Server{Handler: httputil.NewSingleHostReverseProxy(to), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
		go front.Serve(l)
		r.Cleanup(func() { front.Close() })
		urls = append(urls, "https://"+l.Addr().String())
	}
	return ca, urls
}
