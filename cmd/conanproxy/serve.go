package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"conanproxy/internal/config"
)

func serveCommand() *cobra.Command {
	var flags configFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := flags.load()
			if err != nil {
				return err
			}
			return serve(c.Context(), cfg, flags.load, c.OutOrStdout())
		},
	}
	flags.add(c)
	flags.addOverrides(c)
	return c
}

// drainTimeout bounds how long SIGTERM waits for running requests; long transfers continue by Range
// elsewhere.
const drainTimeout = 5 * time.Minute

// serve runs the server until a signal or ctx ends it. load reads the configuration again at
// SIGHUP.
func serve(ctx context.Context, cfg *config.Config, load func() (*config.Config, error), out io.Writer) error {
	logs, err := newLoggers(cfg.Log, os.Stderr)
	if err != nil {
		return usageError{err}
	}
	defer logs.flush()
	s, err := newServer(ctx, cfg, logs)
	if err != nil {
		return err
	}
	defer s.close()
	listener, err := s.listen()
	if err != nil {
		return err
	}
	defer removeAddress(cfg.DataDir)
	s.start()
	s.greet(out, listener.Addr())

	web := newHTTPServer(s.http, logs.app)
	web.RegisterOnShutdown(sync.OnceFunc(func() { close(s.drain) }))
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("serve: %w", err)
		case <-ctx.Done():
			return drain(web, signals, logs.app)
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return drain(web, signals, logs.app)
			}
			s.reload(load)
		}
	}
}

// newHTTPServer has no ReadTimeout and no WriteTimeout: they count whole bodies. The handlers move
// deadlines of their own while bytes flow.
func newHTTPServer(handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          zap.NewStdLog(log.Named("http")),
	}
}

// drain stops accepting, waits for running requests, and ends at once at a second signal.
func drain(server *http.Server, signals <-chan os.Signal, log *zap.Logger) error {
	log.Info("draining: no new connections, running requests finish; a second signal ends at once")
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	go func() {
		for {
			select {
			case s := <-signals:
				if s != syscall.SIGHUP {
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	if err := server.Shutdown(ctx); err != nil {
		log.Warn("the drain time is over; requests that still run are cut off", zap.Error(err))
		return server.Close()
	}
	log.Info("stopped")
	return nil
}

// greet prints three lines for a person who starts the server by hand, and logs the same.
func (s *server) greet(out io.Writer, addr net.Addr) {
	cfg := s.started
	url := cfg.PublicURL
	if url == "" {
		url = localURL(cfg.TLS.CertFile != "", addr.String())
	}
	url = strings.TrimSuffix(url, "/") + cfg.BasePath
	var from []string
	for _, u := range cfg.Upstreams {
		from = append(from, u.Name+" ("+u.URL+")")
	}
	s.log.Info("started", zap.String("version", versionText()), zap.String("url", url), zap.String("data_dir", cfg.DataDir),
		zap.Strings("upstreams", from), zap.String("digest", cfg.Digest()))
	if len(from) == 0 {
		from = []string{"no upstreams; only packages that are published here are served"}
	}
	fmt.Fprintf(out, "conanproxy %s serves Conan 1 and Conan 2 at %s, data in %s\n", versionText(), url, cfg.DataDir)
	fmt.Fprintf(out, "pulling from: %s\n", strings.Join(from, ", "))
	fmt.Fprintf(out, "conan remote add conanproxy %s --index 0      # Conan 1: --insert 0 in place of --index 0\n", url)
}
