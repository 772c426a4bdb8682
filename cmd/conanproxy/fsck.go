package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"conanproxy/internal/config"
	"conanproxy/internal/scrub"
)

func fsckCommand() *cobra.Command {
	var flags configFlags
	var repair bool
	c := &cobra.Command{
		Use:   "fsck",
		Short: "Re-read every stored file and compare it with its digest (the server must be stopped)",
		Long: "Re-reads every stored file and compares it with its digest, and reports rows without bytes and bytes without rows.\n" +
			"With --repair damaged files are set aside below blobs/damaged, fetched again where an upstream has them, and bytes\n" +
			"without rows are removed. The server must be stopped: the command takes the lock of the data directory.\n" +
			"Exit code 1 if something is wrong and was not healed.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := flags.load()
			if err != nil {
				return err
			}
			ctx, cancel := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer cancel()
			return fsck(ctx, cfg, repair, c.OutOrStdout())
		},
	}
	flags.add(c)
	c.Flags().StringVar(&flags.override.DataDir, "data-dir", "", "data directory (default: of the configuration)")
	c.Flags().BoolVar(&repair, "repair", false, "set damaged files aside, fetch them again, remove bytes without rows")
	return c
}

// fsck writes one line per finding and a summary.
func fsck(ctx context.Context, cfg *config.Config, repair bool, out io.Writer) error {
	p, err := openExisting(ctx, cfg)
	defer p.close()
	if err != nil {
		return err
	}
	sum, err := scrub.Check(ctx, scrub.Options{
		Index: p.db, Blobs: p.blobs, Repair: repair, Fetch: p.fetch,
		Found: func(f scrub.Finding) { printFinding(out, f) },
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d blobs, %d bytes read: %d damaged, %d rows without bytes, %d bytes without rows; %d not healed\n",
		sum.Blobs, sum.Bytes, sum.Damaged, sum.Missing, sum.Orphan, sum.Unhealed)
	if sum.Unhealed > 0 {
		if !repair {
			return errors.New("the store is not as it should be; run: conanproxy fsck --repair")
		}
		return errors.New("some findings could not be healed")
	}
	return nil
}

func printFinding(out io.Writer, f scrub.Finding) {
	state := "found"
	switch {
	case f.Healed:
		state = "healed"
	case f.Trouble != "":
		state = "not healed: " + f.Trouble
	}
	fmt.Fprintf(out, "%s %s (%d bytes): %s\n", f.Kind, f.Digest, f.Size, state)
	for _, file := range f.Files {
		fmt.Fprintf(out, "  %s: %s %s\n", file.Member, file.Revision, file.Name)
	}
}

// openExisting opens the store of a data directory that must be there already, for a command that works on it alone.
func openExisting(ctx context.Context, cfg *config.Config) (*parts, error) {
	log, _, _, err := newLoggers(cfg.Log, os.Stderr)
	if err != nil {
		return &parts{stop: func() {}}, usageError{err}
	}
	if _, err := os.Stat(cfg.DataDir); err != nil {
		return &parts{stop: func() {}, log: log}, usageError{fmt.Errorf("data_dir: %w", err)}
	}
	return openStore(ctx, cfg, log, prometheus.NewRegistry())
}
