package e2etest

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"conanproxy/internal/harness"
)

// Conanproxy is the program under test. Users: demo, ann and bob with their names as passwords.
type Conanproxy struct {
	*process
	Dir     string
	Program string // its path
	server  *harness.Conanproxy
}

// Htpasswd is the users file that every conanproxy of these tests has.
var Htpasswd = sync.OnceValues(func() (string, error) {
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

// StartConanproxy starts the built program with a data directory of its own; env is added to its
// environment.
func StartConanproxy(t testing.TB, s harness.Settings, env ...string) *Conanproxy {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	users, err := Htpasswd()
	if err != nil {
		t.Fatal(err)
	}
	c, err := harness.NewConanproxy(program, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.UsersFile(), []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	configure(t, c, s)
	if err := c.Start(t.Context(), env...); err != nil {
		t.Fatal(err)
	}
	return &Conanproxy{process: watch(t, c.Process), Dir: c.Dir, Program: program, server: c}
}

// configure writes the configuration of a program, which logs everything unless the settings say
// otherwise.
func configure(t testing.TB, c *harness.Conanproxy, s harness.Settings) {
	t.Helper()
	all := harness.Settings{"log": harness.Settings{"level": "debug"}}
	maps.Copy(all, s)
	if err := c.Configure(all); err != nil {
		t.Fatal(err)
	}
}

// Reload replaces the configuration of the running program and waits until it is in force.
func (p *Conanproxy) Reload(t testing.TB, s harness.Settings) {
	t.Helper()
	before := p.reloads(t)
	configure(t, p.server, s)
	if err := p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for p.reloads(t) == before {
		if t.Context().Err() != nil {
			t.Fatal("the test ended during a reload")
		}
		time.Sleep(time.Millisecond)
	}
	if _, _, metrics := Get(t, p.URL("metrics")); !strings.Contains(metrics, "\nconanproxy_config_last_reload_successful 1\n") {
		t.Fatalf("the program refuses the new configuration:\n%s", harness.LastBytes(p.Log(), 2000))
	}
}

// reloads are the metrics that count reloads, one a line.
func (p *Conanproxy) reloads(t testing.TB) string {
	t.Helper()
	_, _, metrics := Get(t, p.URL("metrics"))
	return strings.Join(reloadMetric.FindAllString(metrics, -1), "\n")
}

var reloadMetric = regexp.MustCompile(`(?m)^conanproxy_config_reloads_total\{.*$`)

// URL is the address of a view of the program, for example URL("local"); without a name the root
// view.
func (p *Conanproxy) URL(view ...string) string {
	return strings.Join(append([]string{p.process.Process.URL()}, view...), "/")
}

// Get fetches a URL of the program, anonymously, and returns status, header and body.
func Get(t testing.TB, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	return do(t, http.MethodGet, url, "", header...)
}
