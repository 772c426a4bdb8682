package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"conanproxy/internal/config"
	"conanproxy/internal/scrub"
)

func gcCommand() *cobra.Command {
	var flags configFlags
	var dry bool
	c := &cobra.Command{
		Use:   "gc",
		Short: "Remove what need not be kept (the server must be stopped)",
		Long: "Evicts the coldest cached revisions until cache.max_size and cache.min_free are kept, throws abandoned uploads away,\n" +
			"and unlinks files that nothing names. Published packages never go. A running server does all this by itself; the\n" +
			"command is for a lowered limit, or a disk that has to be emptied before the next start. The server must be stopped:\n" +
			"the command takes the lock of the data directory. With --dry-run it only says what it would remove.\n" +
			"Exit code 1 if a limit is exceeded still.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := flags.load()
			if err != nil {
				return err
			}
			ctx, cancel := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer cancel()
			return gc(ctx, cfg, dry, c.OutOrStdout())
		},
	}
	flags.add(c)
	c.Flags().StringVar(&flags.override.DataDir, "data-dir", "", "data directory (default: of the configuration)")
	c.Flags().BoolVar(&dry, "dry-run", false, "change nothing, only say what would be removed")
	return c
}

// gc writes a line of what was removed, or would be.
func gc(ctx context.Context, cfg *config.Config, dry bool, out io.Writer) error {
	p, err := openExisting(ctx, cfg)
	defer p.close()
	if err != nil {
		return err
	}
	uploads, packages, err := p.local.Abandoned(ctx)
	if err != nil {
		return err
	}
	if !dry {
		if err := p.local.Sweep(ctx); err != nil {
			return err
		}
	}
	orphans, orphaned := 0, int64(0)
	if err := scrub.Orphans(ctx, scrub.Options{Index: p.db, Blobs: p.blobs, Repair: !dry, Found: func(f scrub.Finding) {
		if dry || f.Healed {
			orphans++
			orphaned += f.Size
		}
	}}); err != nil {
		return err
	}
	sum, err := p.quota.Collect(ctx, dry)
	if err != nil {
		return err
	}
	verb := "removed"
	if dry {
		verb = "would remove"
	}
	fmt.Fprintf(out, "%s: %d cached revisions, %d abandoned uploads, %d packages without a recipe, %d files that nothing names; %d bytes\n",
		verb, sum.Revisions, uploads, packages, sum.Blobs+orphans, sum.Bytes+orphaned)
	if sum.Over > 0 {
		return fmt.Errorf("a limit is exceeded by %d bytes still, and nothing is left that may go", sum.Over)
	}
	return nil
}
