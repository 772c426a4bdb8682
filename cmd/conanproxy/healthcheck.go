package main

import (
	"conanproxy/internal/config"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthcheckTimeout bounds the whole question.
const healthcheckTimeout = 5 * time.Second

func healthcheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the running server whether it is ready; exit code 0 if it is",
		Long: "Asks /readyz of the server that runs on the data directory, with or without TLS and on the port that it listens on:\n" +
			"the server notes its address there when it starts.",
	}
	onDataDir(c, true, func(ctx context.Context, cfg *config.Config, _ []string) error { return healthcheck(ctx, cfg.DataDir) })
	return c
}

// healthcheck asks /readyz of the server that runs on a data directory.
func healthcheck(ctx context.Context, dataDir string) error {
	url, err := readAddress(dataDir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
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

// localClient asks this machine's own server: without a proxy, and with any certificate, since it
// is made for the host name that clients use.
func localClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:           nil,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // only the status of our own process is read
	}}
}
