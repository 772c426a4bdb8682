package harness

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Settings is the part of conanproxy's configuration file that a caller cares about.
type Settings map[string]any

// Upstream makes one entry of the list "upstreams".
func Upstream(name, url string, more ...Settings) Settings {
	s := Settings{"name": name, "url": url}
	for _, m := range more {
		maps.Copy(s, m)
	}
	return s
}

// Conanproxy is the program under test with a folder of its own: configuration, users, data and
// log.
type Conanproxy struct {
	Program string // the binary
	Dir     string
	Port    int
	Process *Process // nil before Start
}

// NewConanproxy chooses a port for a server in dir. Configure and Start follow.
func NewConanproxy(program, dir string) (*Conanproxy, error) {
	port, err := FreePort()
	return &Conanproxy{Program: program, Dir: dir, Port: port}, err
}

// ConfigFile is the path of the configuration.
func (c *Conanproxy) ConfigFile() string { return filepath.Join(c.Dir, "config.yaml") }

// UsersFile is the path of the users file that Configure names.
func (c *Conanproxy) UsersFile() string { return filepath.Join(c.Dir, "users") }

// URL is the address of the server, "http://127.0.0.1:port".
func (c *Conanproxy) URL() string { return "http://" + HostPort(c.Port) }

// Configure writes the configuration, in force after the next start. What the settings leave out
// has the program's default, but for this: data_dir is Dir/data, there are no upstreams, and users
// are those of UsersFile.
func (c *Conanproxy) Configure(s Settings) error {
	all := Settings{"upstreams": []Settings{}, "data_dir": filepath.Join(c.Dir, "data")}
	maps.Copy(all, s)
	all["listen"] = HostPort(c.Port)
	auth := Settings{"htpasswd_file": c.UsersFile()}
	if more, ok := all["auth"].(Settings); ok {
		maps.Copy(auth, more)
	}
	all["auth"] = auth
	text, err := yaml.Marshal(all)
	if err != nil {
		return err
	}
	return os.WriteFile(c.ConfigFile(), text, 0o600)
}

// AddUser adds a user to the users file by the program's own command.
func (c *Conanproxy) AddUser(ctx context.Context, name, password string) error {
	cmd := exec.CommandContext(ctx, c.Program, "user", "add", name, "--file", c.UsersFile())
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("add user %s: %w: %s", name, err, out)
	}
	return nil
}

// Start starts the server, or starts it again, and waits until it is ready. env is added to its
// environment.
func (c *Conanproxy) Start(ctx context.Context, env ...string) error {
	p, err := Start(ctx, Launch{
		Name:  "conanproxy",
		Argv:  []string{c.Program, "serve", "--config", c.ConfigFile()},
		Env:   CleanEnv(c.Dir, env...),
		Dir:   c.Dir,
		Ready: c.URL() + "/readyz",
	})
	if err == nil {
		c.Process = p
	}
	return err
}

// Stop drains and ends the server, if it runs.
func (c *Conanproxy) Stop() {
	if c.Process != nil {
		c.Process.Stop()
	}
}

// Command runs another command of the program on the same configuration, and returns what it
// printed.
func (c *Conanproxy) Command(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, c.Program, append(args, "--config", c.ConfigFile())...).CombinedOutput()
	return string(out), err
}
