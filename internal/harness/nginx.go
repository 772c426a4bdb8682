package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoNginx means that nginx is not installed.
var ErrNoNginx = errors.New("nginx is not installed")

// NginxOptions are the parts of nginx.conf that callers change.
type NginxOptions struct {
	HTTP    string // directives of the http block; %DIR% is the folder of this nginx
	Server  string // directives of the server block: locations
	Workers int    // processes; 0: the master process does the work
	Ready   string // a path that is asked until nginx answers
}

// StartNginx starts nginx with its files in dir.
func StartNginx(ctx context.Context, dir string, o NginxOptions) (*Process, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // Debian's users do not have it in PATH
		if _, err := os.Stat(program); err != nil {
			return nil, ErrNoNginx
		}
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	var temp strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "\t%s_temp_path %s;\n", name, filepath.Join(dir, name))
	}
	processes := "master_process off;"
	if o.Workers > 0 {
		processes = fmt.Sprintf("worker_processes %d;", o.Workers)
	}
	conf := fmt.Sprintf("daemon off;\n%s\npid %s/nginx.pid;\nerror_log stderr warn;\nevents { worker_connections 4096; }\nhttp {\n%s%s\n"+
		"\tserver {\n\t\tlisten %s;\n%s\n\t}\n}\n", processes, dir, temp.String(), strings.ReplaceAll(o.HTTP, "%DIR%", dir), HostPort(port), o.Server)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	argv := []string{program, "-p", dir, "-c", file, "-e", "stderr"}
	if os.Getuid() == 0 {
		// Workers of a root nginx run as another user, who may not enter this folder.
		argv = append(argv, "-g", "user root;")
	}
	return Start(ctx, Launch{Name: "nginx", Argv: argv, Env: CleanEnv(dir), Dir: dir, Ready: "http://" + HostPort(port) + o.Ready})
}
