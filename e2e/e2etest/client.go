package e2etest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/harness"
)

// Client is one real Conan client with a home of its own; what it cannot do ends the test.
type Client struct {
	*harness.Client
	t testing.TB
}

// NewConan1 makes a Conan 1.66 client without revisions, with one remote "r" at url.
func NewConan1(t testing.TB, url string) *Client { return newClient(t, harness.Conan1, url) }

// NewConan1Revisions makes a Conan 1.66 client with revisions enabled.
func NewConan1Revisions(t testing.TB, url string) *Client {
	c := newClient(t, harness.Conan1, url)
	c.Env = append(c.Env, "CONAN_REVISIONS_ENABLED=1")
	return c
}

// NewConan2 makes a client of the newest Conan 2.
func NewConan2(t testing.TB, url string) *Client { return newClient(t, harness.Conan2, url) }

// NewConan29 makes a Conan 2.9 client.
func NewConan29(t testing.TB, url string) *Client { return newClient(t, harness.Conan29, url) }

func newClient(t testing.TB, environment, url string) *Client {
	t.Helper()
	programs(t, environment)
	made, err := harness.NewClient(t.Context(), Root(t), environment, t.TempDir(), url)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Client: made, t: t}
	if c.Two {
		c.Write("global.conf", "core:non_interactive=True\ncore.upload:retry_wait=0\ncore.download:retry_wait=0\n")
	}
	return c
}

// Write writes a file inside the client's Conan home.
func (c *Client) Write(name, text string) {
	c.t.Helper()
	if err := c.Client.Write(name, text); err != nil {
		c.t.Fatal(err)
	}
}

// Remotes replaces the list of remotes without the cost of a command.
func (c *Client) Remotes(list ...harness.Remote) {
	c.t.Helper()
	if err := c.SetRemotes(list...); err != nil {
		c.t.Fatal(err)
	}
}

// As gives the client credentials in the environment, used when a server asks.
func (c *Client) As(user, password string) *Client {
	c.Client.As(user, password)
	return c
}

// T is the test that the client belongs to.
func (c *Client) T() testing.TB { return c.t }

// In returns the same client speaking to another test, for use in a subtest.
func (c *Client) In(t testing.TB) *Client { return &Client{Client: c.Client, t: t} }

// Fresh returns a client of the same kind, remotes and settings, with an empty cache and no login.
func (c *Client) Fresh(t testing.TB) *Client {
	t.Helper()
	made := *c.Client
	if err := made.MoveTo(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	other := &Client{Client: &made, t: t}
	for _, name := range []string{"remotes.json", "profiles/default", "global.conf"} {
		text, err := os.ReadFile(c.Path(name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		other.Write(name, string(text))
	}
	return other
}

// Try runs conan and returns what it printed, standard error included, and whether it succeeded.
func (c *Client) Try(args ...string) (string, bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Minute)
	defer cancel()
	out, err := c.Client.Run(ctx, args...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("conan %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out, err == nil
}

// Must runs conan and returns its output; a failure of the command ends the test.
func (c *Client) Must(args ...string) string {
	c.t.Helper()
	out, ok := c.Try(args...)
	if !ok {
		c.t.Fatalf("conan %s failed:\n%s", strings.Join(args, " "), harness.LastBytes(out, 6000))
	}
	return out
}

// Fails runs conan, wants it to fail and to say every one of the texts, and returns its output.
func (c *Client) Fails(says []string, args ...string) string {
	c.t.Helper()
	out, ok := c.Try(args...)
	if ok {
		c.t.Fatalf("conan %s succeeded, want a failure:\n%s", strings.Join(args, " "), harness.LastBytes(out, 6000))
	}
	for _, want := range says {
		if !strings.Contains(out, want) {
			c.t.Errorf("conan %s does not say %q:\n%s", strings.Join(args, " "), want, harness.LastBytes(out, 6000))
		}
	}
	return out
}

// Output runs conan and returns its standard output alone, for what it prints as JSON.
func (c *Client) Output(args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Minute)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := c.Command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("conan %s: %v\n%s%s", strings.Join(args, " "), err, harness.LastBytes(stdout.String(), 3000), harness.LastBytes(stderr.String(), 3000))
	}
	return stdout.String()
}

// Create builds the recipe in dir into the client's cache; where is "user/channel", for Conan 2
// also "user", or empty.
func (c *Client) Create(dir, where string, args ...string) string {
	c.t.Helper()
	if c.Two {
		call := []string{"create", dir}
		return c.Must(append(append(call, place(where)...), args...)...)
	}
	call := []string{"create", dir}
	if where != "" {
		call = append(call, where)
	}
	return c.Must(append(call, args...)...)
}

// Export puts the recipe in dir into the client's cache without a package.
func (c *Client) Export(dir, where string) string {
	c.t.Helper()
	if c.Two {
		return c.Must(append([]string{"export", dir}, place(where)...)...)
	}
	if where == "" {
		return c.Must("export", dir)
	}
	return c.Must("export", dir, where)
}

// place renders "user/channel", "user" or nothing as Conan 2 takes it.
func place(where string) []string {
	user, channel, _ := strings.Cut(where, "/")
	var args []string
	if user != "" {
		args = append(args, "--user", user)
	}
	if channel != "" {
		args = append(args, "--channel", channel)
	}
	return args
}

// Upload uploads recipe and packages of a reference or pattern to the remote "r".
func (c *Client) Upload(pattern string, args ...string) string {
	c.t.Helper()
	return c.Must(c.UploadArgs(pattern, "r", args...)...)
}

// Install installs one reference from the remote "r" without building.
func (c *Client) Install(ref string, args ...string) string {
	c.t.Helper()
	return c.Must(c.InstallArgs(ref, args...)...)
}

// CacheTree returns the files of the packages that the client has installed: path inside the
// package folder to content, or to "-> target" for symlinks.
func (c *Client) CacheTree(name string) map[string]string {
	c.t.Helper()
	if c.Two {
		return readTree(c.t, filepath.Join(c.Home, "p"), func(path string) (string, bool) {
			path = strings.TrimPrefix(path, filepath.FromSlash("b/")) // built here, not downloaded
			parts := strings.SplitN(path, string(filepath.Separator), 3)
			if len(parts) < 3 || parts[1] != "p" || !strings.HasPrefix(parts[0], name[:min(len(name), 5)]) {
				return "", false
			}
			return parts[2], true
		})
	}
	return readTree(c.t, filepath.Join(c.Home, ".conan", "data", name), func(path string) (string, bool) {
		parts := strings.SplitN(path, string(filepath.Separator), 6)
		if len(parts) < 6 || parts[3] != "package" {
			return "", false
		}
		return parts[5], true
	})
}

// readTree reads every file and symlink under root whose name keep accepts.
func readTree(t testing.TB, root string, keep func(string) (string, bool)) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name, ok := keep(rel)
		if !ok {
			return nil
		}
		if d.Type()&os.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			tree[name] = "-> " + target
			return err
		}
		text, err := os.ReadFile(path)
		tree[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
