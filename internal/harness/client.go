package harness

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Client is one real Conan client with a home of its own: no package, no login and no setting of
// another client.
type Client struct {
	Program string // conan
	Two     bool   // Conan 2
	Home    string // its cache and settings
	Work    string // the folder that commands run in
	Env     []string
}

// Remote is one entry of a client's remotes.
type Remote struct {
	Name      string `json:"name"`
	URL       string `json:"url"`
	VerifySSL bool   `json:"verify_ssl"`
}

// NewClient makes a client of one environment of Venv below dir, with a fixed profile and one
// remote "r" at url.
func NewClient(ctx context.Context, root, environment, dir, url string) (*Client, error) {
	bin, err := Venv(ctx, root, environment)
	if err != nil {
		return nil, err
	}
	c := &Client{Program: filepath.Join(bin, "conan"), Two: environment != Conan1}
	if err := c.MoveTo(dir); err != nil {
		return nil, err
	}
	profile := "[settings]\nos=Linux\narch=x86_64\nbuild_type=Release\ncompiler=gcc\ncompiler.version=12\ncompiler.libcxx=libstdc++11\n"
	if c.Two {
		profile += "compiler.cppstd=gnu17\n"
		if err := c.Write("global.conf", "core:non_interactive=True\n"); err != nil {
			return nil, err
		}
	}
	if err := c.Write("profiles/default", profile); err != nil {
		return nil, err
	}
	return c, c.SetRemotes(Remote{Name: "r", URL: url, VerifySSL: true})
}

// MoveTo gives the client an empty home and an empty folder to work in below dir.
func (c *Client) MoveTo(dir string) (err error) {
	if c.Home, err = os.MkdirTemp(dir, "home-"); err != nil {
		return err
	}
	c.Work, err = os.MkdirTemp(dir, "work-")
	return err
}

// Path is the place of a file inside the client's Conan home.
func (c *Client) Path(name string) string {
	if c.Two {
		return filepath.Join(c.Home, name)
	}
	return filepath.Join(c.Home, ".conan", name)
}

// Write writes a file inside the client's Conan home.
func (c *Client) Write(name, text string) error {
	path := c.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// SetRemotes replaces the list of remotes without the cost of a command.
func (c *Client) SetRemotes(list ...Remote) error {
	text, err := json.Marshal(map[string]any{"remotes": list})
	if err != nil {
		return err
	}
	return c.Write("remotes.json", string(text))
}

// As gives the client credentials in the environment, used when a server asks.
func (c *Client) As(user, password string) {
	c.Env = append(c.Env, "CONAN_LOGIN_USERNAME="+user, "CONAN_PASSWORD="+password)
}

// Command prepares one call of conan. It is killed when ctx ends.
func (c *Client) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Program, args...)
	cmd.Dir = c.Work
	cmd.Env = CleanEnv(c.Home, c.Env...)
	if c.Two {
		cmd.Env = append(cmd.Env, "CONAN_HOME="+c.Home)
	} else {
		cmd.Env = append(cmd.Env, "CONAN_USER_HOME="+c.Home, "CONAN_NON_INTERACTIVE=1")
	}
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { killGroup(cmd.Process); return nil }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Run runs conan and returns what it printed, standard error included. The error is an
// *exec.ExitError if conan failed.
func (c *Client) Run(ctx context.Context, args ...string) (string, error) {
	defer Waiting("for conan %s", strings.Join(args, " "))()
	out, err := c.Command(ctx, args...).CombinedOutput()
	return string(out), err
}

// InstallArgs are the arguments that install one reference from the remote "r".
func (c *Client) InstallArgs(ref string, args ...string) []string {
	if c.Two {
		return append([]string{"install", "--requires=" + ref, "-r", "r"}, args...)
	}
	if !strings.Contains(ref, "@") {
		ref += "@"
	}
	return append([]string{"install", ref, "-r", "r"}, args...)
}

// UploadArgs are the arguments that upload recipe and packages of a reference or pattern to a
// remote.
func (c *Client) UploadArgs(pattern, remote string, args ...string) []string {
	if c.Two {
		return append([]string{"upload", pattern, "-r", remote, "-c"}, args...)
	}
	return append([]string{"upload", pattern, "-r", remote, "-c", "--all"}, args...)
}
