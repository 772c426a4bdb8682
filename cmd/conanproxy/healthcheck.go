package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthcheckTimeout bounds the whole question.
const healthcheckTimeout = 5 * time.Second

func healthcheckCommand() *cobra.Command {
	var flags configFlags
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the running server whether it is ready; exit code 0 if it is",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := flags.load()
			if err != nil {
				return err
			}
			scheme := "http"
			if cfg.TLS.CertFile != "" {
				scheme = "https"
			}
			return healthcheck(c.Context(), scheme, cfg.Listen)
		},
	}
	flags.add(c)
	return c
}

// healthcheck asks /readyz of the server that listens on addr, on this machine.
func healthcheck(ctx context.Context, scheme, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return usageError{fmt.Errorf("listen address %q: %w", addr, err)}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := localClient().Do(req)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server is not ready: %s", resp.Status)
	}
	return nil
}

// localClient asks this machine's own server: no proxy, and no check of a certificate that names another host.
func localClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:           nil,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // only the status of our own process is read
	}}
}
