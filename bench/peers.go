package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"conanproxy/internal/harness"
)

// lab knows where programs and data of this run are.
type lab struct {
	dir    string // temporary; removed at the end
	root   string // of the repository
	binary string // conanproxy
	seed   uint64
}

// folder makes a fresh directory below the lab's.
func (l *lab) folder(name string) (string, error) {
	return os.MkdirTemp(l.dir, name+"-")
}

// ours starts this server in dir.
func (l *lab) ours(ctx context.Context, dir string, s harness.Settings) (*harness.Process, error) {
	if err := l.makeUser(ctx, dir); err != nil {
		return nil, err
	}
	c, err := harness.NewConanproxy(l.binary, dir)
	if err != nil {
		return nil, err
	}
	if err := c.Configure(s); err != nil {
		return nil, err
	}
	err = c.Start(ctx)
	return c.Process, err
}

// benchUser may write on every server here.
const benchUser, benchPassword = "demo", "demo"

// makeUser adds the user to the server that will be started in dir, unless it is there.
func (l *lab) makeUser(ctx context.Context, dir string) error {
	c := harness.Conanproxy{Program: l.binary, Dir: dir}
	if _, err := os.Stat(c.UsersFile()); err == nil {
		return nil
	}
	return c.AddUser(ctx, benchUser, benchPassword)
}

// over is the configuration with one upstream that stays fresh for the whole run.
func over(url string) harness.Settings {
	return harness.Settings{"upstreams": []harness.Settings{harness.Upstream("origin", url,
		harness.Settings{"fresh_for": "1h", "not_found_for": "1h", "max_connections": 16})}}
}

// echo starts a bare echo handler that answers every path of answers with constant bytes, with an
// access log and metrics like ours.
func (l *lab) echo(ctx context.Context, dir, answers string) (*harness.Process, error) {
	port, err := harness.FreePort()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return harness.Start(ctx, harness.Launch{Name: "echo", Argv: []string{self, "-serve-echo", harness.HostPort(port), "-answers", answers},
		Env: harness.CleanEnv(dir), Dir: dir, Ready: "http://" + harness.HostPort(port)})
}

// nginxSettings are those of both uses of nginx.
const nginxSettings = `  access_log %DIR%/access.log combined buffer=32k flush=1s;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 120s;
  keepalive_requests 100000000;
  proxy_cache_path %DIR%/cache levels=1:2 keys_zone=bench:64m max_size=20g inactive=24h use_temp_path=off;
  types { application/json json; }
`

// nginx starts nginx as a caching proxy in front of upstream.
func (l *lab) nginx(ctx context.Context, dir, upstream string) (*harness.Process, error) {
	return harness.StartNginx(ctx, dir, harness.NginxOptions{Workers: 2, HTTP: nginxSettings, Ready: "/v1/ping",
		Server: fmt.Sprintf(`location / {
      proxy_pass %s;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache bench;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 120s;
      proxy_cache_background_update on;
      proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;
      proxy_cache_valid 200 404 1h;
      proxy_ignore_headers Cache-Control Expires Set-Cookie;
      proxy_cache_key $request_uri;
    }`, upstream)})
}

// frontPrefix is where README's nginx serves conanproxy.
const frontPrefix = "/conan"

// front starts nginx in front of a server, as README configures it for conanproxy.
func (l *lab) front(ctx context.Context, server string) (*harness.Process, error) {
	readme, err := os.ReadFile(filepath.Join(l.root, "README.md"))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(readme), "```nginx\n")
	block, _, found := strings.Cut(rest, "```")
	if !found || !strings.Contains(block, "http://127.0.0.1:9300") || !strings.Contains(block, frontPrefix) {
		return nil, fmt.Errorf("README.md has no configuration of nginx for http://127.0.0.1:9300 below %s", frontPrefix)
	}
	dir, err := l.folder("front")
	if err != nil {
		return nil, err
	}
	return harness.StartNginx(ctx, dir, harness.NginxOptions{Workers: 2, HTTP: nginxSettings, Ready: frontPrefix + "/v1/ping",
		Server: strings.ReplaceAll(block, "http://127.0.0.1:9300", server)})
}

// conanServer starts the real conan_server 1.66.
func (l *lab) conanServer(ctx context.Context, dir string) (*harness.Process, error) {
	return harness.StartConanServer(ctx, l.root, dir, harness.ConanServerOptions{})
}
