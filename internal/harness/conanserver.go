package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// ConanServerOptions are the parts of server.conf that callers change.
type ConanServerOptions struct {
	// Environment is Conan1 (the server speaks v1 and v2), the default, or Server2 (v2 only).
	Environment string
	// Readers is the right-hand side of the rule for all references; empty means everybody.
	Readers string
	// PublicPort, if set, makes the server hand out absolute file URLs on localhost with this port,
	// as its default configuration does; otherwise file URLs are relative.
	PublicPort int
	// SignatureSeconds is how long file URLs live; 0 means ten hours.
	SignatureSeconds int
}

// StartConanServer starts a real conan_server with its data in dir. Users: demo, ann and bob with
// their names as passwords, who may all write; everybody reads, unless Readers says otherwise.
// Requests are logged.
func StartConanServer(ctx context.Context, root, dir string, o ConanServerOptions) (*Process, error) {
	version := map[string]string{"": "1.66.0", Conan1: "1.66.0", Server2: "2.33.0"} // no migration runs
	if o.Environment == "" {
		o.Environment = Conan1
	}
	bin, err := Venv(ctx, root, o.Environment)
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, ".conan_server")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"server.conf": o.conf(dir, port), "version.txt": version[o.Environment]} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	// The program's own entry point listens on every address; this one only on the loopback.
	const launch = "from conans.server.launcher import ServerLauncher; ServerLauncher().server.run(host='127.0.0.1', quiet=False)"
	return Start(ctx, Launch{
		Name:  "conan_server",
		Argv:  []string{filepath.Join(bin, "python"), "-c", launch},
		Env:   CleanEnv(dir, "CONAN_USER_HOME="+dir, "CONAN_SERVER_HOME="+dir),
		Dir:   dir,
		Ready: "http://" + HostPort(port) + "/v1/ping",
	})
}

// conf is the text of server.conf.
func (o ConanServerOptions) conf(dir string, port int) string {
	if o.Readers == "" {
		o.Readers = "*"
	}
	if o.SignatureSeconds == 0 {
		o.SignatureSeconds = 36000
	}
	var public string
	if o.PublicPort != 0 {
		public = fmt.Sprintf("ssl_enabled: False\nhost_name: localhost\npublic_port: %d\n", o.PublicPort)
	}
	return fmt.Sprintf(`[server]
jwt_secret: 0123456789abcdef0123456789abcdef
updown_secret: fedcba9876543210fedcba9876543210
jwt_expire_minutes: 600
authorize_timeout: %[1]d
disk_authorize_timeout: %[1]d
disk_storage_path: %[2]s
port: %[3]d
%[4]s
[write_permissions]
*/*@*/*: demo, ann, bob

[read_permissions]
*/*@*/*: %[5]s

[users]
demo: demo
ann: ann
bob: bob
`, o.SignatureSeconds, filepath.Join(dir, "data"), port, public, o.Readers)
}
