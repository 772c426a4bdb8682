package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// client is one real Conan client with a home of its own: no package, no login and no setting of another client.
type client struct {
	t    testing.TB
	bin  string
	home string
	// two is true for Conan 2.
	two bool
	// work is the folder commands run in.
	work string
	// env is added to the environment of every command.
	env []string
}

// remote is one entry of a client's remotes.
type remote struct {
	Name      string `json:"name"`
	URL       string `json:"url"`
	VerifySSL bool   `json:"verify_ssl"`
}

// newConan1 makes a Conan 1.66 client without revisions, with one remote "r" at url.
func newConan1(t testing.TB, url string) *client { return newClient(t, Conan1, url) }

// newConan1Revisions makes a Conan 1.66 client with revisions enabled.
func newConan1Revisions(t testing.TB, url string) *client {
	c := newClient(t, Conan1, url)
	c.env = append(c.env, "CONAN_REVISIONS_ENABLED=1")
	return c
}

// newConan2 makes a client of the newest Conan 2.
func newConan2(t testing.TB, url string) *client { return newClient(t, Conan2, url) }

// newConan29 makes a Conan 2.9 client.
func newConan29(t testing.TB, url string) *client { return newClient(t, Conan29, url) }

func newClient(t testing.TB, environment, url string) *client {
	t.Helper()
	c := &client{
		t:    t,
		bin:  filepath.Join(programs(t, environment), "conan"),
		home: t.TempDir(),
		two:  environment != Conan1,
		work: t.TempDir(),
	}
	profile := `[settings]
os=Linux
arch=x86_64
build_type=Release
compiler=gcc
compiler.version=12
compiler.libcxx=libstdc++11
`
	if c.two {
		profile += "compiler.cppstd=gnu17\n"
		c.write("global.conf", "core:non_interactive=True\ncore.upload:retry_wait=0\ncore.download:retry_wait=0\n")
	}
	c.write("profiles/default", profile)
	c.remotes(remote{Name: "r", URL: url, VerifySSL: true})
	return c
}

// path is the place of a file inside the client's Conan home.
func (c *client) path(name string) string {
	if c.two {
		return filepath.Join(c.home, name)
	}
	return filepath.Join(c.home, ".conan", name)
}

