package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/config"
	"conanproxy/internal/identity"
	"conanproxy/internal/index"
	"conanproxy/internal/jobs"
	"conanproxy/internal/scrub"
	"conanproxy/proxy"
	"conanproxy/proxy/api"
)

// server is the whole server but its listener: the data, the settings in force, and the HTTP
// handlers over both.
type server struct {
	*data
	logs            *loggers
	registry        *prometheus.Registry
	secret          []byte
	hiding          *hiding
	robots          *robots
	jobs            *jobs.Runner
	identityMetrics *identity.Metrics
	metrics         *serverMetrics
	started         *config.Config // the configuration at the start; some of it holds until the end
	current         atomic.Pointer[settings]
	http            *proxy.Server

	ctx     context.Context // of the work in the background
	stop    context.CancelFunc
	workers sync.WaitGroup
	drain   chan struct{} // closed when no new connections are taken
}

// newServer puts the rooms together; start begins the work in the background. The caller calls
// close on the result.
func newServer(ctx context.Context, cfg *config.Config, logs *loggers) (_ *server, err error) {
	registry := newRegistry()
	s := &server{logs: logs, registry: registry, started: cfg, identityMetrics: identity.NewMetrics(registry), drain: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(ctx)
	s.data, err = openData(ctx, dataOptions{config: cfg, log: logs.app, registry: registry})
	if err != nil {
		s.stop()
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.secret, err = loadSecret(cfg.DataDir); err != nil {
		return nil, err
	}
	s.hiding, s.robots = &hiding{index: s.index}, newRobots(s.index)
	s.jobs = jobs.New(s.index, s.log.Named("jobs"), registry)
	s.index.HidesInForce(func() error { return s.hiding.load(context.Background()) })
	if err := s.hiding.load(ctx); err != nil {
		return nil, err
	}
	first, err := s.newSettings(ctx, cfg, &settings{})
	if err != nil {
		return nil, err
	}
	s.current.Store(first)
	s.metrics = newServerMetrics(registry, s)
	s.http, err = proxy.New(proxy.Options{
		Settings: first.http, API: &api.API{
			Stores: operated{s}, Members: operated{s}, Hides: s.hiding, Audit: s.index, Usage: s.index, Tokens: s.index, Details: s.index,
			Jobs: s.jobs, Feed: s.index, Drain: s.drain,
		},
		Memory: answersMemory(cfg), Changes: s.index.Changes(), Uses: operated{s},
		Log: logs.app, AccessLog: logs.access, Registry: registry, Ready: s.ready, Version: versionText(),
	})
	return s, err
}

// scrubRate is how many bytes per second the background scrub reads: a terabyte in about six days.
const scrubRate = 2 << 20

// start begins the work in the background, which close ends.
func (s *server) start() {
	s.workers.Go(func() {
		if err := s.blobs.MakeFolders(s.ctx); err != nil && s.ctx.Err() == nil {
			s.log.Warn("the folders of blobs could not be made ahead; each is made when it is needed", zap.Error(err))
		}
	})
	s.workers.Go(func() { s.budget.Run(s.ctx) })
	for _, m := range s.current.Load().upstreams {
		s.workers.Go(m.cache.Probe)
	}
	s.workers.Go(s.sweep)
	s.workers.Go(s.writeUses)
	s.workers.Go(func() { s.jobs.Run(s.ctx, s.runJob) })
	read := scrub.Blobs(s.blobs)
	if s.tiered != nil {
		s.workers.Go(func() { s.tiered.Run(s.ctx) })
		read = blob.Copies{Tiered: s.tiered}
	}
	s.workers.Go(func() {
		o := scrub.Options{Index: s.index, Blobs: read, Fetch: s.fetch, Found: s.metrics.found}
		scrub.Run(s.ctx, o, scrubRate, s.log.Named("scrub"))
	})
}

// fetch downloads a stored file again, from the upstreams in force.
func (s *server) fetch(ctx context.Context, f index.FileRow) error {
	now := s.current.Load()
	return now.upstreams.fetch(ctx, now.stores.owned(), f)
}

// sweep removes abandoned uploads, old answers, and what is too old in the trash, the audit, the
// feed and the list of jobs, every hour, and what is no longer needed, once a day. The first time
// is a minute after the start: with a million packages it takes seconds, and the first requests
// should not compete with it.
func (s *server) sweep() {
	retained := make(daily)
	for wait := time.Minute; ; wait = time.Hour {
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(wait):
		}
		now := s.current.Load()
		err := errors.Join(now.stores.sweep(s.ctx), now.upstreams.sweep(s.ctx), s.sweepTrails(now.config.Audit.Keep))
		if err != nil && s.ctx.Err() == nil {
			s.log.Error("the hourly sweep failed", zap.Error(err))
		}
		retained.retain(s, now.stores)
	}
}

// How long ended jobs and the lines of the feed are kept.
const (
	keepJobs = 30 * 24 * time.Hour
	keepFeed = 7 * 24 * time.Hour
)

// sweepTrails removes what is too old in the audit, the feed and the list of jobs.
func (s *server) sweepTrails(keepAudit time.Duration) error {
	now := time.Now()
	return errors.Join(s.index.SweepAudit(s.ctx, now.Add(-keepAudit)), s.index.SweepFeed(s.ctx, now.Add(-keepFeed)), s.index.SweepJobs(s.ctx, now.Add(-keepJobs)))
}

// writeUses writes the last uses of robot tokens and of revisions of stores every ten seconds, and
// at the end.
func (s *server) writeUses() {
	for s.ctx.Err() == nil {
		select {
		case <-s.ctx.Done():
		case <-time.After(10 * time.Second):
		}
		ctx := context.WithoutCancel(s.ctx)
		if err := errors.Join(s.robots.write(ctx), s.current.Load().stores.writeUses(ctx)); err != nil {
			s.log.Warn("the last uses of robot tokens or revisions were not written", zap.Error(err))
		}
	}
}

// reload applies a configuration that was read again, or changes nothing.
func (s *server) reload(load func() (*config.Config, error)) {
	old := s.current.Load()
	next, err := func() (*settings, error) {
		cfg, err := load()
		if err != nil {
			return nil, err
		}
		return s.newSettings(s.ctx, cfg, old)
	}()
	s.metrics.reloaded(err)
	if err != nil {
		s.log.Error("the new configuration is wrong; the old one stays in force", zap.Error(err))
		return
	}
	next.stores.applySettings()
	s.current.Store(next)
	s.http.SetSettings(next.http)
	s.index.Changes().ChangedSettings()
	s.jobs.Again()
	s.logs.setLevel(next.config.Log.Level)
	s.budget.SetBounds(int64(next.config.Cache.MaxSize), int64(next.config.Cache.MinFree))
	if s.tiered != nil {
		s.tiered.SetBounds(int64(next.config.Blobs.Disk), int64(next.config.Cache.MinFree))
	}
	s.workers.Go(func() { s.retire(old, next) })

	fields := []zap.Field{zap.String("digest", next.config.Digest())}
	if keys := needRestart(s.started, next.config); len(keys) > 0 {
		s.log.Warn("the new configuration is in force, but some settings need a restart", append(fields, zap.Strings("restart_for", keys))...)
		return
	}
	s.log.Info("the new configuration is in force", fields...)
}

// retire closes the stores and upstreams that are no longer configured, once the requests that use
// them had time to end.
func (s *server) retire(old, next *settings) {
	select {
	case <-time.After(drainTimeout):
	case <-s.ctx.Done():
	}
	old.closeExcept(next)
}

// ready tells whether index, disk and users work; upstreams are not asked.
func (s *server) ready(ctx context.Context) error {
	_, err := s.blobs.Free(ctx)
	return errors.Join(err, s.index.Ping(ctx), s.current.Load().guard.Problem())
}

// close ends the work in the background and closes everything.
func (s *server) close() {
	s.stop()
	s.workers.Wait()
	if s.http != nil {
		s.http.Close()
	}
	if current := s.current.Load(); current != nil {
		current.closeExcept(&settings{})
	}
	if err := s.data.close(); err != nil {
		s.log.Error("the data directory was not closed cleanly", zap.Error(err))
	}
}
