package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"conanproxy/internal/scrub"
)

func gcCommand() *cobra.Command {
	var dry bool
	c := offlineCommand(&cobra.Command{
		Use:   "gc",
		Short: "Evict cached files and remove abandoned ones (the server must be stopped)",
		Long: "Evicts the longest unused cached revisions until cache.max_size and cache.min_free are kept, removes abandoned\n" +
			"uploads, and moves orphaned files (which the index does not list) to blobs/orphaned. Published packages are never\n" +
			"removed. A running server evicts and removes by itself; the command is for a limit that was lowered, or a disk that\n" +
			"must be freed before the next start. With a bucket (blobs.s3) it also compares the bucket with the index and removes\n" +
			"objects that nothing refers to for a day; orphaned ones are set aside. The server must be stopped: the command takes the lock of the data directory.\n" +
			"With --dry-run it only reports what it would do.\n" +
			"Exit code 0: the limits are kept; 1: the command failed; 2: wrong usage, configuration or folder; 3: a limit is still\n" +
			"exceeded.",
	}, func(ctx context.Context, o *offline, out io.Writer) error { return gc(ctx, o, dry, out) })
	c.Flags().BoolVar(&dry, "dry-run", false, "change nothing, only report what would be done")
	return c
}

// countOrphans moves orphaned files away, or only counts them.
func countOrphans(ctx context.Context, o *offline, dry bool) (orphans int, err error) {
	err = scrub.Orphans(ctx, scrub.Options{Index: o.index, Blobs: o.blobs, Repair: !dry, Found: func(f scrub.Finding) {
		if dry || f.Healed {
			orphans++
		}
	}})
	return orphans, err
}

// gc writes a line about what was removed, or would be.
func gc(ctx context.Context, o *offline, dry bool, out io.Writer) error {
	uploads, packages, err := o.stores.abandoned(ctx)
	if err != nil {
		return err
	}
	if !dry {
		if err := o.stores.sweep(ctx); err != nil {
			return err
		}
	}
	orphans, err := countOrphans(ctx, o, dry)
	if err != nil {
		return err
	}
	sum, err := o.budget.Collect(ctx, dry)
	if err != nil {
		return err
	}
	if o.tiered != nil && !dry {
		if err := o.tiered.Clean(ctx, time.Now()); err != nil {
			return err
		}
	}
	moved := "moved to blobs/orphaned"
	if o.tiered != nil {
		moved = "set aside in the bucket for 30 days"
	}
	removed := "removed"
	if dry {
		removed, moved = "would remove", "would be "+moved
	}
	fmt.Fprintf(out, "%s: %d cached revisions, %d abandoned uploads, %d packages without a recipe, %d files of %d bytes; %d orphaned files %s\n",
		removed, sum.Revisions, uploads, packages, sum.Blobs, sum.Bytes, orphans, moved)
	if sum.Over > 0 {
		return unsoundError{fmt.Errorf("a limit is still exceeded by %d bytes, and nothing is left that may be evicted", sum.Over)}
	}
	return nil
}
