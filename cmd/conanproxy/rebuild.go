package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
	"conanproxy/internal/rebuild"
)

func rebuildCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rebuild",
		Short: "Make a lost index again from the journal and the stored files (the server must be stopped)",
		Long: "Makes index.db again, from the journal beside the stored files, when it is lost or damaged; move a damaged one away\n" +
			"first. All published packages come back with their times; what was removed does not. Cached files are not part of\n" +
			"the journal: they are downloaded again. The server must be stopped: the command takes the lock of the data directory.\n" +
			"Exit code 0: every published file is there; 1: the command failed; 2: wrong usage, configuration or folder; 3: the\n" +
			"index is made, but published files are missing.",
	}
	onDataDir(c, true, func(ctx context.Context, cfg *config.Config, _ []string) error {
		return rebuildIndex(ctx, cfg, c.OutOrStdout())
	})
	return c
}

// rebuildIndex writes a line for each missing file and each store.
func rebuildIndex(ctx context.Context, cfg *config.Config, out io.Writer) (err error) {
	dir := cfg.DataDir
	if err := checkDataDir(dir); err != nil {
		return err
	}
	lock, err := lockDataDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	report, err := rebuild.Run(ctx, rebuild.Options{
		Index: indexPath(dir), Journal: journalPath(dir), Blobs: func(ctx context.Context, db *index.DB) (rebuild.Blobs, error) { return rebuiltBlobs(ctx, cfg, db) },
		Missing: func(f index.FileRow) { fmt.Fprintf(out, "missing: %s %s %s\n", f.Member.Name, f.Revision, f.Name) },
	})
	if errors.Is(err, rebuild.ErrIndexThere) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	for _, s := range report.Stores {
		fmt.Fprintf(out, "%s: %d references, %d recipe revisions, %d package revisions, %d bytes\n",
			s.Member.Name, s.References, s.Recipes, s.Packages, s.Bytes)
	}
	fmt.Fprintf(out, "made of %d changes in the journal; %d published files are missing\n", report.Changes, report.Missing)
	if report.Missing > 0 {
		return unsoundError{errors.New("published files are missing; publish these revisions again")}
	}
	return nil
}

// rebuiltBlobs is the store of an index that is being made. The rows of a bucket's objects are made
// from their list.
func rebuiltBlobs(ctx context.Context, cfg *config.Config, db *index.DB) (rebuild.Blobs, error) {
	log := zap.NewNop()
	b, err := openBucket(ctx, cfg.Blobs.S3, log)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return blob.NewDisk(blobsPath(cfg.DataDir), blob.DiskOptions{})
	}
	if b.marker == "" {
		return nil, usageError{fmt.Errorf("%s is of no installation: the object %s is missing", b.name, b.MarkerKey())}
	}
	if err := db.SetInstallation(ctx, b.marker); err != nil {
		return nil, err
	}
	t, err := newTiered(cfg, b, db, log, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	return t, t.Adopt(ctx)
}
