package main

import (
	"fmt"
	"io"
	"net/url"

	"conanproxy/internal/bundle"
	"conanproxy/internal/conan"
	"conanproxy/internal/transfer"
	"conanproxy/localstore"
	"conanproxy/proxy/api"
	"conanproxy/upstream"
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
