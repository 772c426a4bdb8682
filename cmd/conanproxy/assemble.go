package main

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"conanproxy/cache"
	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
	"conanproxy/internal/scrub"
	"conanproxy/localstore"
	"conanproxy/proxy"
	"conanproxy/upstream"
)

// parts is the running server, put together from the rooms.
type parts struct {
	log       *zap.Logger
	blobs     *blob.Disk
	db        *index.DB
	quota     *cache.Quota
	guard     *proxy.Guard
	server    atomic.Pointer[proxy.Server]
	local     *localstore.Store
	outside   *outside
	upMetrics *upstream.Metrics
	caMetrics *cache.Metrics
	members   []member // in order
	closers   []func() error
	workers   sync.WaitGroup
	stop      context.CancelFunc
}

// member is one upstream behind its cache.
type member struct {
	config config.Upstream // with the password in force
	remote *upstream.Remote
	cache  *cache.Cache
}

func (m member) close() {
	m.cache.Close()
	m.remote.Close()
}

// same tells whether a configuration is the one that the member was made of.
func (m member) same(u config.Upstream) bool { return reflect.DeepEqual(m.config, u) }

// openStore opens what lies in the data directory and the upstreams, without a server. The caller calls close on the result,
// also after an error.
func openStore(ctx context.Context, cfg *config.Config, log *zap.Logger, registry prometheus.Registerer) (*parts, error) {
	p := &parts{log: log, stop: func() {}, outside: &outside{}}
	lock, err := lockDataDir(cfg.DataDir)
	if err != nil {
		return p, err
	}
	p.closers = append(p.closers, lock.Close)
	if p.blobs, err = blob.NewDisk(filepath.Join(cfg.DataDir, "blobs"), blob.DiskOptions{}); err != nil {
		return p, err
	}
	if p.db, err = index.Open(ctx, filepath.Join(cfg.DataDir, "index.db")); err != nil {
		return p, err
	}
	p.closers = append(p.closers, p.db.Close)
	p.upMetrics = upstream.NewMetrics(registry)
	p.caMetrics = cache.NewMetrics(registry)
	p.quota = cache.NewQuota(cache.QuotaOptions{
		Index: p.db, Blobs: p.blobs, MaxSize: int64(cfg.Cache.MaxSize), MinFree: int64(cfg.Cache.MinFree),
		Block: p.blobs.BlockSize(), TempBytes: p.blobs.TempBytes, Log: log.Named("quota"), Metrics: p.caMetrics,
	})
	p.local, err = localstore.New(localstore.Options{
		Index: p.db, Blobs: p.blobs, Upstream: p.outside, Room: p.quota.Room, Reserve: p.reserve, Changed: p.changed, Log: log.Named("local"),
	})
	if err != nil {
		return p, err
	}
	p.closers = append(p.closers, func() error { p.local.Close(); return nil })
	p.members, err = p.openMembers(cfg, nil)
	return p, err
}

