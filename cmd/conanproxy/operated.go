package main

import (
	"conanproxy/internal/transfer"
	"conanproxy/localstore"
	"conanproxy/proxy/api"
)

// operated are the stores in force, for the operators' API.
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
