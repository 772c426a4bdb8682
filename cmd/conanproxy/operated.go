package main

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"conanproxy/cache"
	"conanproxy/internal/bundle"
	"conanproxy/internal/conan"
	"conanproxy/internal/retention"
	"conanproxy/internal/transfer"
	"conanproxy/localstore"
	"conanproxy/proxy/api"
	"conanproxy/upstream"
)

// operated are the stores and upstreams in force, for the operators' API and for what tells of
// uses.
type operated struct{ server *server }

// Store implements api.Stores.
func (o operated) Store(name string) (api.Store, bool) {
	s, ok := o.server.current.Load().stores.named(name)
	if !ok {
		return nil, false
	}
	return s.Store, true
}

// Promotion implements api.Stores.
func (o operated) Promotion(from, to string) (transfer.Sink, bool) {
	stores := o.server.current.Load().stores
	source, ok := stores.named(from)
	target, also := stores.named(to)
	if !ok || !also || from == to {
		return nil, false
	}
	return localstore.Promotion{From: source.Store, To: target.Store}, true
}

// Retain implements api.Stores.
func (o operated) Retain(ctx context.Context, store string, by conan.Actor, dry bool) ([]retention.Decision, error) {
	st, ok := o.server.current.Load().stores.named(store)
	if !ok {
		return nil, fmt.Errorf("%w: there is no store %.64q", conan.ErrInvalid, store)
	}
	return o.server.retain(ctx, st, by, dry)
}

// Keeps implements api.Stores. If the roots cannot be read, that is told of every revision.
func (o operated) Keeps(store string) func(conan.Revision) (string, bool) {
	st, ok := o.server.current.Load().stores.named(store)
	if !ok {
		return func(conan.Revision) (string, bool) { return "", false }
	}
	roots, err := retention.ReadRoots(st.config.Retention.Roots)
	if err != nil {
		return func(conan.Revision) (string, bool) { return "the roots are not known: " + err.Error(), true }
	}
	return retention.Policy{Keeps: o.server.keeps(store, roots)}.Kept
}

// Used implements proxy.Uses: of upstreams the caches know it themselves.
func (o operated) Used(member string, rev conan.Revision) {
	if st, ok := o.server.current.Load().stores.named(member); ok {
		st.Used(rev)
	}
}

// Member implements api.Members.
func (o operated) Member(name string) (api.Member, bool) {
	now := o.server.current.Load()
	if s, ok := now.stores.named(name); ok {
		return pins{index: o.server.index, name: name, id: s.id}, true
	}
	m, ok := now.upstreams.named(name)
	return pins{index: o.server.index, name: name, id: m.id, cache: m.cache}, ok
}

// Upstream implements api.Members.
func (o operated) Upstream(name string) (api.Upstream, bool) {
	m, ok := o.server.current.Load().upstreams.named(name)
	if !ok {
		return nil, false
	}
	return operatedUpstream{m}, true
}

// operatedUpstream is an upstream, for the operators' API.
type operatedUpstream struct{ member }

// Purge implements api.Upstream: also what is remembered beside the cache is forgotten.
func (u operatedUpstream) Purge(ctx context.Context, p api.Purge) (api.PurgeReport, error) {
	if !p.Dry {
		u.remote.Forget()
	}
	done, err := u.cache.Purge(ctx, cache.PurgeOptions{Matches: p.Matches, Pinned: p.Pinned, Dry: p.Dry, By: p.By, Target: p.Target})
	if err != nil {
		return api.PurgeReport{}, err
	}
	if !p.Dry {
		u.ages.Forget(func(ref conan.Ref) bool { return p.Matches == nil || p.Matches(ref) })
	}
	return api.PurgeReport{DryRun: p.Dry, Revisions: done.Revisions, Bytes: done.Bytes, Answers: done.Answers, Kept: done.Kept}, nil
}

// Import implements api.Stores.
func (o operated) Import(in transfer.Incoming, to string) (transfer.Sink, bool) {
	target, ok := o.server.current.Load().stores.named(to)
	if !ok {
		return nil, false
	}
	return localstore.Import{Incoming: in, To: target.Store}, true
}

// MayCome implements api.Stores.
func (o operated) MayCome(to string, ref conan.Ref) error {
	stores := o.server.current.Load().stores
	if target, _ := stores.named(to); target.owns.Match(ref) || !stores.owned().Match(ref) {
		return nil
	}
	return fmt.Errorf("%w: the name of %s is owned by another store than %q, and what comes from outside goes only into a store that owns it",
		conan.ErrConflict, ref, to)
}

// Remote implements api.Stores.
func (o operated) Remote(at, username, password string) (conan.Source, func(), error) {
	name := "the old server"
	if u, err := url.Parse(at); err == nil && u.Host != "" {
		name = u.Host
	}
	server, err := upstream.New(upstream.Options{
		Name: name, URL: at, Username: username, Password: password, OnlyAllowed: true,
		AllowNetworks: o.server.current.Load().config.AllowNetworks, Log: o.server.log.Named("import"),
	})
	if err != nil {
		return nil, nil, err
	}
	return transfer.Computed(transfer.NewRemote(server, name)), server.Close, nil
}

// OpenBundle implements api.Stores.
func (o operated) OpenBundle(r io.Reader) (*bundle.Reader, error) {
	return bundle.NewReader(r, o.server.current.Load().verifyKeys)
}
