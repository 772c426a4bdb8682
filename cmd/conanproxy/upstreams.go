package main

import (
	"context"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"time"

	"conanproxy/cache"
	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
	"conanproxy/internal/policy"
	"conanproxy/proxy/resolver"
	"conanproxy/upstream"
)

// upstreams are the configured upstreams, in order. The list never changes.
type upstreams []member

// member is one upstream: the server, the cache over it, and the rules about what it is asked.
type member struct {
	id     index.MemberID
	config config.Upstream // with the password in force
	ca     string          // what is in ca_file
	remote *upstream.Remote
	cache  *cache.Cache
	rules  policy.Rules
	ages   *policy.CoolDown // over the cache
}

// openUpstreams makes a cache over each configured upstream. Those of old that are configured as before are shared.
// After an error nothing stays open that was not open before. The caller calls closeExcept on the result.
func (d *data) openUpstreams(ctx context.Context, cfg *config.Config, old upstreams) (us upstreams, err error) {
	defer func() {
		if err != nil {
			us.closeExcept(old)
		}
	}()
	for _, c := range cfg.Upstreams {
		rules, err := policy.ParseRules(c.Name, c.Include, c.Exclude)
		if err != nil {
			return us, usageError{err}
		}
		if c.Password, err = c.Secret(); err != nil {
			return us, usageError{err}
		}
		ca := authorities(c.CAFile)
		m, ok := old.same(c, ca)
		if !ok {
			if m, err = d.openMember(ctx, c); err != nil {
				return us, err
			}
			m.ca = ca
		}
		m.config = c
		m.rules = rules
		m.ages, err = coolDown(c, m.cache)
		us = append(us, m)
		if err != nil {
			return us, usageError{err}
		}
	}
	return us, nil
}

// authorities is what is in a ca_file, up to a megabyte. Whether it can be used is seen when the
// upstream is opened.
func authorities(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(text)
}

// named finds an upstream.
func (us upstreams) named(name string) (member, bool) {
	i := slices.IndexFunc(us, func(m member) bool { return m.config.Name == name })
	if i < 0 {
		return member{}, false
	}
	return us[i], true
}

// source is what is seen of the upstream: as it is, or as it was at a time that is not zero.
func (m member) source(at time.Time) conan.Source {
	switch {
	case !at.IsZero():
		return policy.NewFilter(m.ages.At(at), m.rules)
	case m.config.MinAge == 0:
		return policy.NewFilter(m.cache, m.rules)
	}
	return policy.NewFilter(m.ages, m.rules)
}

// coolDown is the cool-down of an upstream over its cache.
func coolDown(c config.Upstream, source conan.Source) (*policy.CoolDown, error) {
	except, err := policy.ParseGlobs("min_age_except of upstream "+c.Name, c.MinAgeExcept)
	if err != nil {
		return nil, err
	}
	return policy.NewCoolDown(source, policy.CoolDownOptions{
		Member: c.Name, MinAge: c.MinAge, Except: except, AllowPinned: c.MinAgePinned == "allow",
	}), nil
}

// same finds the member that was made of a configuration, its cool-down apart, and of certificates.
func (us upstreams) same(c config.Upstream, ca string) (member, bool) {
	i := slices.IndexFunc(us, func(m member) bool {
		return m.ca == ca && reflect.DeepEqual(withoutCoolDown(m.config), withoutCoolDown(c))
	})
	if i < 0 {
		return member{}, false
	}
	return us[i], true
}

// withoutCoolDown is what the server and the cache of an upstream are made of.
func withoutCoolDown(c config.Upstream) config.Upstream {
	c.MinAge, c.MinAgeExcept, c.MinAgePinned = 0, nil, ""
	return c
}

func (d *data) openMember(ctx context.Context, c config.Upstream) (member, error) {
	id, err := d.member(ctx, c.Name, index.KindUpstream)
	if err != nil {
		return member{}, err
	}
	remote, err := upstream.New(upstream.Options{
		Name: c.Name, URL: c.URL, AlsoAt: c.AlsoAt, Protocol: c.Protocol, Username: c.Username, Password: c.Password,
		CAFile: c.CAFile, Timeout: c.Timeout, MaxConnections: c.MaxConnections, AllowNetworks: c.AllowNetworks, Log: d.log.Named("upstream"), Metrics: d.upstreamMetrics,
	})
	if err != nil {
		return member{}, usageError{err}
	}
	over, err := cache.New(cache.Options{
		Name: c.Name, Member: id, Remote: remote, Index: d.index, Blobs: d.blobs, Budget: d.budget, Memory: d.memory,
		Checks: d.checks, Mode: cache.Mode(c.Mode), FreshFor: c.FreshFor, NotFoundFor: c.NotFoundFor, StaleFor: c.StaleFor,
		MaxFills: remote.MaxFiles(), Log: d.log.Named("cache"), Metrics: d.cacheMetrics,
	})
	if err != nil {
		remote.Close()
		return member{}, err
	}
	d.spaceMetrics.Prime(c.Name)
	return member{id: id, config: c, remote: remote, cache: over}, nil
}

// closeExcept closes the members that others do not share.
func (us upstreams) closeExcept(others upstreams) {
	for _, m := range us {
		if _, shared := others.same(m.config, m.ca); !shared {
			m.cache.Close()
			m.remote.Close()
		}
	}
}

// resolverMembers are the upstreams for a resolver. A zero time means now; any other shows them as
// they were then.
func (us upstreams) resolverMembers(at time.Time) []resolver.Member {
	list := make([]resolver.Member, len(us))
	for i, m := range us {
		list[i] = resolver.Member{
			Name: m.config.Name, Source: m.source(at), Clients: conan.Generation(m.config.Clients), Admits: m.rules.Admits,
		}
	}
	return list
}

// fetch downloads a stored file again: from the upstream that it came from, or a published one from any that has it,
// unless its name is owned.
func (us upstreams) fetch(ctx context.Context, owned policy.Globs, f index.FileRow) error {
	if owned.Match(f.Revision.Ref) {
		return errors.New("a store owns its name, so no upstream is asked")
	}
	err := errors.New("no upstream has it")
	for _, m := range us {
		cachedElsewhere := f.Member.Kind == index.KindUpstream && f.Member.Name != m.config.Name
		if cachedElsewhere || !m.rules.Admits(f.Revision.Ref) {
			continue
		}
		if err = m.cache.Store(ctx, f.Revision, f.Name); err == nil {
			return nil
		}
	}
	return err
}

// sweep removes what the index remembers of upstreams' answers and nothing can use any more.
func (us upstreams) sweep(ctx context.Context) error {
	var errs []error
	for _, m := range us {
		errs = append(errs, m.cache.Sweep(ctx))
	}
	return errors.Join(errs...)
}

// names lists the upstreams in order.
func (us upstreams) names() []string {
	names := make([]string, len(us))
	for i, m := range us {
		names[i] = m.config.Name
	}
	return names
}
