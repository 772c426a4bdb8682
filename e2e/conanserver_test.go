package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// conanServer is a real conan_server, stopped when the test ends. Users: demo, ann and bob with their names as
// passwords, who may all write; everybody reads, unless readers says otherwise.
type conanServer struct {
	*process
	home string
}

// conanServerOptions are the parts of server.conf that tests change.
type conanServerOptions struct {
	// readers is the right-hand side of the rule for all references; empty means everybody.
	readers string
	// publicPort, if set, makes the server hand out absolute file URLs on localhost with this port, as its default
	// configuration does; otherwise file URLs are relative.
	publicPort int
	// signatureSeconds is how long file URLs live; 0 means 1800.
	signatureSeconds int
}

// startConanServer starts the conan_server of one environment: Conan1 (speaks v1 and v2) or Server2 (v2 only).
func startConanServer(t testing.TB, environment string, o conanServerOptions) *conanServer {
	t.Helper()
	bin := programs(t, environment)
	home := t.TempDir()
	port := freePort(t)
	if o.readers == "" {
		o.readers = "*"
	}
	if o.signatureSeconds == 0 {
		o.signatureSeconds = 1800
	}
	var public string
	if o.publicPort != 0 {
		public = fmt.Sprintf("ssl_enabled: False\nhost_name: localhost\npublic_port: %d\n", o.publicPort)
	}
	conf := fmt.Sprintf(`[server]
jwt_secret: 0123456789abcdef0123456789abcdef
updown_secret: fedcba9876543210fedcba9876543210
jwt_expire_minutes: 120
authorize_timeout: %d
disk_authorize_timeout: %d
disk_storage_path: %s
port: %d
%s
[write_permissions]
*/*@*/*: demo, ann, bob

[read_permissions]
*/*@*/*: %s

[users]
demo: demo
ann: ann
bob: bob
`, o.signatureSeconds, o.signatureSeconds, filepath.Join(home, "data"), port, public, o.readers)
	dir := filepath.Join(home, ".conan_server")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"server.conf": conf, "version.txt": serverVersion(environment)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The program's own entry point listens on every address; this one only on the loopback.
	const launch = "from conans.server.launcher import ServerLauncher; ServerLauncher().server.run(host='127.0.0.1', quiet=True)"
	p := startProcess(t, &process{
		name:  "conan_server (" + environment + ")",
		argv:  []string{filepath.Join(bin, "python"), "-c", launch},
		env:   cleanEnv(home, "CONAN_USER_HOME="+home),
		dir:   home,
		ready: fmt.Sprintf("http://127.0.0.1:%d/v1/ping", port),
	})
	return &conanServer{process: p, home: home}
}

// url is the address of the server, without a trailing slash.
func (s *conanServer) url() string { return strings.TrimSuffix(s.ready, "/v1/ping") }

// serverVersion is the version that server.conf's neighbour names, so that no migration runs.
func serverVersion(environment string) string {
	if environment == Conan1 {
		return "1.66.0"
	}
	return "2.33.0"
}
