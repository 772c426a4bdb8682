package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"conanproxy/e2e"
	"conanproxy/internal/proc"
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

// ours starts this server over some upstream configuration. extra are lines of YAML.
func (l *lab) ours(ctx context.Context, dir, upstreams, extra string) (*proc.Process, error) {
	port, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	users := filepath.Join(dir, "users")
	if err := l.makeUser(ctx, users); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("listen: 127.0.0.1:%d\ndata_dir: %s\nupstreams:%s\nauth:\n  htpasswd_file: %s\n%s\n",
		port, filepath.Join(dir, "data"), upstreams, users, extra)
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return proc.Start(ctx, proc.Launch{Name: "conanproxy", Argv: []string{l.binary, "serve", "--config", file}, Dir: dir, Port: port, Path: "/healthz"})
}

// benchUser may write on every server here.
const benchUser, benchPassword = "demo", "demo"

func (l *lab) makeUser(ctx context.Context, file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, l.binary, "user", "add", benchUser, "--file", file)
	cmd.Stdin = strings.NewReader(benchPassword + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("add user: %w: %s", err, out)
	}
	return nil
}

// upstreamOf is the YAML of one upstream that stays fresh for the whole run.
func upstreamOf(url string) string {
	return "\n  - {name: origin, url: '" + url + "', fresh_for: 1h, not_found_for: 1h, max_connections: 16}"
}

const noUpstreams = " []"

// echo starts a bare echo handler that answers every path of answers with constant bytes, with an access log and metrics like ours.
func (l *lab) echo(ctx context.Context, dir, answers string) (*proc.Process, error) {
	port, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return proc.Start(ctx, proc.Launch{Name: "echo", Argv: []string{self, "-serve-echo", "127.0.0.1:" + strconv.Itoa(port), "-answers", answers}, Dir: dir, Port: port, Path: "/"})
}

// nginx starts Debian's nginx as a caching proxy in front of upstream, or as a static server of the folder static.
func (l *lab) nginx(ctx context.Context, dir, upstream, static string) (*proc.Process, error) {
	port, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	location := fmt.Sprintf("location / { root %s; }", static)
	if upstream != "" {
		location = fmt.Sprintf(`location / {
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
    }`, upstream)
	}
	conf := fmt.Sprintf(`daemon off;
worker_processes 2;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
events { worker_connections 4096; }
http {
  access_log %[1]s/access.log combined buffer=32k flush=1s;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 120s;
  keepalive_requests 100000000;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  proxy_cache_path %[1]s/cache levels=1:2 keys_zone=bench:64m max_size=20g inactive=24h use_temp_path=off;
  types { application/json json; }
  server {
    listen 127.0.0.1:%[2]d;
    %[3]s
  }
}
`, dir, port, location)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx"
	}
	argv := []string{program, "-c", file, "-p", dir, "-e", filepath.Join(dir, "error.log")}
	if os.Getuid() == 0 {
		argv = append(argv, "-g", "user root;")
	}
	return proc.Start(ctx, proc.Launch{Name: "nginx", Argv: argv, Dir: dir, Port: port, Path: "/v1/ping"})
}

// conanServer starts the real conan_server 1.66.
func (l *lab) conanServer(ctx context.Context, dir string) (*proc.Process, error) {
	port, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	bin, err := e2e.Venv(ctx, l.root, e2e.Conan1)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, ".conan_server")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("[server]\njwt_secret: 0123456789abcdef0123456789abcdef\nupdown_secret: fedcba9876543210fedcba9876543210\n"+
		"jwt_expire_minutes: 600\nauthorize_timeout: 36000\ndisk_authorize_timeout: 36000\ndisk_storage_path: %s\nport: %d\n"+
		"[write_permissions]\n*/*@*/*: demo\n[read_permissions]\n*/*@*/*: *\n[users]\ndemo: demo\n", filepath.Join(dir, "store"), port)
	for name, text := range map[string]string{"server.conf": conf, "version.txt": "1.66.0"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	// Its own entry point listens on every address; this one on the loopback only.
	const program = "from conans.server.launcher import ServerLauncher; ServerLauncher().server.run(host='127.0.0.1', quiet=False)"
	return proc.Start(ctx, proc.Launch{Name: "conan_server", Argv: []string{filepath.Join(bin, "python"), "-c", program},
		Env: []string{"CONAN_SERVER_HOME=" + dir}, Dir: dir, Port: port, Path: "/v1/ping"})
}
