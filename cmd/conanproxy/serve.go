package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

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

// drainTimeout bounds how long SIGTERM waits for running requests; long transfers continue by Range elsewhere.
const drainTimeout = 5 * time.Minute

// serve runs the server until a signal ends it. reload reads the configuration again at SIGHUP.
func serve(ctx context.Context, cfg *config.Config, reload func() (*config.Config, error), out io.Writer) error {
	log, access, flush, err := newLoggers(cfg.Log, os.Stderr)
	if err != nil {
		return usageError{err}
	}
	defer flush()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts, err := assemble(ctx, cfg, log, access)
	if err != nil {
		return err
	}
	defer parts.close()

	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	listener = leanListener{listener}
	if cfg.TLS.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLS.CertFile, cfg.TLS.KeyFile)
		if err != nil {
			return errors.Join(usageError{fmt.Errorf("tls: %w", err)}, listener.Close())
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	server := newHTTPServer(log)
	greet(out, cfg, listener.Addr())

	failed := make(chan error, 1)
	go func() { failed <- parts.server.Load().Serve(server, listener) }()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("serve: %w", err)
		case <-ctx.Done():
			return drain(server, signals, log)
		case s := <-signals:
			if s != syscall.SIGHUP {
				return drain(server, signals, log)
			}
			parts.reload(reload)
		}
	}
}

// newHTTPServer has no ReadTimeout and no WriteTimeout: they count whole bodies. The handlers move
// deadlines of their own while bytes flow.
func newHTTPServer(log *zap.Logger) *http.Server {
	return &http.Server{
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
		log.Warn("ended before every request was finished", zap.Error(err))
		return server.Close()
	}
	log.Info("stopped")
	return nil
}

// greet says in three lines what is served, from where, and what to paste.
func greet(out io.Writer, cfg *config.Config, addr net.Addr) {
	scheme := "http"
	if cfg.TLS.CertFile != "" {
		scheme = "https"
	}
	url := cfg.PublicURL
	if url == "" {
		host, port, _ := net.SplitHostPort(addr.String())
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		url = scheme + "://" + net.JoinHostPort(host, port)
	}
	url = strings.TrimSuffix(url, "/") + cfg.BasePath
	var from []string
	for _, u := range cfg.Upstreams {
		from = append(from, u.Name+" ("+u.URL+")")
	}
	if len(from) == 0 {
		from = []string{"the local store only, no upstreams"}
	}
	fmt.Fprintf(out, "conanproxy %s serves Conan 1 and Conan 2 at %s, data in %s\n", versionText(), url, cfg.DataDir)
	fmt.Fprintf(out, "pulling from: %s\n", strings.Join(from, ", "))
	fmt.Fprintf(out, "conan remote add conanproxy %s --index 0      # Conan 1: --insert 0 in place of --index 0\n", url)
}

// accessFlush is how long lines of the access log may wait for more, so that they are written many at a time.
const accessFlush = time.Second

// newLoggers makes the application's logger and the access logger, both to out. Neither samples. The access
// log is written in batches; flush writes what waits.
func newLoggers(c config.Log, out io.Writer) (log, access *zap.Logger, flush func(), err error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("log.level: %w", err)
	}
	ec := zap.NewProductionEncoderConfig()
	ec.TimeKey = "time"
	encodeTime := zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z")
	ec.EncodeTime = func(t time.Time, enc zapcore.PrimitiveArrayEncoder) { encodeTime(t.UTC(), enc) }
	encoder := zapcore.NewJSONEncoder(ec)
	if c.Format == "text" {
		encoder = zapcore.NewConsoleEncoder(ec)
	}
	// A file's Sync is left out: each batch would wait for the medium, and every request for the batch.
	lines := zapcore.Lock(zapcore.AddSync(struct{ io.Writer }{out}))
	log = zap.New(zapcore.NewCore(encoder, lines, level))
	if !c.Access {
		return log, zap.NewNop(), func() {}, nil
	}
	batches := &zapcore.BufferedWriteSyncer{WS: lines, FlushInterval: accessFlush}
	access = zap.New(zapcore.NewCore(encoder.Clone(), batches, zapcore.InfoLevel)).Named("access")
	return log, access, func() { _ = batches.Stop() }, nil
}
