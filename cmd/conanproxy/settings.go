package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"conanproxy/internal/bundle"
	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/internal/identity"
	"conanproxy/internal/policy"
	"conanproxy/proxy"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// settings is everything that is made of one configuration. It is built whole, never changes, and
// replaces its predecessor in one step. A request that began with one keeps it to its end.
type settings struct {
	config      *config.Config
	stores      stores
	upstreams   upstreams
	adoption    map[string]*resolver.Resolver // by store: the upstreams of which it adopts recipes
	guard       *auth.Guard
	verifyKeys  []bundle.Key     // one of which must have signed a bundle; none: any or none
	certificate *tls.Certificate // nil: plain HTTP
	http        *proxy.Settings
}

// newSettings builds the settings of a configuration, or fails and leaves nothing behind. Stores,
// and upstreams that are configured as before, are shared with old, which has no members at the
// start.
func (s *server) newSettings(ctx context.Context, cfg *config.Config, old *settings) (_ *settings, err error) {
	next := &settings{config: cfg}
	defer func() {
		if err != nil {
			next.closeExcept(old)
		}
	}()
	if next.certificate, err = loadCertificate(cfg.TLS); err != nil {
		return nil, usageError{err}
	}
	if next.certificate == nil {
		next.certificate = old.certificate // the listener speaks TLS until a restart
	}
	if next.verifyKeys, err = bundle.ParseKeys(cfg.VerifyKeys); err != nil {
		return nil, usageError{fmt.Errorf("verify_keys: %w", err)}
	}
	if next.guard, err = s.newGuard(cfg.Auth); err != nil {
		return nil, usageError{err}
	}
	if next.stores, err = s.openStores(ctx, cfg, old.stores, s.adoptFrom); err != nil {
		return nil, err
	}
	if next.upstreams, err = s.openUpstreams(ctx, cfg, old.upstreams); err != nil {
		return nil, err
	}
	if next.adoption, err = s.adoption(next); err != nil {
		return nil, usageError{err}
	}
	views, err := s.views(next)
	if err != nil {
		return nil, usageError{err}
	}
	next.http, err = proxy.NewSettings(proxy.SettingsOptions{
		Views: views, Guard: next.guard, PublicURL: cfg.PublicURL, BasePath: cfg.BasePath, TrustedProxies: cfg.TrustedProxies,
		LogProbes: cfg.Log.Probes,
		At: func(v *proxy.View, at time.Time) (proxy.Readers, error) {
			return s.readers(next, v.Name, v.Members, at)
		},
	})
	if err != nil {
		return nil, usageError{err}
	}
	return next, s.logUnconfigured(ctx, next.stores)
}

// adoption has for each store the upstreams of which it adopts recipes: those that share a view
// with it, without what is hidden there in all views. The empty name is that of a store that a
// reload removed while something is published in it: there are none.
func (s *server) adoption(of *settings) (map[string]*resolver.Resolver, error) {
	names := []string{""}
	for _, st := range of.stores {
		names = append(names, st.config.Name)
	}
	adoption := make(map[string]*resolver.Resolver, len(names))
	for _, name := range names {
		beside := slices.DeleteFunc(of.upstreams.resolverMembers(time.Time{}), func(m resolver.Member) bool {
			return name == "" || !of.config.ShareView(name, m.Name)
		})
		for i, m := range beside {
			beside[i] = s.hiding.over(m, "")
		}
		owners := slices.DeleteFunc(slices.Clone(of.stores), func(other store) bool {
			return other.config.Name != name && !of.config.ShareView(name, other.config.Name)
		})
		var err error
		if adoption[name], err = s.resolver("adoption for "+name, owners.owned(), beside); err != nil {
			return nil, err
		}
	}
	return adoption, nil
}

// adoptFrom is the Source of the recipes that a store adopts by the settings in force: what the
// uploader may read of it. An uploader who is gone meanwhile may read what anonymous callers may.
func (s *server) adoptFrom(store string, by conan.Actor) conan.Source {
	of := s.current.Load()
	rights := auth.ReadRights{Guard: of.guard}
	if caller, err := of.guard.Named(by.Name); err == nil {
		rights.Caller = caller
	}
	from, isInForce := of.adoption[store]
	if !isInForce {
		from = of.adoption[""]
	}
	return from.For(conan.AnyGeneration, rights)
}

// closeExcept closes the members that others do not share.
func (of *settings) closeExcept(others *settings) {
	of.stores.closeExcept(others.stores)
	of.upstreams.closeExcept(others.upstreams)
}

// newGuard has the users and rules of a configuration.
func (s *server) newGuard(c config.Auth) (*auth.Guard, error) {
	directory, err := identity.New(identity.Options{
		HtpasswdFile: c.HtpasswdFile, Secret: s.secret, TokenLifetime: c.TokenLifetime, Log: s.log.Named("identity"),
		Metrics: s.identityMetrics, Robots: s.robots,
	})
	if err != nil {
		return nil, err
	}
	if err := directory.Problem(); err != nil {
		return nil, fmt.Errorf("auth.htpasswd_file: %w", err)
	}
	return auth.New(auth.Options{
		Directory: directory, SignatureLifetime: c.SignatureLifetime, Read: rules(c.Read), Write: rules(c.Write),
		Groups: c.Groups, Admin: c.Admin,
	})
}

