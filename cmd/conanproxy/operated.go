package main

import (
	"context"
	"fmt"

	"conanproxy/cache"
	"conanproxy/internal/conan"
	"conanproxy/internal/retention"
	"conanproxy/internal/transfer"
	"conanproxy/localstore"
	"conanproxy/proxy/api"
)

// operated are the stores and upstreams in force, for the operators' API and for what tells of uses.
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
