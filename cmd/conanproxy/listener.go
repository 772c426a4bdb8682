package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// listen opens the configured address, with TLS if there is a certificate, and notes the address in
// the data directory.
func (s *server) listen() (net.Listener, error) {
	cfg := s.started
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	useTLS := s.current.Load().certificate != nil
	if err := writeAddress(cfg.DataDir, useTLS, listener.Addr()); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	listener = leanListener{listener}
	if useTLS {
		listener = tls.NewListener(listener, s.tlsConfig())
	}
	return listener, nil
}

// tlsConfig uses the certificate of the settings in force, so that a reload replaces it.
func (s *server) tlsConfig() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.current.Load().certificate, nil },
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
	}
}

// unsent is how many bytes the kernel may queue for a connection beyond those that are on their way
// to the client. Without a bound it queues up to 4 MB (the third number of net.ipv4.tcp_wmem) for
// each slow client, and a few hundred of them put the TCP of the whole machine under memory
// pressure. It does not bound the window of a fast client on a long line.
const unsent = 1 << 20

// leanListener bounds what the kernel queues for each connection: accepted sockets do not inherit
// that from the listening one.
type leanListener struct{ net.Listener }

// Accept implements net.Listener. The connection stays a *net.TCPConn, for sendfile.
func (l leanListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		boundUnsent(tcp, unsent)
	}
	return conn, err
}