// write writes a file inside the client's Conan home.
func (c *client) write(name, text string) {
	c.t.Helper()
	path := c.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// remotes replaces the list of remotes without the cost of a command.
func (c *client) remotes(list ...remote) {
	c.t.Helper()
	text, err := json.Marshal(map[string]any{"remotes": list})
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("remotes.json", string(text))
}

// as gives the client credentials in the environment, used when a server asks.
func (c *client) as(user, password string) *client {
	c.env = append(c.env, "CONAN_LOGIN_USERNAME="+user, "CONAN_PASSWORD="+password)
	return c
}

// in returns the same client speaking to another test, for use in a subtest.
func (c *client) in(t testing.TB) *client {
	other := *c
	other.t = t
	return &other
}

// fresh returns a client of the same kind, remotes and settings, with an empty cache and no login.
func (c *client) fresh(t testing.TB) *client {
	t.Helper()
	other := *c
	other.t, other.home, other.work = t, t.TempDir(), t.TempDir()
	for _, name := range []string{"remotes.json", "profiles/default", "global.conf"} {
		text, err := os.ReadFile(c.path(name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		other.write(name, string(text))
	}
	return &other
}

// command prepares one call of conan.
func (c *client) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.bin, args...)
	cmd.Dir = c.work
	cmd.Env = cleanEnv(c.home, c.env...)
	if c.two {
		cmd.Env = append(cmd.Env, "CONAN_HOME="+c.home)
	} else {
		cmd.Env = append(cmd.Env, "CONAN_USER_HOME="+c.home, "CONAN_NON_INTERACTIVE=1")
	}
	cmd.SysProcAttr = endWithParent()
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// try runs conan and returns what it printed, standard error included, and whether it succeeded.
func (c *client) try(args ...string) (string, bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Minute)
	defer cancel()
	out, err := c.command(ctx, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("conan %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err == nil
}

// must runs conan and returns its output; a failure of the command ends the test.
func (c *client) must(args ...string) string {
	c.t.Helper()
	out, ok := c.try(args...)
	if !ok {
		c.t.Fatalf("conan %s failed:\n%s", strings.Join(args, " "), tail(out, 6000))
	}
	return out
}

// fails runs conan, wants it to fail and to say every one of the texts, and returns its output.
func (c *client) fails(says []string, args ...string) string {
	c.t.Helper()
	out, ok := c.try(args...)
	if ok {
		c.t.Fatalf("conan %s succeeded, want a failure:\n%s", strings.Join(args, " "), tail(out, 6000))
	}
	for _, want := range says {
		if !strings.Contains(out, want) {
			c.t.Errorf("conan %s does not say %q:\n%s", strings.Join(args, " "), want, tail(out, 6000))
		}
	}
	return out
}

// output runs conan and returns its standard output alone, for what it prints as JSON.
func (c *client) output(args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Minute)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := c.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("conan %s: %v\n%s%s", strings.Join(args, " "), err, tail(stdout.String(), 3000), tail(stderr.String(), 3000))
	}
	return stdout.String()
}

// create builds the recipe in dir into the client's cache; where is "user/channel", for Conan 2 also "user", or empty.
func (c *client) create(dir, where string, args ...string) string {
	c.t.Helper()
	if c.two {
		call := []string{"create", dir}
		return c.must(append(append(call, place(where)...), args...)...)
	}
	call := []string{"create", dir}
	if where != "" {
		call = append(call, where)
	}
	return c.must(append(call, args...)...)
}

// export puts the recipe in dir into the client's cache without a package.
func (c *client) export(dir, where string) string {
	c.t.Helper()
	if c.two {
		return c.must(append([]string{"export", dir}, place(where)...)...)
	}
	if where == "" {
		return c.must("export", dir)
	}
	return c.must("export", dir, where)
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

// uploadArgs are the arguments that upload recipe and packages of a reference or pattern to a remote.
func (c *client) uploadArgs(pattern, remote string, args ...string) []string {
	if c.two {
		return append([]string{"upload", pattern, "-r", remote, "-c"}, args...)
	}
	return append([]string{"upload", pattern, "-r", remote, "-c", "--all"}, args...)
}

// upload uploads recipe and packages of a reference or pattern to the remote "r".
func (c *client) upload(pattern string, args ...string) string {
	c.t.Helper()
	return c.must(c.uploadArgs(pattern, "r", args...)...)
}

// installArgs are the arguments that install one reference from the remote "r".
func (c *client) installArgs(ref string, args ...string) []string {
	if c.two {
		return append([]string{"install", "--requires=" + ref, "-r", "r"}, args...)
	}
	if !strings.Contains(ref, "@") {
		ref += "@"
	}
	return append([]string{"install", ref, "-r", "r"}, args...)
}

// install installs one reference from the remote "r" without building.
func (c *client) install(ref string, args ...string) string {
	c.t.Helper()
	return c.must(c.installArgs(ref, args...)...)
}

// cacheTree returns the files of the packages that the client has installed: path inside the package folder to
// content, or to "-> target" for symlinks.
func (c *client) cacheTree(name string) map[string]string {
	c.t.Helper()
	if c.two {
		return readTree(c.t, filepath.Join(c.home, "p"), func(path string) (string, bool) {
			path = strings.TrimPrefix(path, filepath.FromSlash("b/")) // built here, not downloaded
			parts := strings.SplitN(path, string(filepath.Separator), 3)
			if len(parts) < 3 || parts[1] != "p" || !strings.HasPrefix(parts[0], name[:min(len(name), 5)]) {
				return "", false
			}
			return parts[2], true
		})
	}
	return readTree(c.t, filepath.Join(c.home, ".conan", "data", name), func(path string) (string, bool) {
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
