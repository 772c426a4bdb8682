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
	"conanproxy/internal/space"
	"conanproxy/localstore"
	"conanproxy/upstream"
)

// data is an opened data directory with the parts that all settings share.
type data struct {
	log     *zap.Logger
	blobs   *blob.Disk
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
	if d.blobs, err = blob.NewDisk(blobsPath(dir), blob.DiskOptions{}); err != nil {
		return nil, err
	}
	if err := d.openIndex(ctx, dir, o.mustExist); err != nil {
		return nil, err
	}
	d.budget = space.New(space.Options{
		Index: d.index, Blobs: d.blobs, MaxSize: int64(o.config.Cache.MaxSize), MinFree: int64(o.config.Cache.MinFree),
		Block: d.blobs.BlockSize(), TempBytes: d.blobs.TempBytes, Log: o.log.Named("space"), Metrics: d.spaceMetrics,
	})
	return d, nil
}

// openIndex opens the index and its journal. It is made only where there are no blobs: beside a new
// index stored blobs would count as orphaned.
func (d *data) openIndex(ctx context.Context, dir string, mustExist bool) error {
	empty, err := d.blobs.Empty(ctx)
	if err != nil {
		return err
	}
	open := index.OpenExisting
	if empty && !mustExist {
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
