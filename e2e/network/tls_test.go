package network

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTLS: both generations publish and install where the program itself speaks TLS, with a
// certificate that they are told to trust. The addresses that Conan 1 is given for files have to be
// https then.
func TestTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certificate(t)
	proxy := e2etest.StartConanproxy(t, harness.Settings{"tls": harness.Settings{"cert_file": certFile, "key_file": keyFile}})
	secure := func(view ...string) string { return strings.Replace(proxy.URL(view...), "http://", "https://", 1) }
	authority, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		client func(testing.TB, string) *e2etest.Client
		trust  func(*e2etest.Client)
	}{
		{"Conan 1", e2etest.NewConan1, func(c *e2etest.Client) { c.Write("cacert.pem", string(authority)) }},
		{"Conan 2", e2etest.NewConan2, func(c *e2etest.Client) {
			c.Write("global.conf", "core:non_interactive=True\ncore.net.http:cacert_path="+certFile+"\n")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			user := strings.ReplaceAll(strings.ToLower(tt.name), " ", "")
			publisher := tt.client(t, secure("local")).As("demo", "demo")
			tt.trust(publisher)
			publisher.Create(e2etest.Recipe(t, "header"), user+"/testing")
			publisher.Upload("*")
			reader := tt.client(t, secure())
			tt.trust(reader)
			reader.Install("header/1.0@" + user + "/testing")
			e2etest.SameTree(t, "header", publisher, reader)
		})
	}
}

// certificate makes a certificate for 127.0.0.1 that is its own authority, and returns the files of
// it and of its key.
func certificate(t testing.TB) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "conanproxy under test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range []struct {
		path  *string
		name  string
		block pem.Block
	}{
		{&certFile, "cert.pem", pem.Block{Type: "CERTIFICATE", Bytes: cert}},
		{&keyFile, "key.pem", pem.Block{Type: "PRIVATE KEY", Bytes: private}},
	} {
		*f.path = filepath.Join(dir, f.name)
		if err := os.WriteFile(*f.path, pem.EncodeToMemory(&f.block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
