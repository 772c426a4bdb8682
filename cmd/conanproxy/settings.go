package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"

	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/internal/identity"
	"conanproxy/internal/policy"
	"conanproxy/proxy"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// settings is everything that is made of one configuration. It is built whole, never changes, and replaces its
// predecessor in one step: whoever began with one goes on with it.
type settings struct {
	config      *config.Config
	stores      stores
	upstreams   upstreams
	adoptFrom   conan.Source // all upstreams
	directory   *identity.Directory
	certificate *tls.Certificate // nil: plain HTTP
	http        *proxy.Settings
}

// newSettings builds the settings of a configuration, or fails and leaves nothing behind. Stores, and upstreams that are
// configured as before, are shared with old, which has no members at the start.
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
	guard, err := s.newGuard(cfg.Auth)
	if err != nil {
		return nil, usageError{err}
	}
	next.directory = guard.Directory
	if next.stores, err = s.openStores(ctx, cfg, old.stores, adoption{&s.current}); err != nil {
		return nil, err
	}
	if next.upstreams, err = s.openUpstreams(ctx, cfg, old.upstreams); err != nil {
		return nil, err
	}
	adoption, err := s.resolver("adoption", next.stores.owned(), next.upstreams.resolverMembers())
	if err != nil {
		return nil, usageError{err}
	}
	next.adoptFrom = adoption.For(conan.AnyGeneration)
	views, err := s.views(next)
	if err != nil {
		return nil, usageError{err}
	}
	next.http, err = proxy.NewSettings(proxy.SettingsOptions{
		Views: views, Guard: guard, PublicURL: cfg.PublicURL, BasePath: cfg.BasePath, TrustedProxies: cfg.TrustedProxies,
		LogProbes: cfg.Log.Probes,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return next, s.logUnconfigured(ctx, next.stores)
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
		Metrics: s.identityMetrics,
	})
	if err != nil {
		return nil, err
	}
	if err := directory.Problem(); err != nil {
		return nil, fmt.Errorf("auth.htpasswd_file: %w", err)
	}
	return auth.New(auth.Options{
		Directory: directory, SignatureLifetime: c.SignatureLifetime, Read: rules(c.Read), Write: rules(c.Write),
	})
}

func rules(in []config.Rule) []auth.Rule {
	out := make([]auth.Rule, len(in))
	for i, r := range in {
		out[i] = auth.Rule{Pattern: r.Pattern, Users: r.Users}
	}
	return out
}

// resolver answers from members in order. Upstreams are not asked about what is owned. The scope keeps what it remembers
// apart from other resolvers.
func (s *server) resolver(scope string, owned policy.Globs, members []resolver.Member) (*resolver.Resolver, error) {
	return resolver.New(resolver.Options{
		Members: members, Owns: owned, Memory: s.memory, Scope: scope, Log: s.log.Named("resolver"),
	})
}

// views mounts the members: all of them at the root, each store alone, and each upstream alone.
func (s *server) views(of *settings) (views []proxy.View, err error) {
	mount := func(v proxy.View, owned policy.Globs, members ...resolver.Member) {
		r, failed := s.resolver("view "+v.Name, owned, members)
		v.Resolver = r
		views = append(views, v)
		err = errors.Join(err, failed)
	}
	first := of.stores[0]
	members := append(of.stores.resolverMembers(), of.upstreams.resolverMembers()...)
	mount(proxy.View{Name: config.AllName, Upstreams: of.upstreams.names(), Publisher: first, Store: first.config.Name}, nil, members...)
	mount(proxy.View{Name: first.config.Name, Path: "/local", Publisher: first, Store: first.config.Name}, nil, of.stores.resolverMembers()[0])
	for _, up := range of.upstreams.resolverMembers() {
		mount(proxy.View{Name: up.Name, Path: "/upstream/" + up.Name, Upstreams: []string{up.Name}}, of.stores.owned(), up)
	}
	return views, err
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
		{"cache", running.Cache, next.Cache},
		{"log.format", running.Log.Format, next.Log.Format},
		{"log.access", running.Log.Access, next.Log.Access},
	} {
		if !reflect.DeepEqual(setting.running, setting.next) {
			keys = append(keys, setting.key)
		}
	}
	return keys
}
