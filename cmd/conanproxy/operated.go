package main

import (
	"context"
	"fmt"

	"conanproxy/internal/conan"
	"conanproxy/internal/retention"
	"conanproxy/internal/transfer"
	"conanproxy/localstore"
	"conanproxy/proxy/api"
)

// operated are the stores in force, for the operators' API and for what tells of uses.
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
