package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"conanproxy/internal/config"
)

// configFlags are the flags that say where the configuration comes from.
type configFlags struct {
	file     string
	override config.Flags
}

// add gives a command the flag --config.
func (f *configFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "config", os.Getenv("CONANPROXY_CONFIG"), "configuration file (YAML)")
}

// addOverrides gives a command the flags that win over file and environment.
func (f *configFlags) addOverrides(c *cobra.Command) {
	c.Flags().StringVar(&f.override.Listen, "listen", "", "address to listen on (default 127.0.0.1:9300)")
	c.Flags().StringVar(&f.override.DataDir, "data-dir", "", "directory of all stored data (default ./data)")
	c.Flags().StringArrayVar(&f.override.Upstreams, "upstream", nil, "[NAME=]URL of a Conan server to pull from; repeat for more; replaces the configured ones")
}

// addDataDir gives a command the flag that tells where the data is.
func (f *configFlags) addDataDir(c *cobra.Command) {
	c.Flags().StringVar(&f.override.DataDir, "data-dir", "", "data directory (default: that of the configuration)")
}

func (f *configFlags) load() (*config.Config, error) { return f.loadWith(false) }

// loadWith loads the configuration; with noFiles the files that it names need not exist yet.
func (f *configFlags) loadWith(noFiles bool) (*config.Config, error) {
	cfg, err := config.Load(config.LoadOptions{File: f.file, Env: os.Environ(), Flags: f.override, NoFiles: noFiles})
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}

// onDataDir has a command run work on the configured data directory, and adds the flags that say
// where it is. With noFiles the files that the configuration names need not exist. A signal cancels
// the context of work.
func onDataDir(c *cobra.Command, noFiles bool, work func(ctx context.Context, cfg *config.Config, args []string) error) *configFlags {
	flags := &configFlags{}
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := flags.loadWith(noFiles)
		if err != nil {
			return err
		}
		ctx, cancel := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
		defer cancel()
		return work(ctx, cfg, args)
	}
	flags.add(c)
	flags.addDataDir(c)
	return flags
}

// build builds everything that serve builds, in a data directory of its own that is removed again: a server may be
// running on the configured one.
func build(ctx context.Context, cfg *config.Config) (err error) {
	dir, err := os.MkdirTemp("", "conanproxy-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	trial := *cfg
	trial.DataDir = dir
	s, err := newServer(ctx, &trial, &loggers{app: zap.NewNop(), access: zap.NewNop()})
	if err != nil {
		return err
	}
	s.close()
	return nil
}

func configCommand() *cobra.Command {
	var flags configFlags
	check := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration; exit code 2 and one line for each error",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := flags.load()
			if err != nil {
				return err
			}
			if err := build(c.Context(), cfg); err != nil {
				return err
			}
			if err := checkRoots(cfg); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "configuration is valid")
			stores, err := cfg.StoresInsteadOfLocal()
			if stores != "" {
				fmt.Fprintf(c.OutOrStdout(), "the section local is still read; it is written now as:\n%s", stores)
			}
			return err
		},
	}
	print := &cobra.Command{
		Use:   "print",
		Short: "Print the configuration in force, secrets masked",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := flags.load()
			if err != nil {
				return err
			}
			return cfg.Print(c.OutOrStdout())
		},
	}
	c := &cobra.Command{Use: "config", Short: "Check or print the configuration"}
	for _, sub := range []*cobra.Command{check, print} {
		flags.add(sub)
		c.AddCommand(sub)
	}
	return c
}
