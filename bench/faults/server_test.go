package faults

import (
	"context"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"conanproxy/internal/harness"
)

// The user that may write on every server here.
const user, password = "demo", "demo"

// server is conanproxy with a folder of its own. It can be ended and started again on the same
// data.
type server struct {
	*harness.Conanproxy
	r     *run
	data  string // its data directory
	token string
}

// settings of a server.
type settings struct {
	upstreams []harness.Settings
	stores    []harness.Settings // none: the store "local"
	blobs     harness.Settings   // empty: below the data directory
	cache     harness.Settings   // empty: small memory, no min_free
	dataDir   string             // empty: data in the server's own folder
	auth      harness.Settings   // besides the users
}

// quickly makes everything that upstream said old at once.
var quickly = harness.Settings{"fresh_for": "1ms", "not_found_for": "1ms"}

// newServer writes the configuration of a server; start starts it. It is ended with the test.
func (r *run) newServer(s settings) *server {
	c, err := harness.NewConanproxy(program, r.folder(r.check()))
	r.must(err)
	srv := &server{Conanproxy: c, r: r}
	srv.configure(s)
	r.must(c.AddUser(r.Context(), user, password))
	r.Cleanup(srv.Stop)
	return srv
}

// configure writes other settings, in force after the next start.
func (s *server) configure(c settings) {
	cache := harness.Settings{"memory": "16MiB", "min_free": 0}
	maps.Copy(cache, c.cache)
	s.data = c.dataDir
	if s.data == "" {
		s.data = filepath.Join(s.Dir, "data")
	}
	all := harness.Settings{"upstreams": c.upstreams, "data_dir": s.data, "cache": cache, "auth": c.auth,
		"log": harness.Settings{"level": "info", "access": false}}
	if len(c.blobs) > 0 {
		all["blobs"] = c.blobs
	}
	if len(c.stores) > 0 {
		all["stores"] = c.stores
	}
	s.r.must(s.Configure(all))
}

// serve starts a new server.
func (r *run) serve(s settings) *server {
	srv := r.newServer(s)
	srv.start()
	return srv
}

// start starts the server, or starts it again.
func (s *server) start() { s.r.must(s.Start(s.r.Context())) }

// kill ends the server at once.
func (s *server) kill() { s.Process.Kill() }

func (s *server) url(path string) string { return s.URL() + path }

// command runs another command on the server's data, for at most two minutes.
func (s *server) command(args ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(s.r.Context(), 2*time.Minute)
	defer cancel()
	return s.Command(ctx, args...)
}

// blobs lists the paths of all stored blobs.
func (s *server) blobs() []string {
	list, err := filepath.Glob(filepath.Join(s.data, "blobs", "sha256", "??", "*"))
	s.r.must(err)
	return list
}

// login gets a token for uploads; it outlives restarts.
func (s *server) login() {
	var err error
	s.token, err = login(s.r.Context(), web, s.URL(), user, password)
	s.r.must(err)
}

// logged tells how many lines of the log hold a text.
func (s *server) logged(text string) int {
	return strings.Count(s.Process.Log(), text)
}

// eventually asks until it is so, or d is over.
func eventually(d time.Duration, so func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(20 * time.Millisecond) {
		if so() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