// reserve promises room to an upload.
func (p *parts) reserve(ctx context.Context, n int64) (localstore.Reservation, error) {
	a, err := p.quota.Admit(ctx, n)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// changed drops the answers that the server keeps about a reference.
func (p *parts) changed(ref conan.Ref) {
	if s := p.server.Load(); s != nil {
		s.Forget(ref)
	}
}

// assemble puts the rooms together. The caller calls close on the result.
func assemble(ctx context.Context, cfg *config.Config, log, access *zap.Logger) (p *parts, err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p, err = openStore(ctx, cfg, log, registry)
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err != nil {
		return p, err
	}
	secret, err := loadSecret(cfg.DataDir)
	if err != nil {
		return p, err
	}
	p.guard, err = proxy.NewGuard(proxy.GuardOptions{
		HtpasswdFile: cfg.Auth.HtpasswdFile, Secret: secret,
		TokenLifetime: cfg.Auth.TokenLifetime, SignatureLifetime: cfg.Auth.SignatureLifetime,
		Read: rules(cfg.Auth.Read), Write: rules(cfg.Auth.Write), Log: log.Named("guard"),
	})
	if err != nil {
		return p, usageError{err}
	}
	views, err := p.views(cfg, p.members)
	if err != nil {
		return p, usageError{err}
	}
	server, err := proxy.New(proxy.Options{
		Views: views, Publisher: p.local, Guard: p.guard,
		PublicURL: cfg.PublicURL, BasePath: cfg.BasePath, TrustedProxies: cfg.TrustedProxies,
		Memory: answersMemory(cfg), Log: log, AccessLog: access, Registry: registry,
		Ready: p.ready, Version: versionText(),
	})
	if err != nil {
		return p, usageError{err}
	}
	p.server.Store(server)
	p.closers = append(p.closers, func() error { server.Close(); return nil })

	ctx, p.stop = context.WithCancel(ctx)
	p.workers.Go(func() {
		if err := p.blobs.MakeFolders(ctx); err != nil && ctx.Err() == nil {
			log.Warn("folders will be made one by one", zap.Error(err))
		}
	})
	p.workers.Go(func() { p.quota.Run(ctx) })
	p.workers.Go(func() { p.sweepStages(ctx) })
	p.workers.Go(func() {
		scrub.Run(ctx, scrub.Options{Index: p.db, Blobs: p.blobs, Fetch: p.fetch}, scrubRate, log.Named("scrub"))
	})
	return p, nil
}

// scrubRate is the bytes per second that the background scrub reads: a terabyte in about six days.
const scrubRate = 2 << 20

// fetch gets a file again from the upstream that it came from, or for a published one from any that has it.
func (p *parts) fetch(ctx context.Context, f index.FileRow) error {
	err := errors.New("no upstream has it")
	for _, m := range p.members {
		if f.Member != index.LocalMember && f.Member != m.config.Name {
			continue
		}
		if err = m.cache.Store(ctx, f.Revision, f.Name); err == nil {
			return nil
		}
	}
	return err
}

// openMembers makes a cache over each configured upstream. Members of old whose configuration is the same are kept.
func (p *parts) openMembers(cfg *config.Config, old []member) ([]member, error) {
	var members []member
	for _, u := range cfg.Upstreams {
		var err error
		if u.Password, err = u.Secret(); err != nil {
			return nil, usageError{err}
		}
		if i := slices.IndexFunc(old, func(m member) bool { return m.same(u) }); i >= 0 {
			members = append(members, old[i])
			continue
		}
		remote, err := upstream.New(upstream.Options{
			Name: u.Name, URL: u.URL, Protocol: u.Protocol, Username: u.Username, Password: u.Password, CAFile: u.CAFile,
			Timeout: u.Timeout, MaxConnections: u.MaxConnections, Log: p.log.Named("upstream"), Metrics: p.upMetrics,
		})
		if err != nil {
			return nil, usageError{err}
		}
		c, err := cache.New(cache.Options{
			Member: u.Name, Upstream: remote, Index: p.db, Blobs: p.blobs, Quota: p.quota, Mode: cache.Mode(u.Mode),
			FreshFor: u.FreshFor, NotFoundFor: u.NotFoundFor, StaleFor: u.StaleFor,
			MaxFills: remote.MaxFiles(), Memory: answersMemory(cfg) / 4, Log: p.log.Named("cache"), Metrics: p.caMetrics,
		})
		if err != nil {
			return nil, err
		}
		members = append(members, member{u, remote, c})
	}
	return members, nil
}

// views mounts the members: all of them at the root, the local store alone, each upstream alone.
func (p *parts) views(cfg *config.Config, members []member) ([]proxy.View, error) {
	var ups []proxy.Member
	for _, m := range members {
		ups = append(ups, proxy.Member{
			Name: m.config.Name, Source: m.cache, Clients: conan.Generation(m.config.Clients),
			Include: m.config.Include, Exclude: m.config.Exclude,
		})
	}
	everything, err := proxy.NewResolver(proxy.ResolverOptions{Local: p.local, Owns: cfg.Local.Owns, Upstreams: ups, Log: p.log.Named("resolver")})
	if err != nil {
		return nil, err
	}
	localOnly, err := proxy.NewResolver(proxy.ResolverOptions{Local: p.local, Owns: cfg.Local.Owns, Log: p.log.Named("resolver")})
	if err != nil {
		return nil, err
	}
	upstreamsOnly, err := proxy.NewResolver(proxy.ResolverOptions{Owns: cfg.Local.Owns, Upstreams: ups, Log: p.log.Named("resolver")})
	if err != nil {
		return nil, err
	}
	views := []proxy.View{
		{Name: proxy.ViewAll, Resolver: everything, Writable: true},
		{Name: proxy.ViewLocal, Resolver: localOnly, Writable: true},
	}
	for _, u := range ups {
		one, err := proxy.NewResolver(proxy.ResolverOptions{Owns: cfg.Local.Owns, Upstreams: []proxy.Member{u}, Log: p.log.Named("resolver")})
		if err != nil {
			return nil, err
		}
		views = append(views, proxy.View{Name: u.Name, Resolver: one})
	}
	p.outside.set(upstreamsOnly.For(conan.AnyGeneration))
	return views, nil
}

// reload puts rules, users and upstreams of a configuration that was read again in force, or changes nothing.
func (p *parts) reload(load func() (*config.Config, error)) {
	err := func() error {
		cfg, err := load()
		if err != nil {
			return err
		}
		members, err := p.openMembers(cfg, p.members)
		if err != nil {
			return err
		}
		views, err := p.views(cfg, members)
		if err != nil {
			return err
		}
		if err := p.guard.SetRules(rules(cfg.Auth.Read), rules(cfg.Auth.Write)); err != nil {
			return err
		}
		if err := p.server.Load().SetViews(views); err != nil {
			return err
		}
		p.replaceMembers(members)
		return nil
	}()
	if err != nil {
		p.log.Error("configuration not changed", zap.Error(err))
		return
	}
	p.log.Info("configuration read again")
}

// replaceMembers closes the caches that are no longer mounted, once the requests that use them had time to end.
func (p *parts) replaceMembers(members []member) {
	mounted := make(map[*cache.Cache]bool, len(members))
	for _, m := range members {
		mounted[m.cache] = true
	}
	old := p.members
	p.members = members
	for _, m := range old {
		if !mounted[m.cache] {
			time.AfterFunc(drainTimeout, m.close)
		}
	}
}

// sweepStages throws abandoned uploads away, every hour. The first time is a minute after the start: with a million packages it is a
// look of seconds, which those who waited for the start need not share.
func (p *parts) sweepStages(ctx context.Context) {
	for wait := time.Minute; ; wait = time.Hour {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := p.local.Sweep(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("abandoned uploads could not be swept", zap.Error(err))
		}
	}
}

// ready tells whether index and disk work; upstreams are not asked.
func (p *parts) ready(ctx context.Context) error {
	_, err := p.blobs.Free(ctx)
	return errors.Join(err, p.db.Ping(ctx))
}

// close ends the workers and closes what assemble opened, in reverse order.
func (p *parts) close() {
	p.stop()
	p.workers.Wait()
	for _, m := range p.members {
		m.close()
	}
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i](); err != nil {
			p.log.Error("closing", zap.Error(err))
		}
	}
}

func rules(in []config.Rule) []proxy.Rule {
	out := make([]proxy.Rule, len(in))
	for i, r := range in {
		out[i] = proxy.Rule{Pattern: r.Pattern, Users: r.Users}
	}
	return out
}

// answersMemory is cache.memory in bytes, but at most a quarter of GOMEMLIMIT: what is kept must leave room for what
// runs, or the collector of garbage would never rest.
func answersMemory(cfg *config.Config) int64 {
	return min(int64(cfg.Cache.Memory), debug.SetMemoryLimit(-1)/4)
}
