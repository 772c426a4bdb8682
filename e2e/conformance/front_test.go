package conformance

import (
	"testing"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// front is the program before many scripted upstreams, of which each is asked for names that begin
// with its own name and a dash.
type front struct {
	*site
	servers map[string]*conantest.Server
}

// scripted is one of them.
type scripted struct {
	name     string
	options  conantest.Options
	settings harness.Settings
	slash    bool // at the end of its URL
}

func startFront(t testing.TB, list []scripted, more ...harness.Settings) *front {
	t.Helper()
	f := &front{servers: make(map[string]*conantest.Server)}
	all := harness.Settings{}
	for _, m := range more {
		for key, value := range m {
			all[key] = value
		}
	}
	var upstreams []harness.Settings
	for _, s := range list {
		server := conantest.NewServerWith(t, s.options)
		f.servers[s.name] = server
		at := server.URL
		if s.slash {
			at += "/"
		}
		upstreams = append(upstreams, harness.Upstream(s.name, at, harness.Settings{"include": []string{s.name + "-*"}}, s.settings))
	}
	all["upstreams"] = upstreams
	f.site = startSite(t, all)
	return f
}

// up is a scripted upstream after it got some sets.
func (f *front) up(t testing.TB, name string, sets ...conantest.Set) *conantest.Server {
	t.Helper()
	server, ok := f.servers[name]
	if !ok {
		t.Fatalf("no upstream %q", name)
	}
	server.Add(sets...)
	return server
}

// shortly is how soon an upstream is asked again that is to change or to fail.
var shortly = harness.Settings{"fresh_for": "1ms", "not_found_for": "1ms"}

// hanging makes one that never answers be waited for shortly besides.
var hanging = harness.Settings{"fresh_for": "1ms", "not_found_for": "1ms", "timeout": "1s"}

// private makes an upstream want a login, which the program has.
var private = conantest.Options{Private: true, Users: map[string]string{"proxy": "secret"}}

// privateLogin are the program's credentials there.
var privateLogin = harness.Settings{"username": "proxy", "password": "secret"}

// The second host of an upstream is another port of this machine, which must be allowed.
var (
	secondHost      = harness.Settings{"allow_networks": []string{"127.0.0.0/8", "::1/128"}}
	loginSecondHost = harness.Settings{"username": "proxy", "password": "secret", "allow_networks": secondHost["allow_networks"]}
)
