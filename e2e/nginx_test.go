package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// startNginx runs a real nginx that passes location /conan/ on to target and returns its address.
func startNginx(t testing.TB, target string, lines ...string) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx"
		if _, err := os.Stat(program); err != nil {
			missing(t, "nginx is not installed")
		}
	}
	dir := t.TempDir()
	port := freePort(t)
	var temp strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s;\n", name, filepath.Join(dir, name))
	}
	conf := fmt.Sprintf(`daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr warn;
events {}
http {
	access_log off;
	%[2]s
	server {
		listen 127.0.0.1:%[3]d;
		location /conan/ {
			client_max_body_size 0;
			proxy_request_buffering off;
			proxy_buffering off;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			%[4]s
			proxy_pass %[5]s;
		}
	}
}
`, dir, temp.String(), port, strings.Join(lines, "\n"), target)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	argv := []string{program, "-p", dir, "-c", path, "-e", "stderr"}
	if os.Getuid() == 0 {
		// Workers of a root nginx run as another user, who may not enter the test's folders.
		argv = append(argv, "-g", "user root;")
	}
	url := "http://" + hostPort(port)
	startProcess(t, &process{name: "nginx", argv: argv, env: cleanEnv(dir), dir: dir, ready: url + "/nothing"})
	return url
}

// TestPathPrefix puts nginx with a path prefix before the program, with the prefix stripped and kept, and uses
// remotes with and without a trailing slash.
func TestPathPrefix(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		settings settings
		// suffix is what proxy_pass has after the address: "/" strips the prefix.
		suffix string
		lines  []string
	}{
		{"prefix stripped, told by base_path", settings{"base_path": "/conan"}, "/", nil},
		{"prefix kept, told by base_path", settings{"base_path": "/conan"}, "", nil},
		{"prefix stripped, told by a trusted header", settings{"trusted_proxies": []string{"127.0.0.1/32"}}, "/",
			[]string{"proxy_set_header X-Forwarded-Prefix /conan;"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxy := startConanproxy(t, tt.settings)
			url := startNginx(t, proxy.url()+tt.suffix, tt.lines...)
			publisher := newConan1(t, url+"/conan/local").as("demo", "demo")
			publisher.create(recipe(t, "header"), "demo/testing")
			publisher.create(recipe(t, "big", "SEED", "one", "MEGABYTES", "3"), "demo/testing")
			publisher.upload("*")
			for _, remote := range []string{"/conan", "/conan/", "/conan/local", "/conan/local/"} {
				reader := newConan1(t, url+remote)
				reader.install("header/1.0@demo/testing")
				sameTree(t, "header", publisher, reader)
			}
			reader := newConan1(t, url+"/conan/")
			reader.install("big/1.0@demo/testing")
			sameTree(t, "big", publisher, reader)
			two := newConan2(t, url+"/conan")
			two.must("download", "header/1.0@demo/testing", "-r", "r", "--only-recipe")
		})
	}
}
