package e2etest

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Operator runs the program's commands that speak to a server, logged in as one user.
type Operator struct {
	t     testing.TB
	proxy *Conanproxy
	token string
	env   []string
}

// NewOperator logs in as a user of StartConanproxy.
func NewOperator(t testing.TB, proxy *Conanproxy, user string) Operator {
	t.Helper()
	return NewOperatorAs(t, proxy, user, user)
}

// NewOperatorAs logs in with a name and a password, or the secret of a robot token.
func NewOperatorAs(t testing.TB, proxy *Conanproxy, user, password string) Operator {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, password)
	status, _, token := Get(t, proxy.URL()+"/v2/users/authenticate", "Authorization", req.Header.Get("Authorization"))
	if status != http.StatusOK {
		t.Fatalf("log in as %s: %d", user, status)
	}
	return OperatorWith(t, proxy, token)
}

// OperatorWith has a token already.
func OperatorWith(t testing.TB, proxy *Conanproxy, token string) Operator {
	return Operator{t: t, proxy: proxy, token: token}
}

// With adds to the environment of the commands.
func (o Operator) With(env ...string) Operator {
	o.env = append(o.env[:len(o.env):len(o.env)], env...)
	return o
}

// Command is a command that was not started.
func (o Operator) Command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(o.t.Context(), o.proxy.Program, args...)
	cmd.Env = append(append(os.Environ(), "CONANPROXY_SERVER="+o.proxy.URL(), "CONANPROXY_TOKEN="+o.token), o.env...)
	return cmd
}

// Run returns everything that a command printed and its exit code.
func (o Operator) Run(args ...string) (string, int) {
	o.t.Helper()
	cmd := o.Command(args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		o.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Must runs a command that must work.
func (o Operator) Must(args ...string) string {
	o.t.Helper()
	out, code := o.Run(args...)
	if code != 0 {
		o.t.Fatalf("conanproxy %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// Fails runs a command that must fail with an exit code and a text.
func (o Operator) Fails(code int, says string, args ...string) {
	o.t.Helper()
	out, got := o.Run(args...)
	if got != code || !strings.Contains(out, says) {
		o.t.Errorf("conanproxy %s: exit code %d, want %d and %q\n%s", strings.Join(args, " "), got, code, says, out)
	}
}

// T is the test.
func (o Operator) T() testing.TB { return o.t }

// Token is what authorizes the commands.
func (o Operator) Token() string { return o.token }