func rules(in []config.Rule) []auth.Rule {
	out := make([]auth.Rule, len(in))
	for i, r := range in {
		out[i] = auth.Rule{Pattern: r.Pattern, Users: r.Users, In: r.In}
	}
	return out
}

// resolver answers from members in order. Upstreams are not asked about what is owned. The scope
// keeps what it remembers apart from other resolvers.
func (s *server) resolver(scope string, owned policy.Globs, members []resolver.Member) (*resolver.Resolver, error) {
	return resolver.New(resolver.Options{
		Members: members, Owns: owned, Memory: s.memory, Scope: scope, Log: s.log.Named("resolver"),
	})
}

// views mounts each store, upstream and configured view at /r/NAME, the first store also at /local
// and each upstream also at /upstream/NAME. At the root is the view named default, else all
// members.
func (s *server) views(of *settings) (views []proxy.View, err error) {
	mount := func(v proxy.View, names ...string) {
		v.Members = names
		v.Upstreams = slices.ContainsFunc(names, func(name string) bool {
			_, isStore := of.stores.named(name)
			return !isStore
		})
		if publish, ok := of.stores.named(v.Store); ok {
			v.Publisher = publish
		}
		var failed, wholeFailed error
		v.Resolver, failed = s.readers(of, v.Name, names, time.Time{})
		members := of.members(names, time.Time{})
		v.Whole, wholeFailed = s.resolver("whole view "+v.Name, of.ownedIn(members), members)
		views = append(views, v)
		err = errors.Join(err, failed, wholeFailed)
	}
	first := of.stores[0].config.Name
	if !of.config.HasDefaultView() {
		mount(proxy.View{Name: config.AllName, Store: first}, of.config.DefaultMembers()...)
	}
	for i, st := range of.stores {
		v := proxy.View{Name: st.config.Name, Path: "/r/" + st.config.Name, Store: st.config.Name}
		if i == 0 {
			v.Path, v.Also = "/local", []string{v.Path}
		}
		mount(v, st.config.Name)
	}
	for _, name := range of.upstreams.names() {
		mount(proxy.View{Name: name, Path: "/upstream/" + name, Also: []string{"/r/" + name}}, name)
	}
	for _, c := range of.config.Views {
		v := proxy.View{Name: c.Name, Path: "/r/" + c.Name, Store: c.Publish}
		if c.Name == config.DefaultView {
			v.Path, v.Also = "", []string{v.Path}
		}
		mount(v, c.Members...)
	}
	return views, err
}

// readers answer for a view without what is hidden. A zero time means now; any other shows the view
// as it was then.
func (s *server) readers(of *settings, view string, names []string, at time.Time) (proxy.Readers, error) {
	scope := "view " + view
	if !at.IsZero() {
		scope += " at " + at.Format(time.RFC3339Nano)
	}
	members := of.members(names, at)
	for i, m := range members {
		members[i] = s.hiding.over(m, view)
	}
	return s.resolver(scope, of.ownedIn(members), members)
}

// members are stores and upstreams for a resolver, by their names; see stores.resolverMembers.
func (of *settings) members(names []string, at time.Time) []resolver.Member {
	all := make(map[string]resolver.Member)
	for _, m := range append(of.stores.resolverMembers(at), of.upstreams.resolverMembers(at)...) {
		all[m.Name] = m
	}
	members := make([]resolver.Member, len(names))
	for i, name := range names {
		members[i] = all[name]
	}
	return members
}

// ownedIn are the patterns of names that no upstream among the members is asked about: what their
// stores own, or where there is no store, what any store owns.
func (of *settings) ownedIn(members []resolver.Member) policy.Globs {
	for _, m := range members {
		if m.Store != nil {
			return nil // the resolver knows what its stores own
		}
	}
	return of.stores.owned()
}

// loadCertificate reads the certificate of the server; nil if there is none.
func loadCertificate(t config.TLS) (*tls.Certificate, error) {
	if t.CertFile == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return &cert, nil
}

// needRestart lists the keys whose new values a running server does not apply.
func needRestart(running, next *config.Config) []string {
	var keys []string
	for _, setting := range []struct {
		key           string
		running, next any
	}{
		{"listen", running.Listen, next.Listen},
		{"data_dir", running.DataDir, next.DataDir},
		{"tls", running.TLS.CertFile != "", next.TLS.CertFile != ""},
		{"blobs.s3", running.Blobs.S3, next.Blobs.S3},
		{"cache.memory", running.Cache.Memory, next.Cache.Memory},
		{"log.format", running.Log.Format, next.Log.Format},
		{"log.access", running.Log.Access, next.Log.Access},
	} {
		if !reflect.DeepEqual(setting.running, setting.next) {
			keys = append(keys, setting.key)
		}
	}
	return keys
}
