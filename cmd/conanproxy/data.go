package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"conanproxy/cache"
	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
	"conanproxy/internal/memory"
	"conanproxy/internal/scrub"
	"conanproxy/internal/space"
	"conanproxy/localstore"
	"conanproxy/upstream"
)

// data is an opened data directory with the parts that all settings share.
type data struct {
	log     *zap.Logger
	blobs   blobs
	tiered  *blob.Tiered // the same, if the files are in a bucket; else nil
	index   *index.DB
	memory  *memory.Answers // decoded answers of all members
	budget  *space.Budget
	checks  *conan.Checks // bounds the memory and work of reading archives
	closers []func() error

	upstreamMetrics *upstream.Metrics
	cacheMetrics    *cache.Metrics
	storeMetrics    *localstore.Metrics
	spaceMetrics    *space.Metrics
}

// blobs is the store of all files, on the disk or in a bucket.
type blobs interface {
	scrub.Blobs
	MakeFolders(context.Context) error
	BlockSize() int64
	TempBytes() int64
}

// dataOptions are what openData needs.
type dataOptions struct {
	config    *config.Config
	log       *zap.Logger
	registry  prometheus.Registerer
	mustExist bool // a new directory is an error
}

// openData takes the lock of the data directory and opens what lies in it. The caller calls close
// on the result.
func openData(ctx context.Context, o dataOptions) (_ *data, err error) {
	d := &data{
		log:             o.log,
		memory:          memory.NewAnswers(answersMemory(o.config)),
		upstreamMetrics: upstream.NewMetrics(o.registry),
		cacheMetrics:    cache.NewMetrics(o.registry),
		storeMetrics:    localstore.NewMetrics(o.registry),
		spaceMetrics:    space.NewMetrics(o.registry),
		checks:          conan.NewChecks(),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	dir := o.config.DataDir
	lock, err := lockDataDir(dir)
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, lock.Close)
	if err := d.openBlobs(ctx, o); err != nil {
		return nil, err
	}
	d.budget = space.New(space.Options{
		Index: d.index, Blobs: d.blobs, MaxSize: int64(o.config.Cache.MaxSize), MinFree: int64(o.config.Cache.MinFree),
		Block: d.blobs.BlockSize(), TempBytes: d.blobs.TempBytes, Log: o.log.Named("space"), Metrics: d.spaceMetrics,
	})
	return d, nil
}

// openBlobs opens the store of files and its index. The index is made only where there are no
// files: beside a new index stored files would count as orphaned.
func (d *data) openBlobs(ctx context.Context, o dataOptions) error {
	dir := o.config.DataDir
	disk, err := blob.NewDisk(blobsPath(dir), blob.DiskOptions{}) // the journal lies there in any case
	if err != nil {
		return err
	}
	empty, err := disk.Empty(ctx)
	if err != nil {
		return err
	}
	bucket, err := openBucket(ctx, o.config.Blobs.S3, d.log)
	if err != nil {
		return err
	}
	isNew := empty && (bucket == nil || bucket.marker == "")
	err = d.openIndex(ctx, dir, isNew && !o.mustExist)
	if errors.Is(err, index.ErrNoIndex) && bucket != nil && bucket.marker != "" {
		return bucket.ofAnother()
	}
	if err != nil {
		return err
	}
	if err := checkBucket(ctx, bucket, d.index); err != nil {
		return err
	}
	d.blobs = disk
	if bucket == nil {
		return nil
	}
	if d.tiered, err = newTiered(o.config, bucket, d.index, d.log, o.registry); err != nil {
		return err
	}
	d.blobs = d.tiered
	d.closers = append(d.closers, d.tiered.Close)
	return nil
}

// openIndex opens the index and its journal; it is made if that is allowed.
func (d *data) openIndex(ctx context.Context, dir string, mayMake bool) (err error) {
	open := index.OpenExisting
	if mayMake {
		open = index.Open
	}
	d.index, err = open(ctx, indexPath(dir))
	if errors.Is(err, index.ErrNoIndex) {
		return unsoundError{fmt.Errorf("%w, but there are stored files; restore it from a backup, or run: conanproxy rebuild", err)}
	}
	if err != nil {
		return err
	}
	d.closers = append(d.closers, d.index.Close)
	err = d.index.KeepJournal(ctx, journalPath(dir))
	if errors.Is(err, index.ErrJournalAhead) {
		return unsoundError{err}
	}
	return err
}

// close closes every part that was opened, in reverse order.
func (d *data) close() error {
	var errs []error
	for _, c := range slices.Backward(d.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// answersMemory is the memory of decoded answers, and as much again is that of rendered ones:
// together cache.memory, but at most a quarter of GOMEMLIMIT, since remembered answers must leave
// memory for requests, or the garbage collector would never rest.
func answersMemory(cfg *config.Config) int64 {
	return min(int64(cfg.Cache.Memory), debug.SetMemoryLimit(-1)/4) / 2
}
