package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"conanproxy/internal/config"
	"conanproxy/internal/index"
)

// offline is a data directory that a command has for itself while the server is stopped.
type offline struct {
	*data
	stores    stores
	upstreams upstreams
}

// fetch downloads a stored file again.
func (o *offline) fetch(ctx context.Context, f index.FileRow) error {
	return o.upstreams.fetch(ctx, o.stores.owned(), f)
}

// offlineCommand makes work a command on the data directory, which must exist. Signals end its
// context.
func offlineCommand(c *cobra.Command, work func(context.Context, *offline, io.Writer) error) *cobra.Command {
	onDataDir(c, false, func(ctx context.Context, cfg *config.Config, _ []string) error {
		return withOffline(ctx, cfg, func(o *offline) error { return work(ctx, o, c.OutOrStdout()) })
	})
	return c
}

// withOffline opens the data directory for the time of work.
func withOffline(ctx context.Context, cfg *config.Config, work func(*offline) error) (err error) {
	logs, err := newLoggers(cfg.Log, os.Stderr)
	if err != nil {
		return usageError{err}
	}
	if err := checkDataDir(cfg.DataDir); err != nil {
		return err
	}
	o := &offline{}
	o.data, err = openData(ctx, dataOptions{config: cfg, log: logs.app, registry: prometheus.NewRegistry(), mustExist: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.data.close()) }()
	if o.stores, err = o.openStores(ctx, cfg, nil, nil); err != nil {
		return err
	}
	defer o.stores.closeExcept(nil)
	if o.upstreams, err = o.openUpstreams(ctx, cfg, nil); err != nil {
		return err
	}
	defer o.upstreams.closeExcept(nil)
	return work(o)
}
