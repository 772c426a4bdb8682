package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/blob/bucket"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
)

// tierPath is the folder of the copies of files that are in a bucket.
func tierPath(dir string) string { return filepath.Join(dir, "tier") }

// configuredBucket is the bucket that a configuration names.
type configuredBucket struct {
	*bucket.Bucket
	name   string // for people
	marker string // id of the installation that uses the bucket; empty: none yet
}

// openBucket opens the configured bucket and looks whose it is; nil if the files are on the disk.
func openBucket(ctx context.Context, s config.S3, log *zap.Logger) (*configuredBucket, error) {
	if s.Endpoint == "" {
		return nil, nil
	}
	name := fmt.Sprintf("the bucket %s at %s", s.Bucket, s.Endpoint)
	if _, err := s.Secret(); err != nil {
		return nil, usageError{err}
	}
	opened, err := bucket.Open(bucket.Options{
		Endpoint: s.Endpoint, Bucket: s.Bucket, Prefix: s.Prefix, Region: s.Region, AccessKey: s.AccessKey, Secret: s.Secret,
		Log: log.Named("bucket"),
	})
	if err != nil {
		return nil, usageError{err}
	}
	marker, err := opened.Marker(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be used: %w", name, err)
	}
	return &configuredBucket{Bucket: opened, name: name, marker: marker}, nil
}

// ofAnother is the error for a bucket whose index is elsewhere or lost.
func (b *configuredBucket) ofAnother() error {
	return usageError{fmt.Errorf("%s is of another installation (%.60q), not of this data_dir; use another bucket or prefix. If the index "+
		"was lost, restore it from a backup, or run conanproxy rebuild where blobs/journal.jsonl is", b.name, b.marker)}
}

// checkBucket refuses an index whose files are elsewhere. A new bucket becomes that of a new index.
func checkBucket(ctx context.Context, b *configuredBucket, db *index.DB) error {
	id, err := db.Installation(ctx)
	if err != nil {
		return err
	}
	if b == nil {
		if id != "" {
			return usageError{errors.New("the files of this data_dir are in a bucket; configure blobs.s3 as it was")}
		}
		return nil
	}
	switch {
	case b.marker != "" && b.marker == id:
		return nil
	case b.marker != "":
		return b.ofAnother()
	}
	return claim(ctx, b, db, id)
}

// claim marks a bucket that no installation has claimed, unless the index or the bucket has
// something already.
func claim(ctx context.Context, b *configuredBucket, db *index.DB, id string) error {
	known, err := db.Blobs(ctx, "", 1)
	if err != nil {
		return err
	}
	empty, err := b.Empty(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%s cannot be used: %w", b.name, err)
	case len(known) > 0 && id == "":
		return usageError{errors.New("the files of this data_dir are on its disk; remove blobs.s3.endpoint from the configuration, or use another data_dir")}
	case len(known) > 0:
		return usageError{fmt.Errorf("%s is not that of this data_dir: the object %s is missing, whose text is %s", b.name, b.MarkerKey(), id)}
	case !empty:
		return usageError{fmt.Errorf("%s has objects that are not of this data_dir; use an empty bucket or another prefix", b.name)}
	}
	if id == "" {
		id = rand.Text()
		if err := db.SetInstallation(ctx, id); err != nil {
			return err
		}
	}
	if err := b.Mark(ctx, id); err != nil {
		return fmt.Errorf("%s cannot be used: %w", b.name, err)
	}
	return nil
}

// newTiered makes the store of a bucket, with its tier below a data directory.
func newTiered(cfg *config.Config, b *configuredBucket, db *index.DB, log *zap.Logger, registry prometheus.Registerer) (*blob.Tiered, error) {
	disk, err := blob.NewDisk(tierPath(cfg.DataDir), blob.DiskOptions{})
	if err != nil {
		return nil, err
	}
	return blob.NewTiered(blob.TieredOptions{
		Disk: disk, Objects: b, Keys: db, Max: int64(cfg.Blobs.Disk), MinFree: int64(cfg.Cache.MinFree),
		Log: log.Named("blobs"), Metrics: blob.NewTierMetrics(registry),
	}), nil
}
