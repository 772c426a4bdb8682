package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"conanproxy/internal/backup"
	"conanproxy/internal/config"
	"conanproxy/internal/scrub"
)

func backupCommand() *cobra.Command {
	var flags *configFlags
	var check bool
	c := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy the data directory into a new folder while the server runs",
		Long: "Copies the data directory into DIR, which must be empty or not exist, while the server runs. Stored files are hard\n" +
			"links where DIR is on the same filesystem. DIR can be used as a data_dir. With a bucket (blobs.s3) only the index is copied:\n" +
			"copy the bucket after it. The configuration and the files that it names\n" +
			"are not in the data directory: the command lists them, so that they can be copied too.\n" +
			"Exit code 0: the copy is complete; 1: the command failed; 2: wrong usage, configuration or folder; 3: files are\n" +
			"damaged or missing, in the data directory as in the copy.",
		Args: cobra.ExactArgs(1),
	}
	flags = onDataDir(c, true, func(ctx context.Context, cfg *config.Config, args []string) error {
		if err := backUp(ctx, cfg, args[0], check, c.OutOrStdout()); err != nil {
			return err
		}
		listFiles(c.OutOrStdout(), flags.file, cfg)
		return nil
	})
	c.Flags().BoolVar(&check, "check", false, "read every copied file and compare it with its digest")
	return c
}

// backUp copies the data directory and writes a line for each file that is not as it should be.
func backUp(ctx context.Context, cfg *config.Config, to string, check bool, out io.Writer) error {
	dir, inBucket := cfg.DataDir, cfg.Blobs.S3.Endpoint != ""
	if inBucket && check {
		return usageError{errors.New("backup --check reads copied files, and files in a bucket are not copied; run conanproxy fsck")}
	}
	if err := checkDataDir(dir); err != nil {
		return err
	}
	relative := func(path string) string {
		name, _ := filepath.Rel(dir, path) // the paths are made below dir
		return name
	}
	report, err := backup.Run(ctx, backup.Options{
		From: dir, To: to, Index: relative(indexPath(dir)), Blobs: relative(blobsPath(dir)), Journal: relative(journalPath(dir)),
		Bucket: inBucket, Check: check, Found: func(f scrub.Finding) { printFinding(out, f) },
	})
	if errors.Is(err, backup.ErrNotEmpty) {
		return usageError{err}
	}
	if err == nil {
		err = copySecret(dir, to)
	}
	if err != nil {
		return err
	}
	if inBucket {
		fmt.Fprintf(out, "the index is copied; its %d files, %d bytes, are in the bucket %s: copy that now, after the index\n",
			report.Blobs, report.Bytes, cfg.Blobs.S3.Bucket)
		return nil
	}
	fmt.Fprintf(out, "%d files, %d bytes; %d of them were copied, the others are hard links\n", report.Blobs, report.Bytes, report.Copied)
	if report.Bad > 0 {
		return unsoundError{fmt.Errorf("%d files are damaged or missing; run: conanproxy fsck --repair", report.Bad)}
	}
	return nil
}

// listFiles names the files outside of the data directory that a server needs too.
func listFiles(out io.Writer, configFile string, cfg *config.Config) {
	files := []string{configFile, cfg.Auth.HtpasswdFile, cfg.TLS.CertFile, cfg.TLS.KeyFile, cfg.Blobs.S3.SecretKeyFile}
	for _, u := range cfg.Upstreams {
		files = append(files, u.PasswordFile, u.CAFile)
	}
	for _, file := range files {
		if file != "" {
			fmt.Fprintf(out, "not part of the copy: %s\n", file)
		}
	}
}
