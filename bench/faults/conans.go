package main

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"conanproxy/e2e"
	"conanproxy/internal/conantest"
	"conanproxy/internal/proc"
)

// realClient is a real Conan client.
type realClient struct {
	name    string
	program string
	two     bool
}

// conans finds the real clients; they are installed on the first call.
func (r *run) conans() []realClient {
	var out []realClient
	for _, c := range []realClient{{"Conan 1.66", e2e.Conan1, false}, {"Conan 2", e2e.Conan2, true}} {
		bin, err := e2e.Venv(r.ctx, r.root, c.program)
		r.must(err)
		c.program = filepath.Join(bin, "conan")
		out = append(out, c)
	}
	return out
}

// home is an empty cache of a client, with one remote.
type home struct {
	realClient
	dir string
}

// home makes one.
func (c realClient) home(r *run, url string) home {
	h := home{c, r.folder("home")}
	profiles := filepath.Join(h.dir, ".conan", "profiles")
	if c.two {
		profiles = filepath.Join(h.dir, "c2", "profiles")
	}
	r.must(os.MkdirAll(profiles, 0o755))
	r.must(os.WriteFile(filepath.Join(profiles, "default"), []byte("[settings]\nos=Linux\n"), 0o644))
	_, err := h.run(r.ctx, "remote", "remove", "conancenter")
	r.must(err)
	_, err = h.run(r.ctx, "remote", "add", "r", url)
	r.must(err)
	return h
}

func (h home) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.program, args...)
	cmd.Dir = h.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "CONAN_HOME=" + filepath.Join(h.dir, "c2"), "CONAN_USER_HOME=" + h.dir,
		"CONAN_NON_INTERACTIVE=1", "NO_PROXY=*", "LC_ALL=C.UTF-8", "CONAN_REVISIONS_ENABLED=0", "PYTHONDONTWRITEBYTECODE=1"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: conan %s: %w: %s", h.name, strings.Join(args, " "), err, proc.LastBytes(string(out), 600))
	}
	return string(out), nil
}

// install installs a reference from the remote.
func (h home) install(ctx context.Context, ref string) error {
	args := []string{"install", ref + "@"}
	if h.two {
		args = []string{"install", "--requires", ref}
	}
	_, err := h.run(ctx, args...)
	return err
}

// clear empties the client's cache.
func (h home) clear(ctx context.Context) error {
	args := []string{"remove", "*", "-f"}
	if h.two {
		args = []string{"remove", "*", "-c"}
	}
	_, err := h.run(ctx, args...)
	return err
}

// holds tells whether some file in the client's cache has that name and md5.
func (h home) holds(name, sum string) (bool, error) {
	found := false
	err := filepath.WalkDir(h.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != name {
			return err
		}
		b, err := os.ReadFile(path)
		have := md5.Sum(b)
		found = found || hex.EncodeToString(have[:]) == sum
		return err
	})
	return found, err
}

// graphCode makes a recipe whose packages do not depend on settings or on versions below, so that their id is one constant.
func graphCode(requires ...string) conantest.Option {
	code := "\n    def package_id(self):\n        self.info.clear()\n"
	if len(requires) > 0 {
		code = "    requires = \"" + strings.Join(requires, "\", \"") + "\"\n" + code
	}
	return conantest.Code(code)
}

// graph is a small graph of packages for one generation of clients: top/1.0 needs left and right, which need base. The
// archives differ by the file lib/NAME.
func graph(two bool, size int) []conantest.Set {
	var sets []conantest.Set
	needs := map[string][]string{"base": nil, "left": {"base/1.0"}, "right": {"base/1.0"}, "top": {"left/1.0", "right/1.0"}}
	for _, name := range []string{"base", "left", "right", "top"} {
		recipe := conantest.Recipe(name, "1.0", conantest.HeaderOnly(), graphCode(needs[name]...), conantest.File("data.yml", name))
		opts := []conantest.Option{conantest.HeaderOnly(), conantest.Random("lib/"+name, size)}
		if !two {
			opts = append(opts, conantest.Conan1())
		}
		sets = append(sets, recipe, conantest.Package(recipe, opts...))
	}
	return sets
}

// api is what an upstream of these clients speaks.
func (c realClient) api() conantest.API {
	if c.two {
		return conantest.V2
	}
	return conantest.V1
}
