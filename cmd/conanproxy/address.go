package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// addressFile is written in the data directory while a server listens: the URL at which this
// machine reaches it. So the health check asks the server that runs, however it was configured.
const addressFile = "address"

// localURL is the URL at which this machine reaches a server that listens on addr.
func localURL(useTLS bool, addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	if useTLS {
		return "https://" + addr
	}
	return "http://" + addr
}

func writeAddress(dir string, useTLS bool, addr net.Addr) error {
	path := filepath.Join(dir, addressFile)
	text := localURL(useTLS, addr.String()) + "\n"
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		return fmt.Errorf("note the address: %w", err)
	}
	return nil
}

// removeAddress is for the end of the server; a file that stays behind only makes the health check
// fail later.
func removeAddress(dir string) { _ = os.Remove(filepath.Join(dir, addressFile)) }

// readAddress returns the URL of the server that runs on a data directory.
func readAddress(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, addressFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no server runs on data_dir %s", dir)
	}
	if err != nil {
		return "", fmt.Errorf("find the server: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
