package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"conanproxy/cache"
	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
	"conanproxy/internal/policy"
	"conanproxy/proxy/resolver"
	"conanproxy/upstream"
)

// upstreams are the configured upstreams, in order, and the names that they are never asked for. They never change.
type upstreams struct {
	members []member
	owns    policy.Globs // of the store
}

// member is one upstream: the server, the cache over it, and the rules about what it is asked.
type member struct {
	config config.Upstream // with the password in force
	remote *upstream.Remote
	cache  *cache.Cache
	filter *policy.Filter // over the cache
}

// openUpstreams makes a cache over each configured upstream. Members of old whose configuration is the same are shared.
// After an error nothing stays open that was not open before. The caller calls closeExcept on the result.
func (d *data) openUpstreams(ctx context.Context, cfg *config.Config, old *upstreams) (u *upstreams, err error) {
	u = &upstreams{}
	defer func() {
		if err != nil {
			u.closeExcept(old)
		}
	}()
	if u.owns, err = policy.ParseGlobs("local.owns", cfg.Local.Owns); err != nil {
		return nil, usageError{err}
	}
	for _, c := range cfg.Upstreams {
		if c.Password, err = c.Secret(); err != nil {
			return nil, usageError{err}
		}
		m, ok := old.same(c)
		if !ok {
			if m, err = d.openMember(ctx, c); err != nil {
				return nil, err
			}
		}
		u.members = append(u.members, m)
	}
	return u, nil
}

// same finds the member that was made of a configuration.
func (u *upstreams) same(c config.Upstream) (member, bool) {
	if u == nil {
		return member{}, false
	}
	i := slices.IndexFunc(u.members, func(m member) bool { return reflect.DeepEqual(m.config, c) })
	if i < 0 {
		return member{}, false
	}
	return u.members[i], true
}

func (d *data) openMember(ctx context.Context, c config.Upstream) (member, error) {
	rules, err := policy.ParseRules(c.Name, c.Include, c.Exclude)
	if err != nil {
		return member{}, usageError{err}
	}
	id, err := d.index.Member(ctx, c.Name, index.KindUpstream)
	if errors.Is(err, conan.ErrConflict) {
		return member{}, usageError{fmt.Errorf("upstream %q: %w", c.Name, err)}
	}
	if err != nil {
		return member{}, err
	}
	remote, err := upstream.New(upstream.Options{
		Name: c.Name, URL: c.URL, Protocol: c.Protocol, Username: c.Username, Password: c.Password, CAFile: c.CAFile,
		Timeout: c.Timeout, MaxConnections: c.MaxConnections, Log: d.log.Named("upstream"), Metrics: d.upstreamMetrics,
	})
	if err != nil {
		return member{}, usageError{err}
	}
	over, err := cache.New(cache.Options{
		Name: c.Name, Member: id, Remote: remote, Index: d.index, Blobs: d.blobs, Budget: d.budget, Memory: d.memory,
		Mode: cache.Mode(c.Mode), FreshFor: c.FreshFor, NotFoundFor: c.NotFoundFor, StaleFor: c.StaleFor,
		MaxFills: remote.MaxFiles(), Log: d.log.Named("cache"), Metrics: d.cacheMetrics,
	})
	if err != nil {
		remote.Close()
		return member{}, err
	}
	return member{config: c, remote: remote, cache: over, filter: policy.NewFilter(over, rules)}, nil
}

// closeExcept closes the members that others do not share; nil shares none.
func (u *upstreams) closeExcept(others *upstreams) {
	for _, m := range u.members {
		if _, shared := others.same(m.config); !shared {
			m.cache.Close()
			m.remote.Close()
		}
	}
}

// resolverMembers are the members as a resolver asks them.
func (u *upstreams) resolverMembers() []resolver.Member {
	list := make([]resolver.Member, len(u.members))
	for i, m := range u.members {
		list[i] = resolver.Member{
			Name: m.config.Name, Source: m.filter, Clients: conan.Generation(m.config.Clients), Admits: m.filter.Admits,
		}
	}
	return list
}

// fetch downloads a stored file again: from the upstream that it came from, or a published one from any that has it and
// may be asked for it.
func (u *upstreams) fetch(ctx context.Context, f index.FileRow) error {
	err := errors.New("no upstream has it")
	for _, m := range u.members {
		if !u.mayFetch(m, f) {
			continue
		}
		if err = m.cache.Store(ctx, f.Revision, f.Name); err == nil {
			return nil
		}
	}
	return err
}

func (u *upstreams) mayFetch(m member, f index.FileRow) bool {
	if f.Member.Kind == index.KindUpstream && f.Member.Name != m.config.Name {
		return false
	}
	return m.filter.Admits(f.Revision.Ref) && !u.owns.Match(f.Revision.Ref)
}

// sweep removes what the index remembers of upstreams' answers and nothing can use any more.
func (u *upstreams) sweep(ctx context.Context) error {
	var errs []error
	for _, m := range u.members {
		errs = append(errs, m.cache.Sweep(ctx))
	}
	return errors.Join(errs...)
}
