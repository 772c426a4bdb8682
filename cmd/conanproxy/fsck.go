package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"conanproxy/internal/scrub"
)

func fsckCommand() *cobra.Command {
	var repair bool
	c := offlineCommand(&cobra.Command{
		Use:   "fsck",
		Short: "Read every stored file and compare it with its digest (the server must be stopped)",
		Long: "Reads every stored file and compares it with its digest. Reports damaged files, missing files (which the index\n" +
			"lists) and orphaned files (which the index does not list). With --repair damaged files are moved to blobs/damaged\n" +
			"and, like missing ones, downloaded again where an upstream has them; orphaned files are moved to blobs/orphaned.\n" +
			"With a bucket (blobs.s3) all of its objects are read; wrong ones are set aside in the index for 30 days, and uploaded\n" +
			"again where the data directory has a good copy. Objects that were set aside and are good now are taken back.\n" +
			"The server must be stopped: the command takes the lock of the data directory.\n" +
			"Exit code 0: nothing is wrong, or all of it was repaired; 1: the command failed; 2: wrong usage, configuration or\n" +
			"folder; 3: something is wrong.",
	}, func(ctx context.Context, o *offline, out io.Writer) error { return fsck(ctx, o, repair, out) })
	c.Flags().BoolVar(&repair, "repair", false, "move damaged and orphaned files away, download damaged and missing ones again")
	return c
}

// fsck writes one line for each finding and a summary.
func fsck(ctx context.Context, o *offline, repair bool, out io.Writer) error {
	sum, err := scrub.Check(ctx, scrub.Options{
		Index: o.index, Blobs: o.blobs, Repair: repair, Fetch: o.fetch,
		Found: func(f scrub.Finding) { printFinding(out, f) },
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d files, %d bytes read: %d damaged, %d missing, %d orphaned; %d not repaired\n",
		sum.Blobs, sum.Bytes, sum.Damaged, sum.Missing, sum.Orphan, sum.Unhealed)
	switch {
	case sum.Unhealed > 0 && !repair:
		return unsoundError{errors.New("the store is not as it should be; run: conanproxy fsck --repair")}
	case sum.Unhealed > 0:
		return unsoundError{errors.New("some findings could not be repaired")}
	}
	return nil
}

func printFinding(out io.Writer, f scrub.Finding) {
	state := "found"
	switch {
	case f.Healed:
		state = "repaired"
	case f.Trouble != "":
		state = "not repaired: " + f.Trouble
	}
	fmt.Fprintf(out, "%s %s (%d bytes): %s\n", f.Kind, f.Digest, f.Size, state)
	for _, file := range f.Files {
		fmt.Fprintf(out, "  %s: %s %s\n", file.Member.Name, file.Revision, file.Name)
	}
}
