package faults

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// realClient is a generation of the real Conan client.
type realClient struct {
	name        string
	environment string // of harness.Venv
}

var conans = []realClient{{"Conan 1.66", harness.Conan1}, {"Conan 2", harness.Conan2}}

// two tells whether it is Conan 2.
func (c realClient) two() bool { return c.environment != harness.Conan1 }

// home is an empty cache of a client, with one remote.
type home struct {
	*harness.Client
	name string
}

// home makes one.
func (c realClient) home(r *run, url string) home {
	made, err := harness.NewClient(r.Context(), root, c.environment, r.folder("home"), url)
	r.must(err)
	return home{made, c.name}
}

func (h home) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	out, err := h.Run(ctx, args...)
	if err != nil {
		return out, fmt.Errorf("%s: conan %s: %w: %s", h.name, strings.Join(args, " "), err, harness.LastBytes(out, 600))
	}
	return out, nil
}

// install installs a reference from the remote.
func (h home) install(ctx context.Context, ref string) error {
	_, err := h.run(ctx, h.InstallArgs(ref)...)
	return err
}

// clear empties the client's cache.
func (h home) clear(ctx context.Context) error {
	args := []string{"remove", "*", "-f"}
	if h.Two {
		args = []string{"remove", "*", "-c"}
	}
	_, err := h.run(ctx, args...)
	return err
}

// holds tells whether some file in the client's cache has that name and md5.
func (h home) holds(name, sum string) (bool, error) {
	found := false
	err := filepath.WalkDir(h.Home, func(path string, d os.DirEntry, err error) error {
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

// graphCode makes a recipe whose packages do not depend on settings or on versions below, so that
// their id is one constant.
func graphCode(requires ...string) conantest.Option {
	code := "\n    def package_id(self):\n        self.info.clear()\n"
	if len(requires) > 0 {
		code = "    requires = \"" + strings.Join(requires, "\", \"") + "\"\n" + code
	}
	return conantest.Code(code)
}

// graph is a small graph of packages for one generation of clients: top/1.0 needs left and right,
// which need base. The archives differ by the file lib/NAME.
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
	if c.two() {
		return conantest.V2
	}
	return conantest.V1
}
