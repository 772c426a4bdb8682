package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
)

// conanproxy is the program under test. Users: demo, ann and bob with their names as passwords.
type conanproxy struct {
	*process
	dir string
}

// settings is the part of the configuration file a test cares about; what is left out has the program's default,
// but for the upstreams: none unless named.
type settings map[string]any

// upstream makes one entry of the list "upstreams".
func upstream(name, url string, more ...settings) settings {
	s := settings{"name": name, "url": url}
	for _, m := range more {
		for key, value := range m {
			s[key] = value
		}
	}
	return s
}

// htpasswd is the users file that every conanproxy of these tests has.
var htpasswd = sync.OnceValues(func() (string, error) {
	var out strings.Builder
	for _, user := range []string{"demo", "ann", "bob"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(user), bcrypt.MinCost)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s:%s\n", user, hash)
	}
	return out.String(), nil
})

// startConanproxy starts the built program with a data directory of its own; env is added to its environment.
func startConanproxy(t testing.TB, s settings, env ...string) *conanproxy {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	users, err := htpasswd()
	if err != nil {
		t.Fatal(err)
	}
	all := settings{"upstreams": []settings{}, "log": settings{"level": "debug"}}
	for key, value := range s {
		all[key] = value
	}
	all["listen"] = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	all["data_dir"] = filepath.Join(dir, "data")
	auth := settings{"htpasswd_file": filepath.Join(dir, "htpasswd")}
	if more, ok := all["auth"].(settings); ok {
		for key, value := range more {
			auth[key] = value
		}
	}
	all["auth"] = auth
	text, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"config.yaml": string(text), "htpasswd": users} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := startProcess(t, &process{
		name:  "conanproxy",
		argv:  []string{program, "serve", "--config", filepath.Join(dir, "config.yaml")},
		env:   cleanEnv(dir, env...),
		dir:   dir,
		ready: fmt.Sprintf("http://%s/readyz", all["listen"]),
	})
	return &conanproxy{process: p, dir: dir}
}

// url is the address of a view of the program, for example url("local"); without a name the root view.
func (p *conanproxy) url(view ...string) string {
	return strings.Join(append([]string{strings.TrimSuffix(p.ready, "/readyz")}, view...), "/")
}

// get fetches a path of the program, anonymously, and returns status, header and body.
func get(t testing.TB, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	return do(t, http.MethodGet, url, "", header...)
}
