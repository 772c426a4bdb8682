package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"conanproxy/internal/proc"
)

// The user that may write on every server here.
const user, password = "demo", "demo"

// server is conanproxy with a directory of its own. It can be ended and started again on the same data.
type server struct {
	r      *run
	dir    string // of configuration, users and data
	config string
	data   string // its data directory
	port   int
	proc   *proc.Process
	token  string
}

// settings of a server.
type settings struct {
	upstreams []string // flow mappings of YAML
	cache     string   // flow mapping of YAML; empty: small memory, no min_free
	dataDir   string   // empty: data in the server's own directory
}

// upstreamAt is an upstream for settings, with more keys if wanted.
func upstreamAt(name, url string, more ...string) string {
	return fmt.Sprintf("{name: %q, url: %q%s}", name, url, strings.Join(append([]string{""}, more...), ", "))
}

// newServer writes the configuration of a server; start starts it. It is ended with the check.
func (r *run) newServer(s settings) *server {
	srv := &server{r: r, dir: r.folder(r.name)}
	srv.configure(s)
	cmd := exec.CommandContext(r.ctx, r.binary, "user", "add", user, "--file", filepath.Join(srv.dir, "users"))
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("add user: %v: %s", err, out)
	}
	r.Cleanup(srv.stop)
	return srv
}

// configure writes other settings, in force after the next start.
func (s *server) configure(c settings) {
	var err error
	if s.port == 0 {
		s.port, err = proc.FreePort()
		s.r.must(err)
	}
	if c.cache == "" {
		c.cache = "{memory: 16MiB, min_free: 0}"
	}
	if c.dataDir == "" {
		c.dataDir = filepath.Join(s.dir, "data")
	}
	s.data = c.dataDir
	text := fmt.Sprintf("listen: 127.0.0.1:%d\ndata_dir: %s\nauth: {htpasswd_file: %s}\ncache: %s\nlog: {level: info, access: false}\nupstreams: [%s]\n",
		s.port, c.dataDir, filepath.Join(s.dir, "users"), c.cache, strings.Join(c.upstreams, ", "))
	s.config = filepath.Join(s.dir, "config.yaml")
	s.r.must(os.WriteFile(s.config, []byte(text), 0o600))
}

// serve starts a new server.
func (r *run) serve(s settings) *server {
	srv := r.newServer(s)
	srv.start()
	return srv
}

// start starts the server, or starts it again.
func (s *server) start() {
	p, err := proc.Start(s.r.ctx, proc.Launch{Name: "conanproxy", Argv: []string{s.r.binary, "serve", "--config", s.config}, Dir: s.dir, Port: s.port, Path: "/readyz"})
	s.r.must(err)
	s.proc = p
}

// stop drains and ends the server, if it runs.
func (s *server) stop() {
	if s.proc != nil {
		s.proc.Stop()
	}
}

// kill ends the server at once.
func (s *server) kill() { s.proc.Kill() }

func (s *server) url(path string) string { return s.proc.URL + path }

// command runs another command on the server's data.
func (s *server) command(args ...string) (out string, err error) {
	cmd := exec.CommandContext(s.r.ctx, s.r.binary, append(args, "--config", s.config)...)
	b, err := cmd.CombinedOutput()
	return string(b), err
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
	s.token, err = login(s.r.ctx, s.proc.URL, user, password)
	s.r.must(err)
}

// logged tells how many lines of the log hold a text.
func (s *server) logged(text string) int {
	b, err := os.ReadFile(filepath.Join(s.dir, "conanproxy.log"))
	s.r.must(err)
	return strings.Count(string(b), text)
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
